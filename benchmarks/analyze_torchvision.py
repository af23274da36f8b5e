"""Analyses every network of torchvision that can be built offline, and prints what each holds and does.

    python benchmarks/analyze_torchvision.py [--kinds classification,detection] [--timm] [NAME …]

Weights are random, so nothing is downloaded. Networks stay on the meta device where that is possible; those whose way
depends on the data (detectors) are built and run once on the CPU. Nothing is asserted; the exit status is 1 if a
network could not be analysed.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

from tabulate import tabulate
from tqdm import tqdm

from advisor.commands.network import open_network
from advisor.errors import AdvisorError
from advisor.models import torchvision_names

KINDS = ("classification", "detection", "segmentation", "video", "optical_flow")
# One of each kind of block that timm has and torchvision lacks.
TIMM = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_lite_mini",
    "convit_tiny",
    "crossvit_tiny_240",
    "cspdarknet53",
    "deit3_small_patch16_224",
    "dpn68",
    "eca_nfnet_l0",
    "edgenext_small",
    "efficientformer_l1",
    "eva02_tiny_patch14_224",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "ghostnetv2_100",
    "hrnet_w18_small",
    "inception_resnet_v2",
    "levit_128s",
    "mixer_s32_224",
    "mobilevitv2_050",
    "poolformer_s12",
    "repvgg_a0",
    "resnest14d",
    "resnetv2_50x1_bit",
    "selecsls42b",
    "skresnet18",
    "tiny_vit_5m_224",
    "twins_svt_small",
    "volo_d1_224",
    "xcit_nano_12_p16_224",
)


def kind_of(name: str) -> str:
    """ "classification", "detection", …: the folder of torchvision in which a network lives."""
    from torchvision import models

    folder = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").partition(".")[0]
    return folder if folder in KINDS else "classification"


def row(spec: str) -> list[str]:
    """One line of the table; a failure stands in the place of its numbers."""
    began = time.perf_counter()
    try:
        network = open_network(spec, None)
    except AdvisorError as error:
        return [spec, "FAILED", str(error)[:120], "", "", "", ""]
    seconds = time.perf_counter() - began
    unsupported = ", ".join(f"{op} x{count}" for op, count in network.unsupported_ops.items()) or "-"
    return [
        spec,
        f"{network.params:,}",
        f"{network.macs:,}",
        f"{network.peak_activation_bytes / 2**20:.1f}",
        unsupported,
        f"{seconds:.1f}",
        network.origin,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; all of torchvision by default")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which of torchvision's kinds")
    parser.add_argument("--timm", action="store_true", help="a list of timm's networks instead")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    specs = arguments.names or [
        f"torchvision:{name}" for name in torchvision_names() if not arguments.timm and kind_of(name) in kinds
    ]
    if arguments.timm:
        specs += [f"timm:{name}" for name in TIMM]
    rows = []
    for spec in tqdm(specs, unit="network", dynamic_ncols=True):
        rows.append(row(spec))
        gc.collect()
    headers = ["network", "params", "MACs", "peak MiB", "unsupported", "seconds", "origin"]
    print(
        tabulate(
            rows, headers=headers, colalign=["left", *["right"] * 3, "left", "right", "left"], disable_numparse=True
        )
    )
    failed = sum(line[1] == "FAILED" for line in rows)
    print(f"{len(rows)} networks, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
