"""Third-party tables, where they are: what the profiles rest on. Skipped loudly elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advisor.devices.gpu.drift import first_guess, matters
from advisor.devices.gpu.physics import physics_ms, roofline_ms, work
from advisor.devices.gpu.physics_fit import fit_physics
from advisor.devices.gpu.table import read_table
from benchmarks.calibration.layers import known
from benchmarks.calibration.sources import Source, layer_sources, write_csv

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    if not (DATA / "gpu" / "deepbench_conv.csv.gz").exists():
        pytest.skip(f"SKIPPED: no third-party tables under {DATA}")
    return layer_sources(DATA)


def one(sources: list[Source], table: str, device: str, dtype: str = "float32") -> Source:
    return next(s for s in sources if (s.table, s.device, s.dtype) == (table, device, dtype))


def test_a_converted_table_is_one_that_the_command_reads(sources: list[Source], tmp_path: Path) -> None:
    source = one(sources, "deepbench", "NVIDIA T4", "float16")
    write_csv(source, tmp_path / "t4.csv")
    table, dtype = read_table(tmp_path / "t4.csv")
    assert dtype == "float16"
    assert len(table) == len(source.rows) > 50
    assert table.times.tolist() == [row["ms"] for row in source.rows]


def test_one_public_table_drifts_and_the_other_is_too_short_to_tell(sources: list[Source]) -> None:
    long = known(one(sources, "neusight", "NVIDIA Tesla P100-PCIe-16GB"), DATA)
    drift = first_guess(long.table.times, roofline_ms(long.table.shapes, long.facts), long.table.order)
    assert matters(drift, long.table.times)
    assert 0.4 < drift.added_ms[-1] < 1.0
    short = known(one(sources, "deepbench", "NVIDIA GTX 1080 Ti"), DATA)
    assert short.table.order is None


def test_the_formula_alone_beats_the_roofline_by_far(sources: list[Source]) -> None:
    item = known(one(sources, "deepbench", "NVIDIA GTX 1080 Ti"), DATA)
    times, done = item.table.times, work(item.table.shapes, item.facts)
    roofline = roofline_ms(item.table.shapes, item.facts)
    roofline = roofline * np.median(times / roofline)
    formula = physics_ms(done, fit_physics(done, times))
    assert np.mean(np.abs(formula / times - 1)) < 0.6 * np.mean(np.abs(roofline / times - 1))
