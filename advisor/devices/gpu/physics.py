"""The time of a layer from a datasheet and six coefficients: roofline, tiles and rounds, Winograd, launch.

    t = launch + (compute^p + memory^p)^(1/p)
    compute = min over ways of (padded multiply-adds of the way / (efficiency of the way · peak))
    memory  = bytes / (efficiency · bandwidth)

Ways: the product with tiles of several sizes (implicit GEMM); for 3x3 with stride 1 in plain float32 also Winograd
F(2x2, 3x3) in one kernel and F(4x4, 3x3) as 36 separate products (Lavin and Gray, 2016), whose transforms move memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.shapes import Array, Shapes
from advisor.devices.gpu.waves import TILES, ceil_div, padded_macs
from advisor.errors import ProfileError

_WINOGRAD_FUSED, _WINOGRAD_SPLIT = 2, 4  # outputs per tile side


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What a datasheet does not say; the defaults stand in the middle of what nine GPUs were fitted to.

    Attributes:
        gemm, fused, split: share of the peak that products reach as implicit GEMM, fused and split Winograd.
        tensor: the same on tensor cores.
        memory: share of the bandwidth.
        launch_ms: what the smallest layer takes.
        sharpness: p above; large means the slower of compute and memory alone counts.
    """

    gemm: float = 0.7
    fused: float = 0.7
    split: float = 0.7
    tensor: float = 0.4
    memory: float = 0.7
    launch_ms: float = 0.02
    sharpness: float = 2.0

    def to_document(self) -> dict[str, float]:
        return {name: float(f"{value:.5g}") for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "physics") -> Coefficients:
        """Raises ProfileError for what is missing, unknown or not positive."""
        names = set(cls.__dataclass_fields__)
        if set(document) != names:
            raise ProfileError(f"{where}: got {', '.join(sorted(document))}; expected {', '.join(sorted(names))}")
        for name, value in document.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise ProfileError(f"{where}: {name} got {value!r}, expected a positive number")
        return cls(**document)


def is_winograd(shapes: Shapes) -> Array:
    """(R,) bool: 3x3, stride 1, one group, plain float32."""
    square = (shapes.kh == 3) & (shapes.kw == 3) & (shapes.stride == 1) & (shapes.stride_w == 1)
    return np.asarray(square & (shapes.groups == 1) & (shapes.tensor == 0) & (shapes.item == 4))


def peak_macs_per_ms(shapes: Shapes, facts: Facts) -> Array:
    """(R,) multiply-adds per ms at the datasheet's peak; 2 FLOPs each."""
    by_item = {2: "float16", 4: "tf32"}
    rates = np.full(len(shapes), facts.fp32_tflops)
    for item, name in by_item.items():
        rates[(shapes.tensor > 0) & (shapes.item == item)] = facts.peak_tflops(name)
    return np.asarray(rates * 1e9 / 2)


def tensor_share(shapes: Shapes, facts: Facts) -> Array:
    """(R,) 1 where the layer runs on tensor cores that this GPU has."""
    peaks = peak_macs_per_ms(shapes, facts)
    return np.asarray((peaks > facts.fp32_tflops * 1e9 / 2 * 1.01).astype(float))


def roofline_ms(shapes: Shapes, facts: Facts) -> Array:
    """(R,) the datasheet's bound: the longer of multiply-adds at the peak and every tensor moved once."""
    moved = shapes.input_bytes + shapes.weight_bytes + shapes.output_bytes
    return np.asarray(np.maximum(shapes.macs / peak_macs_per_ms(shapes, facts), moved / (facts.bandwidth_gb_s * 1e6)))


@dataclass(frozen=True, slots=True)
class Work:
    """What does not depend on coefficients, so that a fit computes it once. All (R,), at the datasheet's rates, in ms.

    `gemm`: the best tiling; `fused`, `split`: Winograd, infinite where it does not apply; `memory`, `split_memory`.
    """

    gemm: Array
    fused: Array
    split: Array
    memory: Array
    split_memory: Array
    tensor: Array


def work(shapes: Shapes, facts: Facts) -> Work:
    """The parts of the formula above."""
    peak, sms = peak_macs_per_ms(shapes, facts), facts.sm_count
    columns = shapes.c_out / shapes.groups
    gemm = np.min(
        [padded_macs(shapes.rows, columns, shapes.depth, shapes.groups, tile=t, sm_count=sms) for t in TILES], axis=0
    )
    can = is_winograd(shapes)
    one = np.ones(len(shapes))

    def winograd(side: int) -> tuple[Array, Array]:
        patches = shapes.n * ceil_div(shapes.oh, side) * ceil_div(shapes.ow, side)
        products = float((side + 2) ** 2)
        cost = np.min(
            [padded_macs(patches, shapes.c_out, shapes.c_in, one * products, tile=t, sm_count=sms) for t in TILES[1:]],
            axis=0,
        )
        moved = 2 * 4 * products * (patches * (shapes.c_in + shapes.c_out) + shapes.c_in * shapes.c_out)
        return cost, moved

    fused, _ = winograd(_WINOGRAD_FUSED)
    split, transforms = winograd(_WINOGRAD_SPLIT)
    moved = shapes.input_bytes + shapes.weight_bytes + shapes.output_bytes
    bandwidth = facts.bandwidth_gb_s * 1e6
    return Work(
        gemm=gemm / peak,
        fused=np.where(can, fused / peak, np.inf),
        split=np.where(can, split / peak, np.inf),
        memory=moved / bandwidth,
        split_memory=np.where(can, (moved + transforms) / bandwidth, np.inf),
        tensor=tensor_share(shapes, facts),
    )


def physics_ms(done: Work, c: Coefficients) -> Array:
    """(R,) the formula above, in ms."""
    p = c.sharpness
    plain = done.gemm / np.where(done.tensor > 0, c.tensor, c.gemm)
    memory = done.memory / c.memory

    def joined(compute: Array, moved: Array) -> Array:
        larger = np.maximum(compute, moved)
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isfinite(larger), np.minimum(compute, moved) / larger, 0.0)
        return np.asarray(larger * (1 + ratio**p) ** (1 / p))

    ways = [
        joined(plain, memory),
        joined(done.fused / c.fused, memory),
        joined(done.split / c.split, done.split_memory / c.memory),
    ]
    return np.asarray(c.launch_ms + np.min(ways, axis=0))
