"""What a network is: operators as integers, layers with their counts, and who feeds whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from advisor.errors import ModelError

if TYPE_CHECKING:
    import torch

    from advisor.coupling import Coupling

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One tensor that flows through the network. `name` is the dotted name of a parameter or buffer, else None."""

    index: int
    shape: Shape
    dtype: str  # "float32", as torch prints it without the "torch."
    origin: Literal["input", "parameter", "buffer", "constant", "op"]
    name: str | None = None

    @property
    def bytes(self) -> int:
        import torch

        item_bytes: int = getattr(torch, self.dtype).itemsize
        return prod(self.shape) * item_bytes


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor operand inside `Op.args`: the index of its Value."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One aten operator as it ran: pure integers, strings and Refs, so it can be counted without a tensor."""

    index: int
    target: str  # "aten.conv2d.default"
    args: tuple[Any, ...]  # lists become tuples, tensors become Ref, dtypes and devices become strings
    kwargs: Mapping[str, Any]
    outputs: tuple[int, ...]  # indices of Values
    module: str  # dotted name of the innermost module that was running; "" is the network itself
    copies: bool = False  # seen to have outputs in memory of their own, also where it may return a view (reshape, to)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpGraph:
    """The operators in the order of execution. `origin` "recorded" means: true for this very input only."""

    values: tuple[Value, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    origin: Literal["export", "recorded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One use of a layer."""

    input_shape: Shape
    output_shape: Shape
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A named part of the network that holds parameters or does arithmetic.

    `params` are counted where a parameter is first met (a tied one counts 0 at its second owner, and neither owner is
    sparsifiable); `macs` and
    `activation_elements` (elements of the outputs of convolutions and matrix products) are summed over `calls`.
    The fields from `weight` on describe a convolution or linear layer; elsewhere `weight` is None.
    """

    name: str
    kind: str  # conv1d conv2d conv3d conv_transpose1d..3d linear matmul attention batch_norm layer_norm ... other
    params: int
    macs: int
    activation_elements: int
    input_shape: Shape  # of the first call
    output_shape: Shape
    calls: tuple[Call, ...] = ()
    weight: str | None = None  # dotted name of the weight parameter
    weight_shape: Shape = ()  # as stored: conv (out, in/groups, *kernel); conv_transpose (in, out/groups, *kernel)
    bias: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1
    # The module is called and does this alone. False: its parameters are used from outside it (the projections of
    # nn.MultiheadAttention), or the module does more.
    is_module: bool = True

    @property
    def transposed(self) -> bool:
        return self.kind.startswith("conv_transpose")

    @property
    def is_conv(self) -> bool:
        return self.kind.startswith("conv")

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight_shape[2:]

    @property
    def in_channels(self) -> int:
        """Input channels of the whole layer, over all groups."""
        return self.weight_shape[0] if self.transposed else self.weight_shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        return self.weight_shape[1] * self.groups if self.transposed else self.weight_shape[0]

    @property
    def weights(self) -> int:
        """Elements of the weight tensor, bias left out."""
        return prod(self.weight_shape) if self.weight_shape else 0


@dataclass(frozen=True, kw_only=True)
class Network:
    """What `advisor.analyze` returns: the network, counted. Totals are exact for the given input."""

    name: str  # as the user wrote it: "torchvision:resnet50"
    input_shapes: tuple[Shape, ...]
    params: int  # every distinct parameter of the module once, also those that this input never reached
    macs: int
    activation_elements: int
    peak_activation_bytes: int
    weight_bytes: int  # parameters and buffers
    unsupported_ops: Mapping[str, int]
    ignored_ops: Mapping[str, int]
    unreached_params: int  # parameters that no operator of this run touched (an auxiliary head in evaluation)
    layers: tuple[Layer, ...]
    graph: nx.DiGraph[Any] = field(repr=False, compare=False)  # nodes: layer names; edges: data flow
    ops: OpGraph = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()
    module: torch.nn.Module | None = field(default=None, repr=False, compare=False)
    example_inputs: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    @property
    def origin(self) -> Literal["export", "recorded"]:
        return self.ops.origin

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def sparsifiable(self) -> tuple[Layer, ...]:
        """Convolutions and linear layers: those whose connections a pattern can thin out, in order of execution."""
        return tuple(layer for layer in self.layers if layer.weight is not None)

    @cached_property
    def coupling(self) -> Coupling:
        """Which channels must change together; computed on first use."""
        from advisor.coupling import couple

        return couple(self)


def check_network(network: object) -> None:
    """Raises ModelError for what is no Network: a module has to be analysed first."""
    if not isinstance(network, Network):
        raise ModelError(
            f"got a {type(network).__name__}, expected a Network; make one with advisor.analyze(model, example_inputs)"
        )
