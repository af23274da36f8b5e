"""Which weights the group lasso acts on, and their groups: filters of convolutions, input neurons of linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from advisor.errors import AdvisorError
from advisor.zoo.wide_resnet import WideBlock

AUTO = "auto"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupedWeight:
    """A layer's weight and the axis along which its groups lie.

    Attributes:
        name: of the layer.
        parameter: a convolution's (outputs, inputs of a group, *kernel), a transposed one's (inputs, outputs, *kernel),
            or a linear layer's (outputs, inputs).
        axis: of the output channels of a convolution, of the input neurons of a linear layer.
    """

    name: str
    parameter: nn.Parameter
    axis: int

    @property
    def is_conv(self) -> bool:
        return self.parameter.dim() > 2

    @property
    def count(self) -> int:
        """Groups."""
        return int(self.parameter.shape[self.axis])

    @property
    def size(self) -> int:
        """Weights in a group."""
        return self.parameter.numel() // self.count

    def norms(self, values: Tensor, order: float = 2) -> Tensor:
        """(groups,) the norm of each group of a tensor in the weight's shape; differentiable, with slope 0 at 0."""
        others = [axis for axis in range(values.dim()) if axis != self.axis]
        found: Tensor = torch.linalg.vector_norm(values, order, dim=others)
        return found

    def lasso(self, values: Tensor) -> Tensor:
        """sum_g sqrt(|g|) ||w_g||_2 (Yuan and Lin 2006): without the root wide layers' groups would cost too little."""
        return math.sqrt(self.size) * self.norms(values).sum()


def grouped_weights(module: nn.Module, layers: str = AUTO) -> list[GroupedWeight]:
    """The weights of a module that are to become sparse, tied ones once, in the module's order.

    Args:
        layers: patterns of layer names joined by "|", such as "features.*|head"; "auto" takes every convolution and
            linear layer, but of wide residual networks the first 3x3 convolution of each block alone, as Bui et al.
            2021 do.

    Raises:
        AdvisorError: a pattern that fits no layer with a weight of its own, or no layers at all.
    """
    there = {name: child for name, child in module.named_modules() if (axis := _axis(child)) is not None}
    wanted = layers.split("|")
    if layers == AUTO:
        blocks = [name for name, child in module.named_modules() if isinstance(child, WideBlock)]
        wanted = [f"{name}.conv1" for name in blocks] or ["*"]
    for one in wanted:
        if not any(fnmatchcase(name, one) for name in there):
            some = ", ".join(list(there)[:6]) + (", …" if len(there) > 6 else "")
            raise AdvisorError(
                f"group lasso: layers {one!r} fits no convolution and no linear layer; there are: {some or 'none'}"
            )
    found: dict[int, GroupedWeight] = {}
    for name, child in there.items():
        if any(fnmatchcase(name, one) for one in wanted):
            axis, weight = _axis(child), child.get_parameter("weight")
            assert axis is not None
            found.setdefault(id(weight), GroupedWeight(name=name, parameter=weight, axis=axis))
    return list(found.values())


def _axis(child: nn.Module) -> int | None:
    """Where a layer's groups lie; None for what is no plain layer: packed weights have lost that axis."""
    if not isinstance(child, _ConvNd | nn.Linear) or "weight" not in child._parameters:
        return None
    if isinstance(child, _ConvTransposeNd):
        return 1 if child.groups == 1 else None  # its outputs lie on two axes otherwise
    return 0 if isinstance(child, _ConvNd) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How sparse weights are, by the limits of Bui et al. 2021 (their code's).

    Attributes:
        density: share of weights with |w| >= 1e-5.
        alive: groups with a mean |w| above 1e-5, of `groups`.
        alive_filters: those of convolutions with a sum of |w| above 1e-3, of `filters`.
    """

    density: float
    alive: int
    groups: int
    alive_filters: int
    filters: int


@torch.no_grad()
def measured(weights: Sequence[GroupedWeight]) -> Measured:
    """What is left of the regularised weights."""
    kept = alive = alive_filters = 0
    for one in weights:
        sums = one.norms(one.parameter, 1)
        kept += int((one.parameter.abs() >= 1e-5).sum())
        alive += int((sums / one.size > 1e-5).sum())
        alive_filters += int((sums > 1e-3).sum()) if one.is_conv else 0
    return Measured(
        density=kept / sum(one.parameter.numel() for one in weights),
        alive=alive,
        groups=sum(one.count for one in weights),
        alive_filters=alive_filters,
        filters=sum(one.count for one in weights if one.is_conv),
    )
