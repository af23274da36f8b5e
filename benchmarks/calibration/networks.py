"""Whole networks: timm's published throughputs of an RTX 3090, and torchvision networks in small batches."""

from __future__ import annotations

import csv
import gzip
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.gpu.classes import network_classes
from advisor.devices.gpu.columns import network_columns
from advisor.devices.gpu.conformal import coverage
from advisor.devices.gpu.facts import Facts, read_datasheet
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.network_fit import left_out
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import Array
from benchmarks.calibration.figures import figures, one_factor
from benchmarks.calibration.recordings import recorded

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step

TIMM = "huggingface/pytorch-image-models results (Apache-2.0)"
TORCHVISION = "ryujaehun/pytorch-gpu-benchmark (licence not stated)"
_FILES = {
    False: ("timm/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv", "infer"),
    True: ("timm/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv", "train"),
}
_TORCHVISION_DEVICES = {
    "A100-SXM4-40GB": "NVIDIA A100-SXM4-40GB",
    "GeForce GTX 1080 Ti": "NVIDIA GTX 1080 Ti",
    "GeForce RTX 2080 Ti": "NVIDIA RTX 2080 Ti",
    "TITAN Xp": "NVIDIA TITAN Xp",
    "TITAN V": "NVIDIA TITAN V",
    "TITAN RTX": "NVIDIA TITAN RTX",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One network: what it runs, how long it took, and which architecture family it belongs to."""

    name: str
    family: str
    batch: int
    ms: float
    counted: Counter[Step]


def timm_networks(data: Path, cache: Path, *, training: bool, seconds: float) -> tuple[list[Timed], int]:
    """timm's networks on an RTX 3090, and how many rows its file has.

    Args:
        seconds: how long new recordings may take; cached ones are always read. Chosen in a fixed shuffled order.
    """
    from timm.models import _registry

    file, word = _FILES[training]
    path = data / file
    if not path.exists():
        return [], 0
    with path.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    started, found = time.monotonic(), []
    for index in np.random.default_rng(0).permutation(len(rows)):
        row = rows[index]
        batch, size = int(row[f"{word}_batch_size"]), int(row[f"{word}_img_size"])
        late = time.monotonic() - started > seconds
        recording = recorded("timm", row["model"], batch, size, training=training, cache=cache, only_cached=late)
        if recording is None:
            continue
        family = _registry._model_to_module.get(row["model"].split(".")[0], "unknown")
        ms = 1e3 * batch / float(row[f"{word}_samples_per_sec"])
        found.append(Timed(name=row["model"], family=family, batch=batch, ms=ms, counted=recording.counted()))
    return found, len(rows)


def torchvision_networks(data: Path, cache: Path) -> dict[tuple[str, str, bool], list[Timed]]:
    """Small batches by (GPU, dtype, training): float32 means TF32 on an A100, as torch allowed it then."""
    path = data / "gpu" / "torchvision_gpu_benchmark.csv.gz"
    if not path.exists():
        return {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    times: dict[tuple[str, str, bool, str, int, int], list[float]] = {}
    for row in rows:
        device = _TORCHVISION_DEVICES.get(row["device"])
        if device is None or row["n_gpus"] != "1" or row["precision"] not in ("fp32", "fp16"):
            continue
        dtype = "float16" if row["precision"] == "fp16" else "tf32" if "A100" in device else "float32"
        sizes = (int(row["batch_per_gpu"]), int(row["img"]))
        key = (device, dtype, row["mode"] == "training", row["model"], *sizes)
        times.setdefault(key, []).append(float(row["median_ms"]))
    found: dict[tuple[str, str, bool], list[Timed]] = {}
    seen: dict[tuple[bool, str, int, int], Counter[Step] | None] = {}
    for (device, dtype, training, name, batch, size), taken in sorted(times.items()):
        which = (training, name, batch, size)
        if which not in seen:
            recording = recorded("torchvision", name, batch, size, training=training, cache=cache)
            seen[which] = recording.counted() if recording is not None else None
        if (counted := seen[which]) is None:
            continue
        family = re.split(r"[0-9_]", name)[0] + ("_wide" if name.startswith("wide") else "")
        timed = Timed(name=name, family=family, batch=batch, ms=float(np.median(taken)), counted=counted)
        found.setdefault((device, dtype, training), []).append(timed)
    return found


def facts_of(device: str, data: Path) -> Facts:
    return read_datasheet(data / "gpu" / "datasheet.csv", device)


def columns_of(
    networks: Sequence[Timed], facts: Facts, dtype: str, layers: LayerModel | None = None
) -> list[dict[str, float]]:
    return [network_columns(network.counted, facts, dtype, layers)[0] for network in networks]


def judge(
    label: str,
    networks: Sequence[Timed],
    facts: Facts,
    dtype: str,
    *,
    base: Rates | None = None,
    layers: LayerModel | None = None,
    launches: bool = False,
    parts: int | None = None,
) -> tuple[Array, list[list[str]]]:
    """Held-out predictions, families left out, and rows of the table beside plain models with one factor in sample."""
    columns = columns_of(networks, facts, dtype, layers)
    times = np.array([network.ms for network in networks])
    families = [network.family for network in networks]
    predicted = left_out(columns, times, families, base=base, launches=launches, parts=parts)
    order = np.unique(families, return_inverse=True)[1] % 5
    residuals = np.log(times / predicted)
    covered = coverage(residuals, np.log(predicted), order)
    rows = [figures(f"{label}: this model, families held out", predicted, times, covered)]
    if len({network.batch for network in networks}) > 1:
        batch = np.array([network.batch for network in networks])
        rows.append(figures("  the same for one image (throughput)", predicted / batch, times / batch))
    totals = [network_classes(network.counted.items(), facts, dtype) for network in networks]
    work = np.array([sum(v for k, v in row.items() if k.endswith("_macs")) for row in totals])
    moved = np.array([sum(v for k, v in row.items() if k.endswith("_bytes")) for row in totals])
    macs = np.array([sum(s.macs * n for s, n in network.counted.items()) for network in networks])
    rows.append(figures("  roofline of totals, one factor", one_factor(np.maximum(work, moved), times), times))
    rows.append(figures("  MACs alone, one factor", one_factor(macs, times), times))
    return predicted, rows
