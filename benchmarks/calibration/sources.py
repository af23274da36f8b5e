"""Third-party tables of layers, converted to the form that `advisor calibrate` reads. None of it was measured by us."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEUSIGHT = "sitar-lab/NeuSight @6945927 (MIT): convolutions, forward, torch 2.1, cuDNN 8.9"
DEEPBENCH = "baidu-research/DeepBench @da81ba7 (Apache-2.0): convolutions, forward"
# Names in the tables to names in the datasheet.
DEVICES = {
    "NVIDIA A100 80GB PCIe": "NVIDIA A100-PCIe-80GB",
    "NVIDIA A100-PCIE-40GB": "NVIDIA A100-PCIe-40GB",
    "NVIDIA A100-SXM4-40GB": "NVIDIA A100-SXM4-40GB",
    "Tesla P100-PCIE-16GB": "NVIDIA Tesla P100-PCIe-16GB",
    "Tesla P4": "NVIDIA Tesla P4",
    "Tesla T4": "NVIDIA T4",
    "Tesla V100-PCIE-32GB": "NVIDIA V100-PCIe",
    "NVIDIA L4": "NVIDIA L4",
    "NVIDIA H100 80GB HBM3": "NVIDIA H100-SXM5-80GB",
    "NV T4": "NVIDIA T4",
    "NV P100": "NVIDIA Tesla P100-PCIe-16GB",
    "NV 1080Ti": "NVIDIA GTX 1080 Ti",
    "NV M40": "NVIDIA Tesla M40",
    "NV TitanX": "NVIDIA TITAN X (Maxwell)",
    "NV TitanX Pascal": "NVIDIA TITAN X (Pascal)",
    "NV TitanXp": "NVIDIA TITAN Xp",
    "NV TITAN Xp": "NVIDIA TITAN Xp",
    "NV V100": "NVIDIA V100-SXM2-16/32GB",
}
_PRECISION = {"fp32": "float32", "fp16-in/mixed": "float16", "fp16-in/fp32-math": "float16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one GPU and dtype in one table, in the form of `advisor.devices.gpu.table`."""

    table: str
    device: str  # as in the datasheet
    dtype: str
    rows: list[dict[str, Any]]
    source: str


def layer_sources(data: Path) -> list[Source]:
    """Every GPU with layers in `data` (the folder with `gpu/`), sorted; the order of a NeuSight table is kept."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for table, device, row in (*_neusight(data / "gpu"), *_deepbench(data / "gpu")):
        groups.setdefault((table, device, row["dtype"]), []).append(row)
    text = {"neusight": NEUSIGHT, "deepbench": DEEPBENCH}
    return [
        Source(table=table, device=device, dtype=dtype, rows=rows, source=text[table])
        for (table, device, dtype), rows in sorted(groups.items())
    ]


def write_csv(source: Source, path: Path) -> None:
    """Writes rows as a file for `advisor calibrate --measurements`."""
    from advisor.devices.gpu.table import COLUMNS

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "order"])
        for row in source.rows:
            pairs = [f"{row['kh']}x{row['kw']}", f"{row['stride']}x{row['stride_w']}"]
            pairs.append(f"{row['padding']}x{row['padding_w']}")
            sizes = [row[name] for name in ("n", "c_in", "c_out", "h", "w")]
            order = "" if row["order"] is None else row["order"]
            writer.writerow([row["kind"], *sizes, *pairs, row["groups"], row["dtype"], row["ms"], order])


def _neusight(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for number, given in enumerate(_rows(folder / "neusight_conv_fp32.csv.gz")):
        if (device := DEVICES.get(given["device"])) is None:
            continue
        yield "neusight", device, _row(
            n=given["n"], c_in=given["c"], c_out=given["k"], h=given["hw"], w=given["hw"], kh=given["ksize"],
            kw=given["ksize"], stride=given["stride"], stride_w=given["stride"], padding=given["pad"],
            padding_w=given["pad"], ms=given["time_ms"], dtype="float32", order=number,
        )  # fmt: skip


def _deepbench(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for given in _rows(folder / "deepbench_conv.csv.gz"):
        device, dtype = DEVICES.get(given["device"]), _PRECISION.get(given["precision"])
        if given["pass"] != "fwd" or device is None or dtype is None:
            continue
        if dtype == "float16" and given["device"] == "NV P100":
            continue  # stored in half, computed in single precision: neither of our dtypes
        yield "deepbench", device, _row(
            n=given["n"], c_in=given["c"], c_out=given["k"], h=given["h"], w=given["w"], kh=given["filter_h"],
            kw=given["filter_w"], stride=given["stride_h"], stride_w=given["stride_w"], padding=given["pad_h"],
            padding_w=given["pad_w"], ms=given["time_ms"], dtype=dtype, order=None,
        )  # fmt: skip


def _row(*, ms: str, dtype: str, order: int | None, **sizes: str) -> dict[str, Any]:
    whole = {name: int(value) for name, value in sizes.items()}
    return {"kind": "conv2d", **whole, "groups": 1, "dtype": dtype, "ms": float(ms), "order": order}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.exists():
        return
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
