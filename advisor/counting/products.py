"""Linear layers, matrix products, einsum and recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from advisor.counting.einsum import einsum_macs
from advisor.counting.work import Arguments, Work, counts
from advisor.network import Ref, Shape, Value


def linear_work(x: Shape, weight: Value, out: Shape, *, bias: bool, transposed: bool = False) -> Work:
    inputs = weight.shape[0] if transposed else weight.shape[-1]
    return Work(
        kind="linear", macs=prod(out) * inputs, input_shape=x, output_shape=out, weight=weight.index,
        weight_transposed=transposed, bias=bias,
    )  # fmt: skip


@counts("aten.linear")
def _linear(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [linear_work(values[a["input"].index].shape, values[a["weight"].index], outs[0], bias=a["bias"] is not None)]


def _product(left: Shape, right: Shape, out: Shape, kind: str = "matmul") -> Work:
    return Work(kind=kind, macs=prod(out) * left[-1], input_shape=left, output_shape=out)


@counts("aten.addmm")
def _addmm(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [linear_work(values[a["mat1"].index].shape, values[a["mat2"].index], outs[0], bias=True, transposed=True)]


@counts("aten.mm")
def _mm(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [linear_work(values[a["self"].index].shape, values[a["mat2"].index], outs[0], bias=False, transposed=True)]


@counts("aten.matmul")
def _matmul(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    left, right = values[a["self"].index], values[a["other"].index]
    if len(right.shape) == 2:
        return [linear_work(left.shape, right, outs[0], bias=False, transposed=True)]
    return [_product(left.shape, right.shape, outs[0])]


@counts("aten.bmm")
def _bmm(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [_product(values[a["self"].index].shape, values[a["mat2"].index].shape, outs[0])]


@counts("aten.baddbmm")
def _baddbmm(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [_product(values[a["batch1"].index].shape, values[a["batch2"].index].shape, outs[0])]


@counts("aten.mv", "aten.addmv")
def _mv(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    matrix = values[a["mat" if "mat" in a else "self"].index].shape
    return [Work(kind="matmul", macs=prod(matrix), input_shape=matrix, output_shape=outs[0])]


@counts("aten.dot", "aten.vdot")
def _dot(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    vector = values[a["self"].index].shape
    return [Work(kind="matmul", macs=prod(vector), input_shape=vector, output_shape=outs[0])]


@counts("aten.bilinear")
def _bilinear(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # x1 W_k x2 for each of K outputs: first x1 W (B · K · I1 · I2), then with x2 (B · K · I2)
    weight = values[a["weight"].index]
    batch = prod(outs[0][:-1])
    macs = batch * (prod(weight.shape) + weight.shape[0] * weight.shape[2])
    return [Work(kind="matmul", macs=macs, input_shape=values[a["input1"].index].shape, output_shape=outs[0])]


@counts("aten._trilinear")
def _trilinear(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # What nn.Bilinear runs: (i1 · i2) summed over the axes that i3 lacks, then with i3 over the rest.
    shapes = []
    for name, added in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3")):
        shape = list(values[a[name].index].shape)
        for axis in sorted(a[added]):
            shape.insert(axis, 1)
        shapes.append(shape)
    total = [max(sizes) for sizes in zip(*shapes, strict=True)]
    first = prod(size for size, *given in zip(total, shapes[0], shapes[1], strict=True) if max(given) == size)
    gone = set(a["sumdim"]) & set(a["expand3"])
    second = prod(size for axis, size in enumerate(total) if axis not in gone)
    return [Work(kind="matmul", macs=first + second, input_shape=values[a["i1"].index].shape, output_shape=outs[0])]


@counts("aten.einsum")
def _einsum(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    shapes = [values[item.index].shape for item in a["tensors"]]
    macs = einsum_macs(a["equation"], shapes, a.get("path"))
    return [Work(kind="matmul", macs=macs, input_shape=shapes[0], output_shape=outs[0])]


@counts("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu")
def _recurrent(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # Each step multiplies the step's input and the hidden state into every gate; projections are matrices of the list
    # too. ".data" (packed sequences) holds one row per step and sequence.
    return _recurrent_work(a.get("input", a.get("data")), [item.index for item in a["params"]], values, outs)


@counts("aten.mkldnn_rnn_layer")
def _mkldnn_recurrent(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return _recurrent_work(a["input"], [a["weight0"].index, a["weight1"].index], values, outs)


@counts("aten._cudnn_rnn", "aten.miopen_rnn")
def _cudnn_recurrent(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return _recurrent_work(a["input"], [item.index for item in a["weight"]], values, outs)


@counts("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def _recurrent_cell(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return _recurrent_work(a["input"], [a["w_ih"].index, a["w_hh"].index], values, outs)


def _recurrent_work(x: Ref, weights: Sequence[int], values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    shape = values[x.index].shape
    matrices = [index for index in weights if len(values[index].shape) == 2]
    macs = prod(shape[:-1]) * sum(prod(values[index].shape) for index in matrices)
    return [Work(kind="recurrent", macs=macs, input_shape=shape, output_shape=outs[0], weight=matrices[0])]
