"""One rule per family of operators: how it carries, joins or mixes channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from advisor.counting.arguments import refs
from advisor.coupling.labels import Labels, lift, shrink, split_axes, spread
from advisor.coupling.walker import Walker
from advisor.network import Op, Ref
from advisor.registry import registered

Arguments = Mapping[str, Any]
Rule = Callable[[Walker, Op, Arguments], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule for operators by their base name."""
    return registered(RULES, names, "rules")


def place(op: Op) -> str:
    """The operator as a reader knows it: "softmax in encoder.attention"."""
    name = op.target.split(".")[1] if op.target.count(".") else op.target
    return f"{name} in {op.module}" if op.module else name


def _read(a: Arguments, *names: str) -> int | None:
    for name in names:
        if isinstance(a.get(name), Ref):
            return int(a[name].index)
    return None


def mixed(walker: Walker, op: Op, reason: str | None = None) -> None:
    """Every channel that goes in may matter for everything that comes out; nothing of it can be narrowed."""
    values = [*refs(op.args), *(i for item in op.kwargs.values() for i in refs(item))]
    node = walker.mix(values, reason or f"channels cannot be followed through {place(op)}")
    for out in op.outputs:
        walker.labels[out] = node.reshape((1,) * len(walker.shape(out)))


def elementwise(walker: Walker, op: Op, values: Sequence[int]) -> None:
    """All operands meet element by element; constants and parameters among them follow the channels."""
    moving = [v for v in values if v not in walker.statics]
    # What was expanded broadcasts, as it would have done by itself.
    labels = walker.join([(walker.activation(v), walker.spread.get(v, walker.shape(v))) for v in moving])
    for v in values:
        if v in walker.statics:
            walker.align(v, labels, f"a constant of fixed size meets the channels in {place(op)}")
    for out in op.outputs:
        walker.labels[out] = lift(labels, len(walker.shape(out)))


def pieces(walker: Walker, op: Op, value: int, outputs: Sequence[Labels]) -> None:
    """Notes which channels went into which piece when an operator took a labelled axis apart."""
    before = walker.activation(value)
    if all(labels.size == before.size for labels in outputs):
        return
    walker.pieces.append(([labels.ravel() for labels in outputs], len({labels.size for labels in outputs}) == 1))


def reshaped(walker: Walker, op: Op, value: int, labels: Labels) -> None:
    """Notes the rows that a reshape made of one labelled axis."""
    before, after = walker.shape(value), walker.shape(op.outputs[0])
    for axis in split_axes(walker.activation(value), before, after):
        if labels.shape[axis] > 1:
            walker.tables.append(np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1))


@rule("cat", "concat", "concatenate")
def _cat(walker: Walker, op: Op, a: Arguments) -> None:
    out = op.outputs[0]
    rank = len(walker.shape(out))
    values = [v for v in refs(a["tensors"]) if len(walker.shape(v)) == rank]
    _concatenate(walker, op, values, int(a.get("dim") or 0) % rank)


@rule("stack")
def _stack(walker: Walker, op: Op, a: Arguments) -> None:
    # On the new axis nothing has a name yet: what is stacked is the same channel several times.
    values = list(refs(a["tensors"]))
    axis = int(a["dim"]) % len(walker.shape(op.outputs[0]))
    labels = walker.join([(walker.activation(v), walker.shape(v)) for v in values if v not in walker.statics])
    for v in values:
        if v in walker.statics:
            walker.align(v, labels, f"a constant of fixed size is stacked in {place(op)}")
    walker.labels[op.outputs[0]] = np.expand_dims(labels, axis)


def _concatenate(walker: Walker, op: Op, values: Sequence[int], axis: int) -> None:
    out = op.outputs[0]
    arrays = {v: walker.labels[v] for v in values if v in walker.labels}
    named = any(x.shape[axis] > 1 for x in arrays.values())
    alone = all(x.size == 1 for x in arrays.values())
    same = len({int(x.ravel()[0]) for x in arrays.values()}) == 1
    if not named and not (alone and (not same or len(arrays) < len(values))):
        # Places on a map or in a sequence: channel c of every operand is the same channel.
        elementwise(walker, op, values)
        return
    full = [walker.activation(v) for v in values]
    shape = [max(x.shape[i] for x in full) for i in range(len(walker.shape(out)))]
    parts = []
    for v, labels in zip(values, full, strict=True):
        wanted = [walker.shape(v)[axis] if i == axis else size for i, size in enumerate(shape)]
        parts.append(np.broadcast_to(spread(labels, walker.shape(v), [axis]), wanted))
    walker.labels[out] = shrink(np.concatenate(parts, axis))


@rule("prelu")
def _prelu(walker: Walker, op: Op, a: Arguments) -> None:
    labels = walker.activation(a["self"].index)
    weight = a["weight"].index
    if weight in walker.statics and walker.shape(weight)[0] > 1 and labels.ndim > 1:
        shape = [1] * labels.ndim
        shape[1] = walker.shape(weight)[0]
        walker.align_as(weight, shape, labels, f"the slopes of {place(op)} are computed")
    elif weight not in walker.statics:
        mixed(walker, op)
        return
    walker.labels[op.outputs[0]] = labels


@rule("glu")
def _glu(walker: Walker, op: Op, a: Arguments) -> None:
    value, out = a["self"].index, op.outputs[0]
    labels = walker.activation(value)
    axis = int(a["dim"]) % labels.ndim
    if labels.shape[axis] == 1:
        walker.labels[out] = labels
        return
    halves = np.split(labels, 2, axis)
    walker.pieces.append(([half.ravel() for half in halves], True))
    walker.labels[out] = walker.join([(half, walker.shape(out)) for half in halves])


@rule("pixel_shuffle")
def _pixel_shuffle(walker: Walker, op: Op, a: Arguments) -> None:
    # r² neighbouring channels become one channel of a larger map: they stay or go together.
    value, out = a["self"].index, op.outputs[0]
    labels, channels = walker.activation(value), walker.shape(out)[-3]
    if labels.shape[-3] == 1 or labels.size != labels.shape[-3]:
        mixed(walker, op)
        return
    nodes = walker.ties.new(channels)
    walker.edges(labels.reshape(channels, -1), nodes[:, None], tie=True)
    shape = [1] * labels.ndim
    shape[-3] = channels
    walker.labels[out] = nodes.reshape(shape)


@rule("embedding")
def _embedding(walker: Walker, op: Op, a: Arguments) -> None:
    out, weight = op.outputs[0], a["weight"].index
    rank, width = len(walker.shape(out)), walker.shape(out)[-1]
    if weight not in walker.statics:
        mixed(walker, op)
        return
    nodes = walker.ties.new(width)
    walker.sources.append(nodes)
    if not walker.statics[weight].tracks:
        walker.freeze(nodes, f"the table of {place(op)} is computed")
    walker.cut(weight, 1, nodes, f"the table of {place(op)} is computed")
    walker.pieces.append(([nodes], False))
    walker.labels[out] = nodes.reshape((1,) * (rank - 1) + (width,))


@rule("batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_batch_norm",
      "cudnn_batch_norm", "_batch_norm_impl_index", "_batch_norm_no_update", "_batch_norm_with_update",
      "miopen_batch_norm", "instance_norm", "group_norm", "native_group_norm")  # fmt: skip
def _channel_norm(walker: Walker, op: Op, a: Arguments) -> None:
    value = a["input"].index
    labels, shape = walker.activation(value), walker.shape(value)
    if labels.ndim < 2:
        mixed(walker, op)
        return
    per_channel = [shape[1] if axis == 1 else 1 for axis in range(labels.ndim)]
    groups = int(a.get("num_groups") or a.get("group") or 0)
    if groups > 1 and labels.shape[1] > 1:
        parts = np.moveaxis(labels, 1, 0).reshape(groups, -1)
        walker.pieces.append((list(parts), True))
    for name in ("weight", "bias", "running_mean", "running_var"):
        v = _read(a, name)
        if v is None:
            continue
        if v not in walker.statics:
            walker.freeze(walker.activation(v), f"computed scales of {place(op)}")
            walker.freeze(labels, f"computed scales of {place(op)}")
            continue
        walker.align_as(v, per_channel, labels, f"computed scales of {place(op)}")
    _attribute(walker, op, "num_features", labels.reshape(-1) if labels.size == labels.shape[1] else None)
    walker.labels[op.outputs[0]] = labels
    _statistics(walker, op, labels)


def _attribute(walker: Walker, op: Op, name: str, nodes: Labels | None) -> None:
    """A size that the module keeps as a number must follow the channels too."""
    if nodes is not None and len(nodes) > 1:
        walker.sizes.append((op.module, name, nodes))


def _statistics(walker: Walker, op: Op, labels: Labels) -> None:
    for out in op.outputs[1:]:
        walker.labels[out] = walker.hub([labels]).reshape((1,) * len(walker.shape(out)))


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(walker: Walker, op: Op, a: Arguments) -> None:
    value = a["input"].index
    labels = walker.activation(value)
    for name in ("weight", "bias"):
        v = _read(a, name)
        if v is not None and v in walker.statics:
            walker.align(v, labels, f"computed scales of {place(op)}")
        elif v is not None:
            mixed(walker, op)
            return
    normalized = len(a["normalized_shape"])
    if labels.size == labels.shape[-1] and normalized == 1:
        _attribute(walker, op, "normalized_shape", labels.reshape(-1))
    elif labels[(0,) * (labels.ndim - normalized)].size > 1:
        walker.freeze(labels, f"{place(op)} normalises several labelled axes at once")
    walker.labels[op.outputs[0]] = labels
    _statistics(walker, op, labels)


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "roi_align", "roi_pool")
def _sampled(walker: Walker, op: Op, a: Arguments) -> None:
    values = list(refs(op.args))
    labels = walker.activation(values[0])
    rank = len(walker.shape(op.outputs[0]))
    if labels.ndim != rank or labels.size != labels.shape[1]:
        mixed(walker, op)
        return
    where = [walker.labels[v] for v in values[1:] if v in walker.labels]
    for other in where:
        walker.freeze(other, f"coordinates of {place(op)}")
    if where:
        node, target = walker.hub(where), walker.ties.new(labels.size)
        walker.edges(labels.ravel(), target, tie=True)
        walker.edges(node, target, tie=False)
        labels = target.reshape(labels.shape)
    walker.labels[op.outputs[0]] = labels
    for out in op.outputs[1:]:
        walker.labels[out] = walker.hub([labels]).reshape((1,) * len(walker.shape(out)))
