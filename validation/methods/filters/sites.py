"""Where a filter's scale and its activation are: what follows a convolution, read off the network's operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from advisor.counting.arguments import base_name, bind, operands
from advisor.counting.ignored import reason
from advisor.network import Ref

if TYPE_CHECKING:
    from advisor.network import Layer, Network, Op

_NORMS = frozenset(["batch_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
                    "_native_batch_norm_legit_no_training", "_batch_norm_impl_index"])  # fmt: skip
_PASSES = frozenset(["clone", "contiguous", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout"])


@dataclass(frozen=True, kw_only=True)
class FilterSite:
    """One convolution with what makes activations of its outputs.

    Attributes:
        layer: the convolution; `layer.out_channels` filters.
        norm: dotted name of the batch norm that alone reads it; None without one.
        activation: operators element by element between `at` and whatever reads the activations.
        parameters: those that they read, by the indices of their values (the slopes of PReLU).
    """

    layer: Layer
    norm: str | None
    activation: tuple[Op, ...]
    parameters: Mapping[int, str]

    @property
    def at(self) -> str:
        """The module whose output is looked at: the norm, or the convolution where there is none."""
        return self.norm or self.layer.name

    def activate(self, made: Tensor, module: nn.Module) -> Tensor:
        """The activations, from the output of `at` (before anything works on it in place)."""
        for op in self.activation:
            made = _applied(op, made, module, self.parameters)
        return made

    def at_zero(self, module: nn.Module) -> float:
        """The activation where `at` gives 0: 0 for ReLU and its like."""
        like = module.get_submodule(self.at).get_parameter("weight")
        zeros = torch.zeros((1, self.layer.out_channels, *(1,) * len(self.layer.kernel)), device=like.device)
        return float(self.activate(zeros.to(like.dtype), module).detach().abs().max())


def filter_sites(network: Network) -> tuple[FilterSite, ...]:
    """Every convolution of a network that is a module, in order of execution."""
    modules = dict(network.module.named_modules(remove_duplicate=False)) if network.module is not None else {}
    readers: dict[int, list[Op]] = defaultdict(list)
    last: dict[str, Op] = {}
    for op in network.ops.ops:
        for index in set(operands(op)):
            readers[index].append(op)
        if op.outputs:
            last[op.module] = op
    ends = frozenset(network.ops.outputs)
    return tuple(
        _site(layer, last[layer.name], network, modules, readers, ends)
        for layer in network.sparsifiable
        if layer.is_conv and layer.is_module and layer.name in last
    )


def _site(
    layer: Layer,
    made: Op,
    network: Network,
    modules: dict[str, nn.Module],
    readers: dict[int, list[Op]],
    ends: frozenset[int],
) -> FilterSite:
    norm: str | None = None
    chain: list[Op] = []
    value = made.outputs[0]
    while len(readers[value]) == 1 and value not in ends:
        op = readers[value][0]
        name = base_name(op.target)
        if norm is None and not chain and name in _NORMS and _is_norm(modules.get(op.module), layer):
            norm = op.module
        elif name not in _PASSES and not _alone(op, name, value, network):
            break
        else:
            chain.append(op)
        value = op.outputs[0]
    # Norms that also activate (timm) have done so by the time their output is seen.
    after = tuple(op for op in chain if norm is None or not f"{op.module}.".startswith(f"{norm}."))
    values = network.ops.values
    known = {index: named for op in after for index in operands(op) if (named := values[index].name) is not None}
    return FilterSite(layer=layer, norm=norm, activation=after, parameters=known)


def _is_norm(module: nn.Module | None, layer: Layer) -> bool:
    scale = getattr(module, "weight", None)
    return isinstance(scale, Tensor) and scale.shape == (layer.out_channels,)


def _alone(op: Op, name: str, value: int, network: Network) -> bool:
    """Whether an operator works element by element on this value and on named parameters alone."""
    values = network.ops.values
    return reason(name) == "works element by element" and all(
        index == value or (values[index].origin == "parameter" and values[index].name is not None)
        for index in operands(op)
    )


def _applied(op: Op, made: Tensor, module: nn.Module, parameters: Mapping[int, str]) -> Tensor:
    name = base_name(op.target)
    if name in _PASSES:
        return made
    # What works in place has the arguments of what does not.
    overload = getattr(getattr(torch.ops.aten, name), op.target.rpartition(".")[2])

    def value(item: Any) -> Any:
        if isinstance(item, Ref):
            return module.get_parameter(parameters[item.index]) if item.index in parameters else made
        return list(item) if isinstance(item, tuple) else item

    found: Tensor = overload(**{key: value(item) for key, item in bind(op).items() if item is not None})
    return found
