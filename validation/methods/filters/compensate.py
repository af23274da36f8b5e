"""What removed constant channels did to the layers that read them, put into those layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from advisor.errors import ModelError
from advisor.plans.thin import Parts
from advisor.runtime.fold import can_fold, normed_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from advisor.network import Layer, Network

_UNIFORM = 1e-12  # relative: sums of the same products in another order


class BiasMap(nn.Module):
    """Adds a bias of its own to every place of a map.

    A padded convolution that read a constant plane gave less of it at the borders, so one number per output channel
    is not enough. The map belongs to one size of input.
    """

    bias_map: Tensor

    def __init__(self, bias_map: Tensor) -> None:
        """
        Args:
            bias_map: C *spatial.
        """
        super().__init__()
        self.register_buffer("bias_map", bias_map)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-self.bias_map.dim() :] != self.bias_map.shape:
            raise ModelError(
                f"a bias map of {tuple(self.bias_map.shape)} meets {tuple(x.shape)}; run the network on inputs of the "
                "size that its constant filters were removed at"
            )
        return x + self.bias_map


@dataclass(kw_only=True)
class Compensated:
    """Where the constants went: layer names."""

    into_bias: list[str] = field(default_factory=list)
    into_norm: list[str] = field(default_factory=list)  # its running mean
    new_bias: list[str] = field(default_factory=list)
    maps: list[str] = field(default_factory=list)


def contribution(layer: Layer, child: nn.Module, given: Tensor, removed: NDArray[np.bool_]) -> Tensor:
    """What a layer makes of its removed inputs alone, in float64: (outputs *spatial), or (... outputs) of a linear one.

    Args:
        layer: a convolution or linear layer of the full network.
        child: its module there.
        given: one call's input without the batch; NaN where it varies.
        removed: (in_channels,) the inputs that go.
    """
    axis = 0 if layer.is_conv else given.dim() - 1
    alone: Any = copy.deepcopy(child).double()
    if alone.bias is not None:
        alone.bias = nn.Parameter(torch.zeros_like(alone.bias))
    flags = torch.from_numpy(removed).to(given.device).view([-1 if a == axis else 1 for a in range(given.dim())])
    plane = torch.where(flags, given.double(), 0).nan_to_num(nan=0.0)  # what varies there, no output has weights for
    with torch.no_grad():
        found: Tensor = alone(plane[None])[0]
    return found


def compensate(network: Network, module: nn.Module, lost: Mapping[str, Tensor]) -> tuple[nn.Module, Compensated]:
    """Adds to every layer of the narrowed `module` what it lost; changes `module`.

    The same at every place of the map: into the bias, or the running mean of the batch norm that reads the layer alone
    (which leaves names and shapes as a plan makes them), or a new bias. Otherwise a `BiasMap` follows the layer.

    Args:
        network: the analysis of the full network; names are those of `module`.
        lost: layer → what it lost, (outputs that stay *spatial) or (... outputs that stay).
    """
    done = Compensated()
    names = {id(child): name for name, child in module.named_modules()}
    norms = {names[id(layer)]: norm for layer, norm in normed_pairs(module, network) if can_fold(layer, norm)}
    parts = Parts(module)
    for name, amount in lost.items():
        layer, child = network.layer(name), module.get_submodule(name)
        flat = (amount if layer.is_conv else amount.movedim(-1, 0)).flatten(1) if amount.dim() > 1 else amount[:, None]
        largest = float(flat.abs().max()) if flat.numel() else 0.0
        if largest == 0:
            continue
        mean = flat.mean(1)
        if float((flat - mean[:, None]).abs().max()) > _UNIFORM * largest:
            weight = child.get_parameter("weight")
            parts.replace(child, nn.Sequential(child, BiasMap(amount.to(weight.dtype))))
            done.maps.append(name)
        else:
            _into(name, child, norms.get(name), mean, done)
    return parts.root, done


def _into(name: str, child: Any, norm: Any, amount: Tensor, done: Compensated) -> None:
    with torch.no_grad():
        if child.bias is not None:
            child.bias.copy_(child.bias.double() + amount)
            done.into_bias.append(name)
        elif norm is not None:
            norm.running_mean.copy_(norm.running_mean.double() - amount)
            done.into_norm.append(name)
        else:
            child.bias = nn.Parameter(amount.to(child.weight.dtype), child.weight.requires_grad)
            done.new_bias.append(name)
