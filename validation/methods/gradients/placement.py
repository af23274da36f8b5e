"""Where a layer's gradient is pruned: dI where ReLU already leaves dO sparse, dO where its neighbours make that dense.

dO is the gradient of a layer's output, which both backward stages read; dI that of its input, which one of them writes.
(Dai et al. 2020, SparseTrain: CONV-ReLU and CONV-BN-ReLU; here any neighbours that the traced operators show.)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from advisor.counting.arguments import base_name, bind, operands
from advisor.errors import AdvisorError
from advisor.network import Layer, Network, Op

At = Literal["input", "output", "nowhere"]

_RELU = {"relu", "relu6", "threshold"}
_MOVING = {  # a zero of the output's gradient stays a zero of the operands' gradients
    *("add", "sub", "dropout", "feature_dropout", "neg", "clone", "contiguous", "alias", "to", "_to_copy", "view"),
    *("reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "pad"),
    *("constant_pad_nd", "slice", "select", "narrow", "chunk", "split", "split_with_sizes", "unbind", "cat"),
    *("concat", "stack", "_unsafe_view", "channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "getitem"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where one layer's gradient is pruned, and why there.

    Attributes:
        reads_input: no gradient flows to what the layer reads (the image), so that it has no dI.
        masked: what the layer reads comes out of a ReLU, so that dI matters only where that is not zero.
    """

    layer: Layer
    at: At
    why: str
    reads_input: bool
    masked: bool


def place(network: Network, *, linear: bool = False) -> tuple[Site, ...]:
    """One site for each convolution, in order of execution; for each linear layer as well with `linear`.

    Raises:
        AdvisorError: there is no such layer.
    """
    graph = _Graph(network)
    kinds = ("conv", "linear") if linear else ("conv",)
    found = tuple(_site(layer, graph) for layer in network.sparsifiable if layer.kind.startswith(kinds))
    if not found:
        raise AdvisorError(
            f"gradient pruning: network {network.name} has no convolution; prune its linear layers with linear=true"
        )
    return found


class _Graph:
    """Who reads which value, who made it, and which values carry a gradient."""

    def __init__(self, network: Network) -> None:
        self.ops = network.ops
        self.readers: dict[int, list[Op]] = defaultdict(list)
        self.maker: dict[int, Op] = {}
        for op in self.ops.ops:
            for value in dict.fromkeys(operands(op)):
                self.readers[value].append(op)
            self.maker.update(dict.fromkeys(op.outputs, op))

    @cached_property
    def differentiable(self) -> set[int]:
        found = {value.index for value in self.ops.values if value.origin == "parameter"}
        for op in self.ops.ops:
            if found.intersection(operands(op)):
                found.update(op.outputs)
        return found

    def ports(self, layer: Layer) -> tuple[set[int], set[int]]:
        """Values that flow into a layer's module, and out of it."""
        inner = [op for op in self.ops.ops if op.module == layer.name]
        made = {value for op in inner for value in op.outputs}
        flowing = {value.index for value in self.ops.values if value.origin in ("input", "op")}
        into = {value for op in inner for value in operands(op) if value in flowing and value not in made}
        ends = set(self.ops.outputs)
        out = {v for v in made if v in ends or any(op.module != layer.name for op in self.readers[v])}
        return into, out


def _site(layer: Layer, graph: _Graph) -> Site:
    into, out = graph.ports(layer)
    reads_input = bool(into) and not into & graph.differentiable
    masked = bool(into) and all(_from_relu(value, graph) for value in into)
    dense = next((why for value in sorted(out) if (why := _dense_gradient(value, graph))), "")
    at: At
    if not layer.is_module:
        at, why = "nowhere", "its weight is used from outside its module"
    elif dense:
        at, why = "output", dense
    elif reads_input:
        at, why = "nowhere", "ReLU or max pooling leaves dO sparse, and it reads the network's input: there is no dI"
    else:
        at, why = "input", "ReLU or max pooling leaves dO sparse"
    return Site(layer=layer, at=at, why=why, reads_input=reads_input, masked=masked)


def _dense_gradient(value: int, graph: _Graph) -> str:
    """What makes a value's gradient dense; "" where everyone who reads it hands back a sparse one."""
    if value in graph.ops.outputs:
        return "dO comes dense from the loss"
    if not graph.readers[value]:
        return "nothing reads its output"
    for op in graph.readers[value]:
        if _is_relu(op) or _is_max_pool(op):
            continue
        name = base_name(op.target)
        if name not in _MOVING:
            return f"{name} makes dO dense"
        for output in op.outputs:
            # Of an operator with several outputs (a split) some may lead nowhere.
            if (graph.readers[output] or output in graph.ops.outputs) and (why := _dense_gradient(output, graph)):
                return why
    return ""


def _from_relu(value: int, graph: _Graph) -> bool:
    """Whether a zero of the value means that its gradient does not matter."""
    op = graph.maker.get(value)
    if op is None:
        return False
    if _is_relu(op):
        return True
    name = base_name(op.target)
    if name in ("add", "sub") or not (_is_max_pool(op) or name in _MOVING):
        return False
    made = [item for item in operands(op) if item in graph.maker or item in graph.ops.inputs]
    return bool(made) and all(_from_relu(item, graph) for item in made)


def _is_max_pool(op: Op) -> bool:
    return "max_pool" in base_name(op.target)


def _is_relu(op: Op) -> bool:
    name = base_name(op.target)
    if name == "hardtanh":
        return bool(bind(op).get("min_val") == 0)
    if name in ("clamp", "clamp_min"):
        lowest: Any = bind(op).get("min")
        return isinstance(lowest, int | float) and lowest == 0
    return name in _RELU
