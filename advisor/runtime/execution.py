"""What really runs for an option of a layer: the key under which a profile stores its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from advisor.errors import PatternError
from advisor.network import Layer, Shape
from advisor.patterns.narrowed import is_narrowed, narrowed_shape, thinned
from advisor.patterns.option import Option
from advisor.runtime.methods import METHODS, Method, method_of

if TYPE_CHECKING:
    import torch

_ITEM_BYTES = 4  # float32
_INDEX_BYTES = {"gather": 8, "packed": 8, "direct": 4}  # torch's index_select and scatter take int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One call of one layer as it runs. Equal executions take equal time on a device.

    Attributes:
        kind: "conv2d", "conv_transpose1d", "linear", ...
        method: "dense" (weights with zeros baked in, and narrower shapes, too), "direct" (the sparse kernels, which
            read kept weights alone), "gather" (inputs picked by index, then a small dense product per block), "packed"
            (training: kept values scattered into a dense weight).
        input_shape: B C *spatial for convolutions, * C for linear.
        weight_shape: of the dense weight as stored; see `canonical` for what the sparse kernels are told.
        kept: direct: inputs that all blocks together read; gather: inputs that each block reads; packed: kept values of
            the whole weight; dense: 0.
        block: direct and gather: outputs per block; packed: neighbouring weights that one index moves (the taps of a
            connection), 0 for single ones; dense: 0.
    """

    kind: str
    method: Method
    input_shape: Shape
    weight_shape: Shape
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = False
    kept: int = 0
    block: int = 0

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise PatternError(f"execution {self.key}: {problem}")

    @property
    def key(self) -> str:
        """Readable and unique: "conv2d dense in=1x64x56x56 weight=64x64x3x3 stride=1x1 ... bias"."""
        parts = [self.kind, self.method, f"in={_by(self.input_shape)}", f"weight={_by(self.weight_shape)}"]
        spatial = ("stride", "padding", "dilation", "output_padding")
        parts += [f"{name}={_by(getattr(self, name))}" for name in spatial if getattr(self, name)]
        parts += [f"{name}={getattr(self, name)}" for name in ("kept", "block") if getattr(self, name)]
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        return " ".join([*parts, "bias"] if self.bias else parts)

    @property
    def transposed(self) -> bool:
        return self.kind.startswith("conv_transpose")

    @property
    def in_channels(self) -> int:
        return self.weight_shape[0] if self.transposed else self.weight_shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        return self.weight_shape[1] * self.groups if self.transposed else self.weight_shape[0]

    @property
    def output_shape(self) -> Shape:
        """B C *spatial for convolutions, * C for linear."""
        if self.kind == "linear":
            return (*self.input_shape[:-1], self.out_channels)
        kernel, given = self.weight_shape[2:], self.input_shape[-len(self.stride) :]
        sizes = zip(given, kernel, self.stride, self.padding, self.dilation, strict=True)
        if self.transposed:
            extra = self.output_padding or (0,) * len(kernel)
            spatial = tuple(
                (n - 1) * s - 2 * p + d * (k - 1) + 1 + e for (n, k, s, p, d), e in zip(sizes, extra, strict=True)
            )
        else:
            spatial = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
        return (*self.input_shape[: -len(kernel) - 1], self.out_channels, *spatial)

    @property
    def macs(self) -> int:
        """Multiply-adds that the kernel performs: those of masked weights included, since it multiplies their zeros."""
        kernel = prod(self.weight_shape[2:])
        if self.transposed:
            return prod(self.input_shape) * self.weight_shape[1] * kernel
        if self.method == "direct":
            return prod(self.output_shape) // self.out_channels * self.kept * self.block * kernel
        inputs = self.kept if self.method == "gather" else self.weight_shape[1]
        return prod(self.output_shape) * inputs * kernel

    @property
    def stored_values(self) -> int:
        """Elements of the trainable weight, bias left out."""
        if self.method == "direct":
            return self.kept * self.block * prod(self.weight_shape[2:])
        if self.method == "gather":
            return self.weight_shape[0] * self.kept * prod(self.weight_shape[2:])
        return self.kept if self.method == "packed" else prod(self.weight_shape)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written once each in float32: input, weights with their index, output, and copies made."""
        moved = prod(self.input_shape) + self.stored_values + prod(self.output_shape)
        indices = 0
        if self.method == "gather":
            blocks = self.out_channels // self.block
            indices = blocks * self.kept
            moved += 2 * indices * (prod(self.input_shape) // self.in_channels)  # the gathered copy, written and read
        elif self.method == "packed":
            indices = self.kept // (self.block or 1)
            moved += 2 * prod(self.weight_shape)  # the dense weight, written and read
        elif self.method == "direct":
            indices = self.kept + self.out_channels // self.block + 1
        return moved * _ITEM_BYTES + indices * _INDEX_BYTES.get(self.method, 0)

    def build(self) -> tuple[torch.nn.Module, torch.Tensor]:
        """A module that performs this execution and an input for it, on the CPU, with fixed random numbers."""
        from advisor.runtime.standalone import build

        return build(self)


def executions(
    layer: Layer, option: Option, *, training: bool = False, batch: int | None = None, method: Method | None = None
) -> Counter[Execution]:
    """What runs when the network is called once: distinct executions and how often each occurs.

    Args:
        layer: a sparsifiable layer.
        option: its choice. With width, `parameters` holds the narrowed "in_channels" and "out_channels"
            (and "groups" where those change with the channels in a way that is not depthwise).
        training: forward and backward instead of inference.
        batch: replaces the batch size that the network was analysed with.
        method: by which of `methods.ways` it runs; `method_of` says where None.

    Returns:
        Executions as `canonical` writes them.
    """
    method = method or method_of(layer, option, training=training)
    layer, option = thinned(layer, option)
    shape, groups = layer.weight_shape, layer.groups
    kept, block = _kept(layer, option, method)
    found: Counter[Execution] = Counter()
    for call in layer.calls:
        given = call.input_shape
        axis = len(given) - 1 - (len(layer.kernel) if layer.is_conv else 0)
        if batch is not None and axis > 0:
            given = (batch, *given[1:])
        made = Execution(
            kind=layer.kind,
            method=method,
            input_shape=given,
            weight_shape=shape,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            output_padding=layer.output_padding,
            groups=groups,
            bias=layer.bias,
            kept=kept,
            block=block,
        )
        found[canonical(made)] += 1
    return found


def canonical(execution: Execution) -> Execution:
    """The same work in the words of who performs it, so that equal work has one key, planned or seen in a run.

    Linear layers get rows of features, however many axes the rows had. The sparse kernels know no groups (their lists
    count inputs over all of them) and take a line of pixels as an image one pixel high.
    """
    e = execution
    if e.kind == "linear" and len(e.input_shape) != 2:
        e = replace(e, input_shape=(prod(e.input_shape[:-1]), e.input_shape[-1]))
    if e.method != "direct":
        return e
    if e.groups != 1:
        e = replace(e, weight_shape=(e.weight_shape[0], e.in_channels, *e.weight_shape[2:]), groups=1)
    if e.kind == "conv1d":
        e = replace(
            e,
            kind="conv2d",
            input_shape=(*e.input_shape[:-1], 1, e.input_shape[-1]),
            weight_shape=(*e.weight_shape[:2], 1, *e.weight_shape[2:]),
            stride=(1, *e.stride),
            padding=(0, *e.padding),
            dilation=(1, *e.dilation),
        )
    return e


def plain(execution: Execution) -> Execution:
    """Without its bias, which costs nothing that a clock could see: folding a batch norm gives a layer one."""
    return replace(execution, bias=False) if execution.bias else execution


def _kept(layer: Layer, option: Option, method: Method) -> tuple[int, int]:
    """`kept` and `block` of an execution."""
    if method == "dense":
        return 0, 0
    from advisor.patterns.base import pattern

    kind = pattern(option.pattern)
    kept = kind.kept_weights(layer, option)
    if method == "packed":
        together = kind.together(layer, option)
        return kept, together if together > 1 else 0
    block = outputs_together(option)
    kept //= block * prod(layer.kernel)  # inputs read, counted once for each block that reads them
    return (kept // (layer.out_channels // block) if method == "gather" else kept), block


def outputs_together(option: Option) -> int:
    """How many consecutive outputs read the same inputs: 1 where each reads its own."""
    name = {"group": "block", "block": "rows"}.get(option.pattern)
    return int(option.parameters[name]) if name else 1


def shape_under(layer: Layer, option: Option) -> tuple[Shape, int]:
    """The stored weight's shape and the number of groups once `option` runs: smaller where width narrows."""
    return narrowed_shape(layer, option) if is_narrowed(option) else (layer.weight_shape, layer.groups)


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _problem(e: Execution) -> str:
    """What makes these numbers no execution; empty where nothing does."""
    spatial = {"linear": 0, **{f"{k}{n}d": n for k in ("conv", "conv_transpose") for n in (1, 2, 3)}}.get(e.kind)
    if spatial is None:
        return f"unknown kind {e.kind!r}"
    if e.method not in METHODS:
        return f"unknown method {e.method!r}; expected one of {', '.join(METHODS)}"
    if len(e.weight_shape) != spatial + 2 or min(e.weight_shape) < 1 or min(e.input_shape, default=1) < 0:
        return f"expected a weight of {spatial + 2} positive sizes"
    if any(len(sizes) != spatial for sizes in (e.stride, e.padding, e.dilation)):
        return f"expected {spatial} strides, paddings and dilations"
    if e.output_padding and len(e.output_padding) != spatial:
        return f"expected {spatial} output paddings"
    if e.groups < 1 or (e.in_channels if e.transposed else e.out_channels) % e.groups:
        return f"{e.groups} groups do not divide the channels"
    axis = len(e.input_shape) - 1 - spatial
    if axis < 0 or e.input_shape[axis] != e.in_channels:
        return f"expected an input with {e.in_channels} channels"
    if e.method == "gather" and not (
        1 <= e.kept <= e.weight_shape[1] and e.block >= 1 and e.out_channels // e.groups % e.block == 0
    ):
        return f"{e.kept} inputs for blocks of {e.block} outputs do not fit"
    if e.method == "direct" and not (e.block >= 1 and e.out_channels // e.groups % e.block == 0):
        return f"blocks of {e.block} outputs do not fit"
    if e.method == "direct" and not 1 <= e.kept <= e.out_channels // e.block * e.weight_shape[1]:
        return f"{e.kept} inputs in {e.out_channels // e.block} blocks do not fit"
    if e.method in ("gather", "direct") and e.transposed:
        return f"transposed convolutions have no {'gathering' if e.method == 'gather' else 'sparse'} kernel"
    if e.method == "direct" and e.kind == "conv3d":
        return "3d convolutions have no sparse kernel"
    if e.method == "packed" and not 1 <= e.kept <= prod(e.weight_shape):
        return f"{e.kept} kept values do not fit the weight"
    if e.method == "packed" and (e.block < 0 or e.kept % (e.block or 1) or prod(e.weight_shape) % (e.block or 1)):
        return f"neighbours of {e.block} do not divide the weight and its {e.kept} kept values"
    return ""
