"""The walk over a network's operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.counting.arguments import base_name, bind, operands, shared_operand, written_operands
from advisor.counting.ignored import reason
from advisor.coupling import products as _products  # registers its rules
from advisor.coupling.labels import MOVES, Labels, lift, reduced_axes, spatial
from advisor.coupling.rules import RULES, Arguments, elementwise, mixed, pieces, place, reshaped
from advisor.coupling.structure import ChannelGraph
from advisor.coupling.walker import Static, Walker
from advisor.network import Layer, Network, Op, OpGraph, Ref

if TYPE_CHECKING:
    from torch import nn

del _products
# fmt: off
_PASSES = frozenset({
    "clone", "contiguous", "detach", "alias", "dropout", "feature_dropout", "alpha_dropout", "native_dropout", "to",
    "_to_copy", "type_as", "float", "half", "bfloat16", "double", "lift_fresh", "lift_fresh_copy", "detach_copy",
    "alias_copy", "resolve_conj", "resolve_neg", "where", "masked_fill", "normalize", "zeros_like", "ones_like",
    "expand_as", "full_like", "empty_like", "rand_like", "randn_like", "bernoulli", "copy", "fill", "zero", "real",
})
_SPLITS = frozenset({"split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unbind"})
_RESHAPES = frozenset({
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "_reshape_alias",
})
# fmt: on
_SPATIAL = ("pool", "upsample", "interpolate")
_BOOKKEEPING = frozenset(["_assert_async", "_assert_tensor_metadata", "sym_size"])


def walk(network: Network) -> Walker:
    """Carries channel names through every operator of `network`; nothing runs."""
    return walk_ops(network.ops, network.sparsifiable, aliases_of(network.module) if network.module is not None else {})


def walk_ops(
    graph: OpGraph, layers: Sequence[Layer], aliases: Mapping[str, str], beside: Walker | None = None
) -> Walker:
    """The same for any run of the network's module.

    Args:
        graph: the operators that ran.
        layers: the sparsifiable ones, known by their weights.
        aliases: every dotted name of a parameter or buffer → the first name of the same tensor.
        beside: an earlier walk whose channels this one goes on to tie.
    """
    walker = Walker(graph, {layer.weight: layer for layer in layers if layer.weight is not None}, aliases)
    if beside is not None:
        walker.beside(beside)
    for index in graph.inputs:
        node = walker.source("the network's input")
        walker.labels[index] = walker.inputs[index] = node.reshape((1,) * len(walker.shape(index)))
    homes: dict[int, int] = {}
    for op in graph.ops:
        shared = shared_operand(op)
        if shared is not None:
            for out in op.outputs:
                homes[out] = homes.get(shared, shared)
        _step(walker, op)
        _write_back(walker, op, homes)
    for index in graph.outputs:
        if index in walker.labels:
            walker.freeze(walker.labels[index], "the network's output")
    return walker


def aliases_of(module: nn.Module) -> dict[str, str]:
    """Every dotted name of a parameter or buffer → the first name of the same tensor."""
    from advisor.trace import aliases

    buffers: dict[int, str] = {}
    named = module.named_buffers(remove_duplicate=False)
    return aliases(module) | {name: buffers.setdefault(id(b), name) for name, b in named}


def channel_graph_of(network: Network, walker: Walker) -> ChannelGraph:
    """The graph that the walk drew."""
    sinks = [walker.labels[index].ravel() for index in network.ops.outputs if index in walker.labels]
    empty = np.empty(0, dtype=np.int64)
    return ChannelGraph(
        nodes=walker.ties.count,
        steps=tuple(walker.steps),
        sources=np.unique(np.concatenate([*walker.sources, empty])),
        sinks=np.unique(np.concatenate([*sinks, empty])),
    )


def _step(walker: Walker, op: Op) -> None:
    name, a, read = base_name(op.target), bind(op), operands(op)
    if name in _BOOKKEEPING or not op.outputs:
        return
    if all(v in walker.statics for v in read):
        _static(walker, op, name, a, read)
    elif name in RULES:
        RULES[name](walker, op, a)
    elif _is_elementwise(name, a):
        elementwise(walker, op, read)
    elif name in MOVES and not (isinstance(a.get("self"), Ref) and a["self"].index in walker.statics):
        _move(walker, op, name, a, read)
    elif any(word in name for word in _SPATIAL):
        labels = spatial(name, walker.activation(read[0]), [walker.shape(out) for out in op.outputs])
        _place(walker, op, labels)
    elif name.startswith("new_"):
        for out in op.outputs:
            walker.statics[out] = Static()
    else:
        mixed(walker, op)


def _is_elementwise(name: str, a: Arguments) -> bool:
    if name in ("max", "min"):
        return isinstance(a.get("other"), Ref)
    return name in _PASSES or reason(name) == "works element by element"


def _static(walker: Walker, op: Op, name: str, a: Arguments, read: tuple[int, ...]) -> None:
    """Parameters keep their places through views and elementwise operators."""
    shapes = [walker.shape(out) for out in op.outputs]
    for out in op.outputs:
        walker.statics[out] = Static()
    tracked = [v for v in read if walker.statics[v].tracks]
    if _is_elementwise(name, a) and len(shapes) == 1:
        rank = len(shapes[0])
        for v in tracked:
            for key, axes in walker.statics[v].tracks.items():
                walker.statics[op.outputs[0]].tracks[key] = tuple(lift(x, rank) for x in axes)
    elif name in MOVES and len(tracked) == 1 and tracked[0] == read[0]:
        for key, axes in walker.statics[read[0]].tracks.items():
            moved = [MOVES[name](a, x, walker.shape(read[0]), shapes) for x in axes]
            if all(x is not None for x in moved):
                for i, out in enumerate(op.outputs):
                    walker.statics[out].tracks[key] = tuple(x[i] for x in moved if x is not None)


def _move(walker: Walker, op: Op, name: str, a: Arguments, read: tuple[int, ...]) -> None:
    value = read[0]
    labels, shapes = walker.activation(value), [walker.shape(out) for out in op.outputs]
    moved = MOVES[name](a, labels, walker.shape(value), shapes)
    if moved is None and len(shapes) >= 1 and reason(name) == "reduces":
        moved = _reduced(walker, labels, a, name, len(shapes[0]), len(shapes))
    if moved is not None:
        if name in _SPLITS or name in ("slice", "select", "narrow"):
            pieces(walker, op, value, moved)
        elif "channel_shuffle" in name and labels.ndim > 1 and labels.size == labels.shape[1]:
            walker.tables.append(labels.reshape(int(a["groups"]), -1))
        elif name in _RESHAPES:
            reshaped(walker, op, value, moved[0])
    for other in read[1:] if name not in ("view_as", "reshape_as") else ():
        # Indices into places on a map: what they are computed from matters for all that is read.
        if other in walker.labels and moved is not None:
            walker.freeze(walker.labels[other], f"indices of {place(op)}")
            node, target = walker.hub([walker.labels[other]]), walker.ties.new(moved[0].size)
            walker.edges(moved[0].ravel(), target, tie=True)
            walker.edges(node, target, tie=False)
            moved = [target.reshape(moved[0].shape)] * len(moved)
    if name in ("expand", "broadcast_to"):
        before = walker.spread.get(value, walker.shape(value))
        walker.spread[op.outputs[0]] = (1,) * (len(shapes[0]) - len(before)) + before
    _place(walker, op, moved)


def _reduced(walker: Walker, labels: Labels, a: Arguments, name: str, rank: int, outputs: int) -> list[Labels] | None:
    """A reduction over channels: what is left depends on all of them and is a channel of its own."""
    if name.startswith("arg") or labels.ndim == 0:
        return None
    axes = reduced_axes(a, labels.ndim)
    kept = [axis for axis in range(labels.ndim) if axis not in axes]
    sizes = [labels.shape[axis] for axis in kept]
    rows = labels.transpose([*kept, *axes]).reshape(int(np.prod(sizes)), -1)
    nodes = walker.ties.new(len(rows))
    walker.edges(rows, nodes[:, None], tie=False)
    shape = sizes if rank == len(kept) else [1 if axis in axes else labels.shape[axis] for axis in range(labels.ndim)]
    return [nodes.reshape(shape)] * outputs


def _place(walker: Walker, op: Op, moved: list[Labels] | None) -> None:
    fits = moved is not None and all(
        x.ndim == len(walker.shape(out)) and all(n in (1, m) for n, m in zip(x.shape, walker.shape(out), strict=True))
        for x, out in zip(moved, op.outputs, strict=True)
    )
    if moved is None or not fits:
        mixed(walker, op)
        return
    for labels, out in zip(moved, op.outputs, strict=True):
        walker.labels[out] = labels


def _write_back(walker: Walker, op: Op, homes: dict[int, int]) -> None:
    """After a write in place, whoever reads this memory by an older name sees the new content."""
    if not op.outputs:
        return
    new = op.outputs[0]
    for value in written_operands(op):
        home = homes.get(value, value)
        if new not in walker.labels:
            continue
        walker.statics.pop(value, None)
        walker.labels[value] = walker.labels[new]
        if home == value:
            continue
        if walker.shape(home) == walker.shape(new):
            walker.labels[home] = walker.labels[new]
            walker.statics.pop(home, None)
        else:
            text = f"{place(op)} writes into a part of another tensor"
            if home in walker.statics:
                walker.statics.pop(home)
                walker.freeze(walker.activation(home), text)
            node = walker.mix([home, new], text)
            walker.labels[home] = node.reshape((1,) * len(walker.shape(home)))
            walker.labels[new] = walker.labels[value] = node.reshape((1,) * len(walker.shape(new)))
