"""Five penalties that make weights zero, each with its value and its proximal map, as functions of tensors.

`value(v, scale)` is scale * r(v), summed over all elements. `prox(x, scale)` is a v that minimises
(1/2) ||x - v||^2 + value(v, scale); of several minimisers the sparser one. A scale is lambda / beta where a penalty of
weight lambda is split off with weight beta (Bui et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from advisor.errors import AdvisorError, unknown


def l0(v: Tensor, scale: float) -> Tensor:
    """Elements that are not zero."""
    return scale * v.count_nonzero().to(v.dtype)


def l0_prox(x: Tensor, scale: float) -> Tensor:
    """Hard threshold: x where |x| > sqrt(2 scale)."""
    return x.where(x.abs() > math.sqrt(2 * scale), 0.0)


def l1(v: Tensor, scale: float) -> Tensor:
    """Sum of |v|."""
    return scale * v.abs().sum()


def l1_prox(x: Tensor, scale: float) -> Tensor:
    """Soft threshold: |x| loses scale, down to zero."""
    return x.sign() * (x.abs() - scale).clamp(min=0)


def transformed_l1(v: Tensor, scale: float, *, a: float = 1.0) -> Tensor:
    """Sum of (a + 1) |v| / (a + |v|): l0 as a goes to 0, l1 as it grows (Zhang and Xin 2018)."""
    size = v.abs()
    return scale * ((a + 1) * size / (a + size)).sum()


def transformed_l1_prox(x: Tensor, scale: float, *, a: float = 1.0) -> Tensor:
    """The closed form of Zhang and Xin 2017: a root of the cubic that the minimum solves, zero up to a threshold."""
    if scale == 0:
        return x.clone()
    size = x.abs()
    small = scale <= a * a / (2 * (a + 1))
    threshold = scale * (a + 1) / a if small else math.sqrt(2 * scale * (a + 1)) - a / 2
    # Where |x| is below the threshold the cosine leaves [-1, 1]; what comes out there is not used.
    cosine = 1 - 27 * scale * a * (a + 1) / (2 * (a + size) ** 3)
    root = 2 / 3 * (a + size) * (cosine.clamp(-1, 1).arccos() / 3).cos() - 2 * a / 3 + size / 3
    return (x.sign() * root).where(size > threshold, 0.0)


def scad(v: Tensor, scale: float, *, alpha: float = 3.7) -> Tensor:
    """Smoothly clipped absolute deviation (Fan and Li 2001): like l1 up to scale, constant from alpha * scale on.

    Not proportional to scale: where the penalty bends depends on it, too.
    """
    size = v.abs()
    bent = (2 * alpha * scale * size - size**2 - scale**2) / (2 * (alpha - 1))
    beyond = torch.full_like(size, scale**2 * (alpha + 1) / 2)
    return torch.where(size <= scale, scale * size, torch.where(size <= alpha * scale, bent, beyond)).sum()


def scad_prox(x: Tensor, scale: float, *, alpha: float = 3.7) -> Tensor:
    """Soft threshold up to 2 scale, the identity beyond alpha * scale, a line between."""
    size = x.abs()
    between = ((alpha - 1) * x - x.sign() * alpha * scale) / (alpha - 2)
    return torch.where(size <= 2 * scale, l1_prox(x, scale), torch.where(size <= alpha * scale, between, x))


def l1_l2(v: Tensor, scale: float, *, alpha: float = 1.0) -> Tensor:
    """||v||_1 - alpha ||v||_2 of the whole tensor: 0 for alpha 1 where one element at most is not zero."""
    length: Tensor = torch.linalg.vector_norm(v)
    return scale * (v.abs().sum() - alpha * length)


def l1_l2_prox(x: Tensor, scale: float, *, alpha: float = 1.0) -> Tensor:
    """The closed form of Lou and Yan 2018, of the whole tensor: soft threshold, then longer by alpha * scale.

    Where the largest element does not exceed scale, it alone is left, or nothing.
    """
    largest = float(x.abs().max()) if x.numel() else 0.0
    if largest > scale:
        soft = l1_prox(x, scale)
        length: Tensor = torch.linalg.vector_norm(soft)
        return soft * ((length + alpha * scale) / length)
    found = torch.zeros_like(x)
    if (left := largest + (alpha - 1) * scale) > 0:
        place = torch.unravel_index(x.abs().argmax(), x.shape)
        found[place] = x[place].sign() * left
    return found


Function = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """A penalty by name, with its shape parameter filled in."""

    name: str
    value: Function
    prox: Function


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    value: Callable[..., Tensor]
    prox: Callable[..., Tensor]
    parameter: str = ""  # of its shape
    above: float = 0.0  # what that has to exceed
    most: float = math.inf


PENALTIES = {
    "l0": _Family(value=l0, prox=l0_prox),
    "l1": _Family(value=l1, prox=l1_prox),
    "transformed-l1": _Family(value=transformed_l1, prox=transformed_l1_prox, parameter="a"),
    "scad": _Family(value=scad, prox=scad_prox, parameter="alpha", above=2.0),
    "l1-l2": _Family(value=l1_l2, prox=l1_l2_prox, parameter="alpha", most=1.0),
}


def make_penalty(name: str, shape: float | None = None) -> Penalty:
    """A penalty by name.

    Args:
        shape: a of transformed l1 (above 0), alpha of scad (above 2) and of l1-l2 (in (0, 1]); None: 1, 3.7 and 1.

    Raises:
        AdvisorError: an unknown name, or a shape outside its range.
    """
    if name not in PENALTIES:
        raise AdvisorError(unknown("penalty", name, PENALTIES))
    family = PENALTIES[name]
    if shape is None:
        return Penalty(name=name, value=family.value, prox=family.prox)
    if not family.parameter:
        raise AdvisorError(f"penalty {name!r} has no shape parameter, got {shape:g}; leave it out")
    if not family.above < shape <= family.most or math.isinf(shape):
        limit = f"up to {family.most:g}" if family.most < math.inf else "and finite"
        raise AdvisorError(
            f"penalty {name!r}: got {family.parameter}={shape:g}, expected above {family.above:g} {limit}"
        )
    given = {family.parameter: shape}
    return Penalty(name=name, value=partial(family.value, **given), prox=partial(family.prox, **given))
