"""Held-out errors of GPU models on third-party tables, layer by layer and network by network, beside plain models.

    python benchmarks/gpu_calibration.py --data ../shared/data --cache /tmp/recordings
    python benchmarks/gpu_calibration.py --data ../shared/data --cache /tmp/recordings --write

Layers are held out by shape (batches stay together), networks by architecture family, GPUs altogether. Plain models get
one factor in sample, which is kind to them. "coverage" is of intervals meant to hold 80 %, drawn from the other folds.
Networks are recorded on tensors without memory, seconds each; the cache keeps them, and --record-seconds bounds it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from advisor.devices.gpu import calibrate
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.files import write_compact
from advisor.devices.gpu.layer_fit import Fitted, Known
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.model import GpuModel
from advisor.devices.gpu.network_fit import fit_networks
from advisor.devices.gpu.pool_fit import on
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import Array

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.calibration import layers, networks, ship  # noqa: E402
from benchmarks.calibration.figures import HEADERS  # noqa: E402
from benchmarks.calibration.sources import DEEPBENCH, NEUSIGHT, Source, layer_sources  # noqa: E402

UNSEEN = ROOT / "advisor" / "devices" / "gpu" / "unseen.json"
PROFILES = {
    ("neusight", "NVIDIA A100-PCIe-80GB"): "nvidia-a100-pcie-80gb",
    ("neusight", "NVIDIA Tesla P100-PCIe-16GB"): "nvidia-p100",
    ("neusight", "NVIDIA Tesla P4"): "nvidia-p4",
    ("neusight", "NVIDIA V100-PCIe"): "nvidia-v100-pcie",
    ("neusight", "NVIDIA T4"): "nvidia-t4",
    ("deepbench", "NVIDIA T4"): "nvidia-t4",
    ("deepbench", "NVIDIA GTX 1080 Ti"): "nvidia-gtx-1080-ti",
    ("deepbench", "NVIDIA TITAN X (Pascal)"): "nvidia-titan-x-pascal",
    ("deepbench", "NVIDIA TITAN X (Maxwell)"): "nvidia-titan-x-maxwell",
    ("deepbench", "NVIDIA Tesla M40"): "nvidia-m40",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tables")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for recorded networks, outside the repository"
    )
    parser.add_argument("--record-seconds", type=float, default=600.0, help="for networks not yet in the cache")
    parser.add_argument("--only", choices=("layers", "unseen", "networks"), action="append")
    parser.add_argument("--write", action="store_true", help="write unseen.json and the profiles")
    given = parser.parse_args(arguments)
    if not (given.data / "gpu").is_dir():
        print(f"SKIPPED: no third-party tables under {given.data}; give their folder with --data", file=sys.stderr)
        return 0
    parts = set(given.only or ("layers", "unseen", "networks"))
    sources = layer_sources(given.data)
    fitted = _layers(sources, given.data) if parts & {"layers", "unseen"} else {}
    unseen = _unseen(sources, fitted, given.data) if "unseen" in parts else {}
    known = _networks(sources, fitted, given) if "networks" in parts else {}
    if given.write:
        _write(sources, fitted, unseen, known, given.data)
    return 0


def _show(title: str, rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    print(tabulate(rows, headers=HEADERS, colalign=["left"] + ["right"] * 7, disable_numparse=True), flush=True)


def _layers(sources: Sequence[Source], data: Path) -> dict[int, Fitted]:
    fitted, rows = {}, []
    for index, source in enumerate(sources):
        print(f"fitting {source.device}, {source.dtype}, {source.table}", file=sys.stderr, flush=True)
        fitted[index], found = layers.fit_own(source, sources, data)
        rows += found
    _show("Convolutions, forward: each GPU's own model", rows)
    return fitted


def _unseen(sources: Sequence[Source], fitted: dict[int, Fitted], data: Path) -> dict[str, Any]:
    """GPUs left out, by table and dtype; of the larger table of a dtype the model for GPUs in no table is made."""
    made: dict[str, Any] = {}
    for dtype in sorted({s.dtype for s in sources}):
        everyone: list[Known] = []
        off: dict[str, Array] = {}
        drifts = {layers.known(s, data).name: fitted[i].drift for i, s in enumerate(sources) if i in fitted}
        for table in ("neusight", "deepbench"):
            mine = [s for s in sources if s.table == table and s.dtype == dtype]
            if len({s.device for s in mine}) < 3:
                continue
            group = [layers.known(s, data) for s in mine]
            residuals, rows = layers.left_out_gpus(group, drifts)
            _show(f"Convolutions, {dtype}: a GPU that was in no fit ({table}; shapes held out, too)", rows)
            everyone += group
            off |= residuals
        if everyone:
            model = layers.unseen_layers(everyone, drifts, off, trees=200)
            made[dtype] = (model, ship.left_out_error(off))
    return made


def _networks(sources: Sequence[Source], fitted: dict[int, Fitted], given: argparse.Namespace) -> dict[str, Any]:
    facts = networks.facts_of("NVIDIA RTX 3090", given.data)
    found: dict[str, Any] = {}
    rows: list[list[str]] = []
    base: Rates | None = None
    for training in (False, True):
        nets, total = networks.timm_networks(
            given.data, given.cache, training=training, seconds=given.record_seconds / 2
        )
        word = "training" if training else "inference"
        if len(nets) < 10:
            print(f"SKIPPED: timm, {word}: {len(nets)} of {total} networks recorded; raise --record-seconds")
            continue
        predicted, judged = networks.judge(
            f"RTX 3090, AMP, {word} ({len(nets)} of {total})", nets, facts, "float16", base=base, parts=25
        )
        rows += judged
        times = np.array([n.ms for n in nets])
        columns = networks.columns_of(nets, facts, "float16")
        rates = fit_networks(columns, times, base=base)
        base = base or rates
        families = np.unique([n.family for n in nets], return_inverse=True)[1]
        found[word] = (rates, predicted, times, families)
    _show("timm on an RTX 3090, large batches", rows)
    rows = []
    launches: list[Rates] = []
    own = _shipped_layers() | {(s.device, s.dtype): f.model for i, f in fitted.items() for s in [sources[i]]}
    for (device, dtype, training), nets in networks.torchvision_networks(given.data, given.cache).items():
        if len({n.family for n in nets}) < 3 or base is None:
            continue
        label = f"{device}, {dtype}, {'training' if training else 'inference'}"
        facts = networks.facts_of(device, given.data)
        alone = own.get((device, dtype)) or _unseen_layers(facts, dtype)
        _, judged = networks.judge(
            label,
            nets,
            facts,
            dtype,
            base=base,
            layers=alone,
            launches=True,
        )
        rows += judged
        if not training:
            columns = networks.columns_of(nets, facts, dtype, alone)
            launches.append(fit_networks(columns, np.array([n.ms for n in nets]), base=base, launches=True))
    if launches:
        found["launches"] = launches
    _show("torchvision, batch 12: bound by launches where the GPU is fast", rows)
    return found


def _shipped_layers() -> dict[tuple[str, str], LayerModel]:
    """Layer models of the profiles in the repository, by GPU and dtype: for runs that fit no layers themselves."""
    found: dict[tuple[str, str], LayerModel] = {}
    for path in sorted((ROOT / "profiles").glob("nvidia-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["origin"] == "calibrated":
            model = GpuModel.from_document(document["model"], path.name)
            if model.layers is not None:
                found[model.facts.device, model.dtype] = model.layers
    return found


def _unseen_layers(facts: Facts, dtype: str) -> LayerModel | None:
    """The layer model of GPUs in general, in plain float32, where classes fitted on tensor cores say little."""
    if dtype != "float32" or not UNSEEN.exists():
        return None
    return on(calibrate.unseen().layers["float32"], facts)


def _write(
    sources: Sequence[Source], fitted: dict[int, Fitted], unseen: dict[str, Any], known: dict[str, Any], data: Path
) -> None:
    text = (
        f"layers of other GPUs: {NEUSIGHT}, {DEEPBENCH}; whole networks of an RTX 3090: {networks.TIMM}, "
        f"torch 2.4, AMP; launches: {networks.TORCHVISION}"
    )
    write_compact(UNSEEN, ship.unseen_document(UNSEEN, unseen, known, text))
    calibrate.unseen.cache_clear()
    general = calibrate.unseen()
    facts = networks.facts_of("NVIDIA RTX 3090", data)
    for word in ("inference", "training"):
        if word not in known:
            continue
        found, guess, taken, families = known[word]
        name = f"nvidia-rtx-3090-amp{'-training' if word == 'training' else ''}"
        version = "torch 1.12, CUDA 11.3" if word == "training" else "torch 2.4, CUDA 12.4"
        source = f"{networks.TIMM}: {word}, AMP, NCHW, {version}; {len(taken)} networks"
        found = ship.with_launches(found, known.get("launches", []))
        made = ship.network_profile(
            name, facts, "float16", found, guess, taken, families, source, training=word == "training"
        )
        print("wrote", ship.write(made, ROOT / "profiles"))
    done: set[str] = set()
    for index in sorted(fitted, key=lambda i: -len(sources[i].rows)):
        mine = sources[index]
        base = PROFILES.get((mine.table, mine.device))
        if base is None or (name := f"{base}-{mine.dtype}") in done:
            continue
        done.add(name)
        item = layers.known(mine, data)
        made = ship.layer_profile(name, mine, fitted[index], item.facts, item.table, general)
        print("wrote", ship.write(made, ROOT / "profiles"))
    for device, dtype in (("NVIDIA H100-SXM5-80GB", "float32"), ("NVIDIA L4", "float32")):
        name = f"{device.lower().replace(' ', '-').replace('-sxm5-80gb', '')}-analytic"
        made = calibrate.calibrate(name, networks.facts_of(device, data), dtype=dtype)
        print("wrote", ship.write(made, ROOT / "profiles"))
    ship.refresh(ROOT / "profiles", general)


if __name__ == "__main__":
    sys.exit(main())
