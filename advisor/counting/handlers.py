"""One handler per operator that multiplies: what it does, in integers.

A handler gets the operator's arguments by name and the table of Values, and returns one `Work` per product. Operators
without a handler are either listed in `ignored.py` with a reason, or unsupported. MACs are multiply-adds of
convolutions and matrix products only; biases, norms, softmax and activations are not counted, as everywhere in the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from advisor.network import Shape, Value

Arguments = Mapping[str, Any]
Handler = Callable[[Arguments, Sequence[Value], Sequence[Shape]], "list[Work]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One product inside an operator. `weight` is the Value that plays the weight's part, None for a free product."""

    kind: str
    macs: int
    input_shape: Shape
    output_shape: Shape
    weight: int | None = None
    weight_transposed: bool = False  # stored (in, out): x @ W
    bias: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1


HANDLERS: dict[str, Handler] = {}


def counts(*targets: str) -> Callable[[Handler], Handler]:
    """Registers a handler for operators such as "aten.conv2d.default" or, for all overloads, "aten.conv2d"."""

    def register(handler: Handler) -> Handler:
        for target in targets:
            if target in HANDLERS:
                raise ValueError(f"two handlers count {target}")
            HANDLERS[target] = handler
        return handler

    return register


def handler_of(target: str) -> Handler | None:
    return HANDLERS.get(target) or HANDLERS.get(target.rpartition(".")[0])


def _full(value: Any, rank: int) -> tuple[int, ...]:
    """Strides and the like: an integer or a one-element list stands for every axis."""
    sizes = tuple(value) if isinstance(value, tuple) else (int(value),)
    return tuple(int(size) for size in (sizes * rank if len(sizes) == 1 else sizes))


def _conv_work(
    x: Shape, weight: Value, out: Shape, *, transposed: bool, bias: bool, groups: int, **geometry: Any
) -> Work:
    rank = len(weight.shape) - 2
    taps = prod(weight.shape[2:])
    if transposed:
        # Every input pixel is multiplied into every tap: N · H_in · W_in · C_in · C_out/g · taps
        macs = prod(x) * weight.shape[1] * taps
    else:
        # N · C_out · H_out · W_out · C_in/g · taps
        macs = prod(out) * weight.shape[1] * taps
    padding = geometry.pop("padding")
    if isinstance(padding, str):  # "same" or "valid"
        dilation = _full(geometry["dilation"], rank)
        kernel = weight.shape[2:]
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)) if padding == "same" else (0,)
    return Work(
        kind=f"conv{'_transpose' if transposed else ''}{rank}d",
        macs=macs,
        input_shape=x,
        output_shape=out,
        weight=weight.index,
        bias=bias,
        groups=groups,
        padding=_full(padding, rank),
        **{name: _full(value, rank) for name, value in geometry.items()},
    )


def _unbatched(x: Shape, rank: int) -> Shape:
    return x if len(x) == rank + 2 else (1, *x)


@counts("aten.conv1d", "aten.conv2d", "aten.conv3d")
def _conv(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    weight = values[a["weight"].index]
    return [
        _conv_work(
            values[a["input"].index].shape, weight, outs[0], transposed=False, bias=a["bias"] is not None,
            groups=a["groups"], stride=a["stride"], padding=a["padding"], dilation=a["dilation"],
        )
    ]  # fmt: skip


@counts("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def _conv_transpose(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    weight = values[a["weight"].index]
    return [
        _conv_work(
            values[a["input"].index].shape, weight, outs[0], transposed=True, bias=a["bias"] is not None,
            groups=a["groups"], stride=a["stride"], padding=a["padding"], dilation=a["dilation"],
            output_padding=a["output_padding"],
        )
    ]  # fmt: skip


@counts(
    "aten.convolution",
    "aten._convolution",
    "aten.convolution_overrideable",
    "aten.cudnn_convolution",
    "aten.mkldnn_convolution",
)
def _any_convolution(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    x = values[a.get("input", a.get("self")).index].shape
    extra = {"output_padding": a["output_padding"]} if a.get("transposed") else {}
    return [
        _conv_work(
            x, values[a["weight"].index], outs[0], transposed=bool(a.get("transposed", False)),
            bias=a.get("bias") is not None, groups=a["groups"], stride=a["stride"], padding=a["padding"],
            dilation=a["dilation"], **extra,
        )
    ]  # fmt: skip


@counts("torchvision.deform_conv2d")
def _deformable(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # The products are those of the plain convolution; reading at fractional places is not counted.
    return [
        _conv_work(
            values[a["input"].index].shape, values[a["weight"].index], outs[0], transposed=False, bias=True,
            groups=a["groups"], stride=(a["stride_h"], a["stride_w"]), padding=(a["pad_h"], a["pad_w"]),
            dilation=(a["dilation_h"], a["dilation_w"]),
        )
    ]  # fmt: skip


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


@counts("aten.einsum")
def _einsum(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # Two operands: every combination of the letters once. More: the path that torch takes, left to right.
    tensors = [values[item.index].shape for item in a["tensors"]]
    inputs, _, output = a["equation"].replace(" ", "").partition("->")
    terms = [_letters(term, len(shape)) for term, shape in zip(inputs.split(","), tensors, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, tensors, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    macs = 0
    held = terms[0]
    for position, term in enumerate(terms[1:], start=2):
        joint = set(held) | set(term)
        macs += prod(sizes[letter] for letter in joint)
        later = set("".join(terms[position:])) | set(_letters(output, len(outs[0])))
        held = "".join(sorted(letter for letter in joint if letter in later))
    return [Work(kind="matmul", macs=macs, input_shape=tensors[0], output_shape=outs[0])]


def _letters(term: str, rank: int) -> str:
    # "...ij" → digits stand for the axes behind the dots, counted from the right so that they broadcast
    if "..." not in term:
        return term
    before, _, after = term.partition("...")
    free = rank - len(before) - len(after)
    return before + "".join(chr(ord("0") + i) for i in reversed(range(free))) + after


def attention_work(query: Shape, key: Shape, value: Shape) -> Work:
    """q·kᵀ and attention·v, with batch and heads in front: (…, L, E), (…, S, E), (…, S, Ev)."""
    rows, width = query[-2], query[-1]
    macs = prod(query[:-2]) * rows * key[-2] * (width + value[-1])
    return Work(kind="attention", macs=macs, input_shape=query, output_shape=(*query[:-1], value[-1]))


@counts(
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_attention_math_for_mps",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def _attention(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    return [attention_work(*(values[a[name].index].shape for name in ("query", "key", "value")))]


@counts("aten._flash_attention_forward", "aten._efficient_attention_forward")
def _flash_kernel(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # Here heads come after the sequence: (B, L, H, E)
    shapes = [values[a[name].index].shape for name in ("query", "key", "value")]
    return [attention_work(*((s[0], s[2], s[1], s[3]) for s in shapes))]


def _heads(x: Shape, embed: int, heads: int) -> Shape:
    return (x[0], heads, x[1], embed // heads)


@counts("aten._native_multi_head_attention")
def _native_attention(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    query, key = (values[a[name].index].shape for name in ("query", "key"))
    embed, heads = a["embed_dim"], a["num_head"]
    qkv, proj = values[a["qkv_weight"].index], values[a["proj_weight"].index]
    works = [linear_work(query, qkv, (*query[:-1], 3 * embed), bias=True)]
    q, k = _heads(query, embed, heads), _heads(key, embed, heads)
    return [*works, attention_work(q, k, k), linear_work(query, proj, (*query[:-1], embed), bias=True)]


@counts("aten._transformer_encoder_layer_fwd")
def _encoder_layer(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    x = values[a["src"].index].shape
    embed, heads = a["embed_dim"], a["num_heads"]
    weights = {name: values[a[name].index] for name in ("qkv_weight", "proj_weight", "ffn_weight_1", "ffn_weight_2")}
    hidden = (*x[:-1], weights["ffn_weight_1"].shape[0])
    rows = _heads(x, embed, heads)
    return [
        linear_work(x, weights["qkv_weight"], (*x[:-1], 3 * embed), bias=True),
        attention_work(rows, rows, rows),
        linear_work(x, weights["proj_weight"], x, bias=True),
        linear_work(x, weights["ffn_weight_1"], hidden, bias=True),
        linear_work(hidden, weights["ffn_weight_2"], x, bias=True),
    ]


@counts("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def _recurrent(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # Each step multiplies the step's input and the hidden state into every gate; projections are matrices of the list too.
    x = values[a["input"].index].shape
    steps = prod(x[:-1])
    matrices = [values[item.index] for item in a["params"] if len(values[item.index].shape) == 2]
    return [
        Work(
            kind="recurrent", macs=steps * prod(matrix.shape), input_shape=x, output_shape=outs[0], weight=matrix.index
        )
        for matrix in matrices
    ]
