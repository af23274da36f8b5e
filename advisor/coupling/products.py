"""Rules of the operators that make new channels: convolutions, linear layers, and products of activations."""

from __future__ import annotations

import numpy as np

from advisor.counting.arguments import bind, refs
from advisor.counting.handlers import handler_of
from advisor.coupling.rules import Arguments, mixed, place, rule
from advisor.coupling.structure import Cut, Nodes
from advisor.coupling.walker import Walker
from advisor.network import Layer, Op, Ref


def layer_of(walker: Walker, weight: int) -> Layer | None:
    """The sparsifiable layer whose whole weight a Value is (seen through views)."""
    static = walker.statics.get(weight)
    if static is None or len(static.tracks) != 1:
        return None
    name, tracks = next(iter(static.tracks.items()))
    layer = walker.layers.get(name)
    whole = tuple(t.size for t in tracks) == walker.parameter_shapes[name]
    return layer if whole and len(walker.shape(weight)) == len(tracks) else None


def _channels(walker: Walker, layer: Layer, weight: int, groups: int) -> tuple[int, int]:
    """Input and output channels of this very run's weight, which a trial may have narrowed."""
    rows, columns = walker.parameter_shapes[next(iter(walker.statics[weight].tracks))][:2]
    return (rows, columns * groups) if layer.transposed else (columns * groups, rows)


@rule("linear")
def _linear(walker: Walker, op: Op, a: Arguments) -> None:
    _product(walker, op, a["input"].index, a["weight"].index, a["bias"], turned=False)


@rule("addmm")
def _addmm(walker: Walker, op: Op, a: Arguments) -> None:
    _product(walker, op, a["mat1"].index, a["mat2"].index, a["self"], turned=True)


@rule("mm", "matmul")
def _mm(walker: Walker, op: Op, a: Arguments) -> None:
    right = a.get("mat2", a.get("other")).index
    if len(walker.shape(right)) != 2:
        fused(walker, op, a)
        return
    _product(walker, op, a["self"].index, right, None, turned=True)


def _product(walker: Walker, op: Op, x: int, weight: int, bias: object, *, turned: bool) -> None:
    layer = layer_of(walker, weight)
    if layer is None or x in walker.statics:
        _opaque(walker, op, bind(op), None if weight not in walker.statics else _UNOWNED)
        return
    out = op.outputs[0]
    sizes = walker.shape(weight)
    inputs_axis, outputs_axis = (0, 1) if turned else (1, 0)
    reason = f"{place(op)} works along another axis than the channels"
    inputs = walker.inputs_along(x, -1, sizes[inputs_axis], reason)
    outputs = walker.ties.new(sizes[outputs_axis])
    walker.use(layer.name, inputs, outputs)
    walker.cut(weight, inputs_axis, inputs, reason)
    walker.cut(weight, outputs_axis, outputs, reason)
    labels = outputs.reshape((1,) * (len(walker.shape(out)) - 1) + (-1,))
    walker.labels[out] = labels
    if isinstance(bias, Ref):
        if bias.index in walker.statics:
            walker.align(bias.index, labels, f"the bias of {place(op)} is computed")
        else:
            walker.labels[out] = walker.join([(labels, walker.shape(out)), *_operand(walker, bias.index)])


def _operand(walker: Walker, value: int) -> list[tuple[Nodes, tuple[int, ...]]]:
    return [(walker.activation(value), walker.shape(value))]


@rule(
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
    "_convolution", "convolution_overrideable", "cudnn_convolution", "mkldnn_convolution", "deform_conv2d",
)  # fmt: skip
def _convolution(walker: Walker, op: Op, a: Arguments) -> None:
    x, weight = (a["input"] if "input" in a else a["self"]).index, a["weight"].index
    layer = layer_of(walker, weight)
    if layer is None or x in walker.statics:
        _opaque(walker, op, a, _UNOWNED)
        return
    out = op.outputs[0]
    axis = len(walker.shape(out)) - 1 - len(layer.kernel)
    reason = f"{place(op)} works along another axis than the channels"
    groups = int(a["groups"])
    made = _channels(walker, layer, weight, groups)
    inputs = walker.inputs_along(x, axis, made[0], reason)
    outputs = walker.ties.new(made[1])
    walker.use(layer.name, inputs, outputs)
    for name in ("offset", "mask"):
        if isinstance(a.get(name), Ref) and a[name].index in walker.labels:
            where = walker.labels[a[name].index]
            walker.freeze(where, f"{name}s of {place(op)}")
            walker.edges(walker.hub([where]), outputs, tie=False)
    _weight(walker, layer, weight, groups, inputs, outputs)
    shape = [1] * len(walker.shape(out))
    shape[axis] = len(outputs)
    walker.labels[out] = outputs.reshape(shape)
    bias = a.get("bias")
    if isinstance(bias, Ref):
        if bias.index in walker.statics:
            walker.cut(bias.index, 0, outputs, f"the bias of {place(op)} is computed")
        else:
            walker.freeze(outputs, f"the bias of {place(op)} is computed")


def _weight(walker: Walker, layer: Layer, weight: int, groups: int, inputs: Nodes, outputs: Nodes) -> None:
    """Cuts a convolution's weight, stored (out, in/groups, *taps) or, transposed, (in, out/groups, *taps)."""
    whole, grouped = (inputs, outputs) if layer.transposed else (outputs, inputs)
    reason = f"the weight of {layer.name} is seen through a view"
    walker.cut(weight, 0, whole, reason)
    if groups == 1:
        walker.cut(weight, 1, grouped, reason)
        return
    if groups == len(inputs):
        # Depthwise: an input channel and what is made of it alone are one channel.
        walker.ties.union(inputs[:, None], outputs.reshape(len(inputs), -1))
        return
    walker.cuts.append(Cut(name=next(iter(walker.statics[weight].tracks)), axis=1, nodes=grouped, groups=groups))
    for side in (inputs, outputs):
        walker.pieces.append((list(side.reshape(groups, -1)), True))
    walker.together.append(np.concatenate([inputs, outputs]))


@rule("bmm", "baddbmm", "einsum", "bilinear", "dot", "mv", "scaled_dot_product_attention", "lstm", "gru",
      "_native_multi_head_attention", "_transformer_encoder_layer_fwd")  # fmt: skip
def fused(walker: Walker, op: Op, a: Arguments) -> None:
    """Products of activations, attention, and whatever hides layers inside."""
    _opaque(walker, op, a, None)


_UNOWNED = "reads a weight that is computed, or that no sparsifiable layer owns"


def _opaque(walker: Walker, op: Op, a: Arguments, why: str | None) -> None:
    """One frozen node goes in, one comes out."""
    mixed(walker, op, f"{place(op)} {why or 'multiplies channels with each other'}")
    handler = handler_of(op.target)
    if handler is None:
        return
    node = walker.labels[op.outputs[0]].reshape(-1)
    for work in handler(a, walker.graph.values, [walker.shape(out) for out in op.outputs]):
        layer = layer_of(walker, work.weight) if work.weight is not None else None
        if layer is None:
            continue
        after = walker.ties.new(1)
        walker.freeze(after, f"{layer.name} runs inside {place(op)}")
        channels = _channels(walker, layer, int(work.weight or 0), work.groups)
        walker.use(layer.name, np.broadcast_to(node, channels[:1]), np.repeat(after, channels[1]))
        node = after
    for out in op.outputs:
        walker.labels[out] = node.reshape((1,) * len(walker.shape(out)))
    for value in refs(op.args):
        if value in walker.statics:
            walker.fixed.update(walker.statics[value].tracks)
