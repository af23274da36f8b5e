"""A profile carried over to another machine by a few times: how far off it is, beside one factor and the full table.

    python benchmarks/transfer.py                                  third-party tables of GPUs, convolutions in float32
    python benchmarks/transfer.py --counts 5,10,20,30,60,120       the same by how many times were taken
    python benchmarks/transfer.py --here amd-epyc-resnet50         a profile of another machine, judged on this one

Every pair of machines in a table is one transfer: the profile is the first machine's times, `choose` names what to time
on the second one, and all other work is judged. "one factor" takes the median ratio of the same times. "half table"
is the same model with the times of every second piece of work, judged on the others. The
data are not part of the project (`--data`); without them the script says so and ends with 0.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from advisor.devices.profile import Measurement, Profile, load_profile
from advisor.devices.settings import Machine, Settings
from advisor.devices.transfer.design import choose
from advisor.devices.transfer.features import Floats, Scale, rows_of
from advisor.devices.transfer.model import RatioModel, percent
from advisor.runtime.execution import Execution

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "gpu"
Table = dict[str, dict[Execution, float]]  # device → work → ms


def convolution(n: int, c: int, h: int, w: int, k: int, r: int, s: int, stride: int, pad: tuple[int, int]) -> Execution:
    return Execution(
        kind="conv2d",
        method="dense",
        input_shape=(n, c, h, w),
        weight_shape=(k, c, r, s),
        stride=(stride, stride),
        padding=pad,
        dilation=(1, 1),
    )


def neusight(folder: Path) -> Table:
    """3x3 convolutions on four GPUs (sitar-lab/NeuSight @6945927, MIT)."""
    found: Table = defaultdict(dict)
    with gzip.open(folder / "neusight_conv_fp32.csv.gz", "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            n, c, hw, k, r, stride, pad = (int(row[x]) for x in ("n", "c", "hw", "k", "ksize", "stride", "pad"))
            work = convolution(n, c, hw, hw, k, r, r, stride, (pad, pad))
            found[_short(row["device"])][work] = float(row["time_ms"])
    return found


def deepbench(folder: Path) -> Table:
    """Convolutions of many networks, forward, float32 (baidu-research/DeepBench @da81ba7, Apache-2.0)."""
    found: Table = defaultdict(dict)
    with gzip.open(folder / "deepbench_conv.csv.gz", "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["precision"] != "fp32" or row["pass"] != "fwd" or row["stride_w"] != row["stride_h"]:
                continue
            n, c, h, w, k, r, s, ph, pw, stride = (
                int(row[x]) for x in ("n", "c", "h", "w", "k", "filter_h", "filter_w", "pad_h", "pad_w", "stride_h")
            )
            work = convolution(n, c, h, w, k, r, s, stride, (ph, pw))
            found[_short(row["device"])].setdefault(work, float(row["time_ms"]))
    return {device: rows for device, rows in found.items() if len(rows) >= 60}


def _short(device: str) -> str:
    words = [word for word in device.replace("-", " ").split() if any(c.isdigit() for c in word) or word.istitle()]
    return " ".join(words[:2]) if words and words[0] in ("Tesla", "Titanx") else (words[0] if words else device)


def profile_of(device: str, rows: dict[Execution, float], batch: int = 1) -> Profile:
    measurements = [
        Measurement(execution=work, median_ms=ms, low_ms=ms, high_ms=ms, repeats=1) for work, ms in rows.items()
    ]
    return Profile(
        name=device,
        origin="measured",
        source="a third party's table",
        created="2026-01-01",
        machine=Machine(name=device, flags=(), cores=1, torch="unknown", system="unknown"),
        settings=Settings(device="cuda", batch=batch, threads=1, dtype="float32", training=False),
        measurements={m.execution.key: m for m in measurements},
        networks={},
    )


class Pair:
    """One transfer: what both machines have."""

    def __init__(self, old: str, new: str, table: Table) -> None:
        self.names = (old, new)
        self.works = sorted(table[old].keys() & table[new].keys(), key=lambda work: work.key)
        self.profile = profile_of(old, {work: table[old][work] for work in self.works})
        self.place = {work.key: i for i, work in enumerate(self.works)}
        self.rows = rows_of(self.works, [table[old][work] for work in self.works])
        self.logs = np.array([math.log(table[new][work] / table[old][work]) for work in self.works])
        self.scale = Scale.of(self.rows)

    def judge(self, taken: Sequence[int]) -> tuple[Floats, Floats, Floats, RatioModel]:
        """Errors in percent of all that was not taken, by one factor and by the model; and what lies inside."""
        chosen = np.zeros(len(self.works), dtype=bool)
        chosen[list(taken)] = True
        model = RatioModel(self.rows[chosen], self.logs[chosen], self.scale)
        middle, half = model(self.rows[~chosen])
        rest = self.logs[~chosen]
        inside = (np.abs(rest - middle) <= half).astype(np.float64)
        return percent(rest - np.median(self.logs[chosen])), percent(rest - middle), inside, model

    def chosen(self, count: int) -> list[int]:
        return [self.place[work.key] for work in choose(self.profile, count)]


def section(title: str, table: Table, counts: Sequence[int], count: int) -> None:
    pairs = [Pair(old, new, table) for old, new in itertools.permutations(sorted(table), 2)]
    pairs = [pair for pair in pairs if len(pair.works) >= 2 * count]
    print(f"\n{title}: {len(table)} machines, {len(pairs)} transfers, {count} times each\n")
    lines, means = [], []
    for pair in pairs:
        one, ours, inside, model = pair.judge(pair.chosen(count))
        full = pair.judge(range(0, len(pair.works), 2))[1]
        left_out = float(percent(model.left_out).mean())
        values = [one.mean(), ours.mean(), full.mean(), np.median(one), np.median(ours), np.median(full), left_out]
        values += [100 * np.mean(one <= 20), 100 * np.mean(ours <= 20), 100 * inside.mean()]
        means.append(values)
        if len(pairs) <= 20:
            lines.append([f"{pair.names[0]} > {pair.names[1]}", len(pair.works), *(f"{v:.1f}" for v in values)])
    average = np.array(means).mean(axis=0)
    lines.append(["mean of all", "", *(f"{v:.1f}" for v in average)])
    head = ["from > to", "works", "one factor", f"{count} times", "half table", "median 1f", "median", "median half"]
    print(tabulate(lines, [*head, "left out", "1f in 20 %", "in 20 %", "in interval"], disable_numparse=True))
    if counts:
        print(f"\n{title}: mean error in percent over all transfers, by how many times were taken\n")
        curve = []
        for n in counts:
            found = [pair.judge(pair.chosen(n)) for pair in pairs if len(pair.works) >= 2 * n]
            if found:
                each = [np.mean([f[k].mean() for f in found]) for k in (0, 1, 2)]
                curve.append([n, f"{each[0]:.1f}", f"{each[1]:.1f}", f"{100 * each[2]:.0f} %"])
        print(tabulate(curve, ["times", "one factor", "model", "in interval"], disable_numparse=True))


def here(name: str, count: int, judged: int, threads: int, seconds: float) -> None:
    """A profile of another machine: `count` times here, then `judged` other pieces of work, drawn at random."""
    from advisor.devices.measuring.alone import timer_alone
    from advisor.devices.settings import cpu_threads
    from advisor.devices.transfer.carry import transfer
    from advisor.devices.transfer.here import measure_here

    profile = load_profile(name)
    found, machine, settings, refused = measure_here(profile, count=count, threads=threads, seconds=seconds)
    made = transfer(profile, dict(found), machine=machine, settings=settings)
    generator = np.random.default_rng(0)
    others = [m for key, m in sorted(profile.measurements.items()) if m.execution not in found]
    drawn = [others[i].execution for i in generator.choice(len(others), min(judged, len(others)), replace=False)]
    errors, one, inside = [], [], []
    factor = float((made.error or {})["factor"])
    with cpu_threads(threads):
        timer = timer_alone("cpu", training=False, dtype="float32")
        for start in range(0, len(drawn), 8):
            part = drawn[start : start + 8]
            for work in part:
                sample = timer({work.key: work}, seconds / len(drawn))[work.key]
                if isinstance(sample, str):
                    continue
                known, old = made.measurements[work.key], profile.measurements[work.key]
                errors.append(100 * abs(known.median_ms / sample.median_ms - 1))
                one.append(100 * abs(factor * old.median_ms / sample.median_ms - 1))
                inside.append(known.low_ms <= sample.median_ms <= known.high_ms)
    print(f"\n{name} carried over to {machine.name}, {settings.text}; {len(found)} times, {len(refused)} refused\n")
    lines = [
        [label, f"{np.mean(e):.1f}", f"{np.median(e):.1f}", f"{100 * np.mean(np.array(e) <= 20):.0f} %", within]
        for label, e, within in (("one factor", one, ""), ("carried over", errors, f"{100 * np.mean(inside):.0f} %"))
    ]
    print(tabulate(lines, [f"{len(errors)} others, off by %", "mean", "median", "within 20 %", "in interval"]))
    print(f"times left out, as the profile says: {(made.error or {}).get('mean_percent')} % on the mean")
    for whole in made.networks.values():
        print(f"{whole.key}: {whole.median_ms:.1f} ms ({whole.low_ms:.1f} to {whole.high_ms:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--counts", default="", help="5,10,20: also a curve")
    parser.add_argument("--here", metavar="PROFILE", help="time this machine instead of reading tables")
    parser.add_argument("--judged", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    if arguments.here:
        here(arguments.here, arguments.count, arguments.judged, arguments.threads, arguments.seconds)
        return
    if not arguments.data.is_dir():
        print(f"SKIPPED: no tables in {arguments.data}; pass --data FOLDER", file=sys.stderr)
        return
    counts = [int(n) for n in arguments.counts.split(",") if n]
    section("NeuSight, 3x3 convolutions", neusight(arguments.data), counts, arguments.count)
    section("DeepBench, convolutions of networks", deepbench(arguments.data), counts, arguments.count)


if __name__ == "__main__":
    main()
