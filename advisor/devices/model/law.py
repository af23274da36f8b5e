"""The physics of a step: a call, and then the slower of arithmetic and memory. It carries on beyond what was measured.

ms = call + (compute^p + memory^p)^(1/p)

compute: Σ multiply-adds of each kind of work / its speed, and elements of functions / theirs. memory: Σ over weights
and over all other tensors of bytes / bandwidth, where the bytes beyond what a cache holds have a bandwidth of their
own. p = 1 adds both up, a large p is the roofline (Williams, Waterman and Patterson, 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.shapes import shape_of

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step

_KINDS = 7  # of compute, see `work_of`
_POWERS = (1.0, 2.0, 6.0)
_CACHES = (2e6, 8e6, 32e6)  # bytes
_ROWS = 1200  # that a law is fitted on: it has a dozen numbers
_GAUSS_NEWTON = 12
_HELD = 0.02  # how much a step of the fit is held back, as a share of what a column weighs
_LEAST = 1e-12


def work_of(step: Step) -> np.ndarray:
    """(9,) what a step does: 7 kinds of compute (one of them above 0, none for plain copies), bytes of weights, others.

    The kinds: convolution, depthwise convolution, product with few rows, product; sparse with single outputs, sparse
    with blocks of them; elements of functions, norms and the like.
    """
    found = np.zeros(_KINDS + 2)
    weights = weight_bytes(step)
    found[-2], found[-1] = weights, max(step.bytes_moved - weights, 0)
    if step.macs:
        found[_kind(step)] = step.macs
    elif step.family in ("special", "norm", "softmax", "pool", "index", "resize"):
        found[_KINDS - 1] = max(step.elements, step.read_bytes // 4)
    return found


def works_of(steps: Sequence[Step]) -> np.ndarray:
    """(S, 9)."""
    return np.array([work_of(step) for step in steps]) if steps else np.zeros((0, _KINDS + 2))


def weight_bytes(step: Step) -> int:
    """Bytes of a forward layer's weight, and of its lists where it has some; 0 for anything else."""
    e = step.execution
    if e is None:
        return 0
    if e.method == "direct":
        return 4 * e.kept * (e.block * prod(e.weight_shape[2:]) + 1)
    return 4 * prod(e.weight_shape)


def _kind(step: Step) -> int:
    g = shape_of(step)
    if "sparse_" in step.target:
        return 5 if g.block > 1 else 4
    e = step.execution
    if (e is not None and e.kind != "linear") or "conv" in step.target:
        return 1 if g.groups > 1 and g.k == 1 else 0
    return 2 if g.m <= 4 else 3


class Law:
    """Fitted by least squares on logs, robustly; every coefficient is at least 0.

    Args:
        work: (S, 9) of `work_of`.
        log_ms: (S,).
    """

    def __init__(self, work: np.ndarray, log_ms: np.ndarray) -> None:
        used = _sample(work)
        work, log_ms = work[used], log_ms[used]
        best = np.inf
        for power, cache in product(_POWERS, _CACHES):
            columns = _columns(work, cache)
            coefficients, error = _fit(columns, power, log_ms)
            if error < best * (1 - 1e-3):
                best, self.power, self.cache, self.coefficients = error, power, cache, coefficients

    def __call__(self, work: np.ndarray) -> np.ndarray:
        """(S,) log milliseconds."""
        found: np.ndarray = np.log(_ms(_columns(work, self.cache), self.coefficients, self.power))
        return found


def _sample(work: np.ndarray) -> np.ndarray:
    """Evenly spread over sizes, the largest among them."""
    order = np.argsort(work.sum(axis=1), kind="stable")
    if len(order) > _ROWS:
        order = order[np.unique(np.linspace(0, len(order) - 1, _ROWS).round().astype(int))]
    return order


def _columns(work: np.ndarray, cache: float) -> np.ndarray:
    """(S, 1 + 7 + 4): a call, compute, bytes of weights within and beyond the cache, bytes of others likewise."""
    weights, others = work[:, -2:-1], work[:, -1:]
    memory = [part for n in (weights, others) for part in (np.minimum(n, cache), np.maximum(n - cache, 0.0))]
    columns: np.ndarray = np.hstack([np.ones((len(work), 1)), work[:, :_KINDS], *memory]) / 1e6
    return columns


def _ms(columns: np.ndarray, coefficients: np.ndarray, power: float) -> np.ndarray:
    found: np.ndarray = np.maximum(_parts(columns, coefficients, power)[0], _LEAST)
    return found


def _parts(columns: np.ndarray, c: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ms, and by how much it grows with compute and with memory."""
    k = 1 + _KINDS
    compute, memory = columns[:, 1:k] @ c[1:k], columns[:, k:] @ c[k:]
    larger, smaller = np.maximum(compute, memory), np.minimum(compute, memory)
    both = np.maximum(larger, _LEAST)
    both = both * (1 + (smaller / both) ** power) ** (1 / power)
    return columns[:, 0] * c[0] + both, (compute / both) ** (power - 1), (memory / both) ** (power - 1)


def _fit(columns: np.ndarray, power: float, log_ms: np.ndarray) -> tuple[np.ndarray, float]:
    """Non-negative least squares of relative errors, linearised again and again; the mean clipped square of logs."""
    from scipy.optimize import nnls

    ms, k = np.exp(log_ms), 1 + _KINDS
    c = nnls(columns / ms[:, None], np.ones(len(ms)))[0] + _LEAST
    held = np.diag(_HELD * np.sqrt(((columns / ms[:, None]) ** 2).sum(axis=0)))
    best, least = c, np.inf
    for _ in range(_GAUSS_NEWTON):
        found, by_compute, by_memory = _parts(columns, c, power)
        found = np.maximum(found, _LEAST)
        error = np.log(found) - log_ms
        loss = float(np.minimum(error**2, 1.0).mean())
        if loss < least * (1 - 1e-4):
            best, least = c, loss
        elif np.isfinite(least):
            break
        # log ms is followed along its gradient: slopes · c' = slopes · c - error, those far off counting less; what the
        # measurements say nothing of stays as it is.
        slopes = columns.copy()
        slopes[:, 1:k] *= by_compute[:, None]
        slopes[:, k:] *= by_memory[:, None]
        slopes /= found[:, None]
        weight = 1 / np.sqrt(1 + (error / 0.3) ** 2)
        table = np.vstack([slopes * weight[:, None], held])
        c = nnls(table, np.concatenate([(slopes @ c - error) * weight, held @ c]))[0]
    return best, least
