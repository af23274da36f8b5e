"""Inverse efficiencies of classes of operators, fitted to the times of whole networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import nnls

from advisor.devices.gpu.classes import KERNELS, LAYERS
from advisor.devices.gpu.shapes import Array
from advisor.errors import ProfileError

_SINGLE = ("kernel_ms", "launch_ms", "constant_ms", "sharpness")
_LAUNCH_MS = 0.008  # until measured: what starting one kernel costs the host in eager mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """A network takes (gpu^p + host^p)^(1/p) + constant: gpu the sum over classes, host = kernels · launch.

    The GPU works on one kernel while the host starts the next ones: where one of them is much slower it alone counts;
    where they are alike, stretches bound by the one and by the other follow each other, so it is more than the maximum.

    Attributes:
        inverse: class to inverse efficiency: ms per ms at the datasheet's rate; what is missing takes `prior`.
        kernel_ms: the GPU's own cost of a kernel, which is part of the sum.
        launch_ms: the host's cost of starting a kernel: what small batches are bound by.
        constant_ms: once per call.
        sharpness: p above.
    """

    inverse: Mapping[str, float]
    kernel_ms: float = 0.005
    launch_ms: float = _LAUNCH_MS
    constant_ms: float = 0.0
    sharpness: float = 3.0

    def of(self, name: str) -> float:
        return self.kernel_ms if name == KERNELS else self.inverse.get(name, prior(name))

    def sum_ms(self, classes: Mapping[str, float]) -> float:
        """GPU time of a step or a network, at ms of classes."""
        return sum(value * self.of(name) for name, value in classes.items())

    def whole_ms(self, classes: Mapping[str, float]) -> float:
        """A network's time: bound by the GPU or by the host that starts kernels."""
        return self.joined_ms(self.sum_ms(classes), classes.get(KERNELS, 0.0) * self.launch_ms)

    def joined_ms(self, gpu: float, host: float) -> float:
        """The formula above."""
        return float(joined(gpu, host, self.sharpness)) + self.constant_ms

    def to_document(self) -> dict[str, Any]:
        return {
            "inverse": {name: float(f"{value:.4g}") for name, value in sorted(self.inverse.items())},
            "kernel_ms": float(f"{self.kernel_ms:.4g}"),
            "launch_ms": float(f"{self.launch_ms:.4g}"),
            "constant_ms": float(f"{self.constant_ms:.4g}"),
            "sharpness": float(f"{self.sharpness:.4g}"),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "rates") -> Rates:
        """Raises ProfileError for what is no rate."""
        try:
            inverse = {str(name): float(value) for name, value in document["inverse"].items()}
            single = {name: float(document[name]) for name in _SINGLE}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(f"{where}: {error}; expected inverse, {', '.join(_SINGLE)}") from error
        if (
            any(not (np.isfinite(v) and v >= 0) for v in (*inverse.values(), *single.values()))
            or single["sharpness"] < 0.5
        ):
            raise ProfileError(f"{where}: got a negative or endless rate; make the profile anew")
        return cls(inverse=inverse, **single)


def joined(gpu: Any, host: Any, p: float) -> Any:
    """(gpu^p + host^p)^(1/p) of times or arrays of them, 1e-9 at least."""
    larger, smaller = np.maximum(np.maximum(gpu, host), 1e-9), np.minimum(gpu, host)
    return larger * (1 + (smaller / larger) ** p) ** (1 / p)


def prior(name: str) -> float:
    """What a class takes before anything is known: near its datasheet rate, twice that where kernels are known bad."""
    if name == KERNELS:
        return 0.005
    if name == LAYERS:
        return 1.0
    if "depthwise" in name:
        return 2.0 if name.endswith("_bytes") and "strided" not in name else 0.5
    if "uneven" in name or "3x3" in name:
        return 0.3  # on top of the same multiply-adds in another class
    if "strided" in name or "_last_" in name:
        return 0.5  # on top of the same bytes
    return 1.3 if name.endswith("_macs") else 1.5


def fit_rates(
    networks: Sequence[Mapping[str, float]],
    times: Array,
    *,
    base: Rates | None = None,
    firmness: float = 0.1,
) -> Rates:
    """Non-negative inverse efficiencies that make networks' sums their times, each network by its relative error.

    Args:
        networks: classes of each network.
        times: (N,) ms.
        base: where to start from, and what to stay near; `prior` where None.
        firmness: error that one class's being twice its start weighs as much as, in units of a network's error of 1.
    """
    start = base or Rates(inverse={})
    names = sorted(set().union(*networks))
    first = np.array([start.of(name) for name in names])
    columns = np.array([[row.get(name, 0.0) for name in names] for row in networks]) * first
    off = np.zeros(len(times))
    z = np.ones(len(names))
    kernels = np.array([row.get(KERNELS, 0.0) for row in networks])
    # What of each time the GPU took: (t^p - host^p)^(1/p). Networks bound by launches say little about the GPU.
    alone = np.maximum(times - start.constant_ms, 0.05 * times)
    p = start.sharpness
    share = np.clip(1 - (kernels * start.launch_ms / alone) ** p, 0.0, 1.0)
    goal_ms, trust = alone * np.maximum(share, 1e-3) ** (1 / p), np.clip(2 * share - 0.2, 0.0, 1.0)
    for _ in range(6):
        weight = trust / (times * np.sqrt(1 + (off / 0.15) ** 2))  # networks far off weigh less
        system = np.vstack([columns * weight[:, None], firmness * np.eye(len(names))])
        goal = np.concatenate([weight * goal_ms, firmness * np.ones(len(names))])
        z, _ = nnls(system, goal, maxiter=50 * len(names))
        off = np.log(goal_ms / np.maximum(columns @ z, 1e-9))
    found = dict(zip(names, map(float, first * z), strict=True))
    kernel = found.pop(KERNELS, start.kernel_ms)
    return replace(start, inverse=found, kernel_ms=kernel)
