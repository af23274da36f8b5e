"""The sparse kernels as torch operators, with what they return on fake tensors.

They run the kernels of the device where those take the tensors (`advisor.runtime.native`, `advisor.runtime.gpu`), and
plain torch elsewhere (`advisor.runtime.sparse_reference`): a program exported here also runs where none are.
Import them from `advisor.runtime.sparse_ops`, which adds their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from advisor.runtime import gpu, native
from advisor.runtime import sparse_reference as reference
from advisor.runtime.layouts import conv_format

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef


class Kernels(Protocol):
    """What a type of device offers; see `advisor.runtime.native` for shapes."""

    def available(self) -> bool: ...
    def conv_forward(self, *args: Any) -> Tensor: ...
    def conv_grad_input(self, *args: Any) -> Tensor: ...
    def conv_grad_weight(self, *args: Any) -> Tensor: ...
    def linear_forward(self, *args: Any) -> Tensor: ...
    def linear_grad_input(self, *args: Any) -> Tensor: ...
    def linear_grad_weight(self, *args: Any) -> Tensor: ...


_GEOMETRY = "int[] stride, int[] padding, int[] dilation"
# Type of device → the kernels, and the types of values that they take.
_BACKENDS: dict[str, tuple[Kernels, tuple[torch.dtype, ...]]] = {
    "cpu": (cast(Kernels, native), (torch.float32,)),
    "cuda": (cast(Kernels, gpu), (torch.float32, torch.float16, torch.bfloat16)),
}

FUNCTIONS: dict[Any, Callable[..., Tensor]] = {}  # operator → the function in it, for calls past the dispatcher


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_kernels(device: str) -> bool:
    """Whether this machine has sparse kernels for a type of device."""
    backend = _BACKENDS.get(device)
    return backend is not None and backend[0].available()


def types_of(device: str) -> tuple[torch.dtype, ...]:
    """Which types the kernels of a type of device compute in."""
    return _BACKENDS[device][1] if device in _BACKENDS else ()


def kernels_of(x: Tensor) -> Kernels:
    """The kernels of the device of `x`, which has some."""
    return _BACKENDS["cpu" if x.is_cpu else x.device.type][0]


def kernels_for(x: Tensor, weight: Tensor) -> Kernels | None:
    """The module whose kernels take these, or None: plain torch has to do it."""
    device = x.device.type
    fits = x.dtype == weight.dtype and x.device == weight.device and x.dtype in types_of(device)
    return _BACKENDS[device][0] if fits and has_kernels(device) else None


def geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> native.Conv:
    """The kernels' own words for it."""
    return native.Conv(
        stride=(stride[0], stride[1]), padding=(padding[0], padding[1]), dilation=(dilation[0], dilation[1])
    )


def _operator(schema: str) -> Callable[[Callable[..., Tensor]], CustomOpDef]:
    """Makes a function an operator of its name."""

    def made(function: Callable[..., Tensor]) -> CustomOpDef:
        op = torch.library.custom_op(f"advisor::{function.__name__}", function, mutates_args=(), schema=schema)
        FUNCTIONS[op] = function
        return op

    return made


def _empty(like: Tensor, shape: Any, layout: torch.memory_format) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)


def _size(x: int | torch.SymInt, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    return (x + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@_operator(
    "(Tensor x, Tensor weight, Tensor indptr, Tensor inputs, Tensor? bias, Tensor? residual, "
    f"{_GEOMETRY}, str activation) -> Tensor"
)
def sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str,
) -> Tensor:
    """activation(conv(x) + bias + residual).

    Args:
        x: N C H W.
        weight: (rows, kh, kw, B); indptr (blocks + 1,) and inputs (rows,), int32.
        bias: (C_out,); residual: as the output, N C_out Ho Wo.
        activation: one of "none", "relu", "relu6", "silu".
    """
    if (kernels := kernels_for(x, weight)) is not None:
        form = geometry(stride, padding, dilation)
        out = kernels.conv_forward(x, weight, indptr, inputs, bias, residual, activation, form)
    else:
        out = reference.dense_conv(x, weight, indptr, inputs, bias, stride, padding, dilation)
        out = reference.finish(out, residual, activation)
    return out.contiguous(memory_format=conv_format(x))


@_operator(f"(Tensor grad, Tensor weight, Tensor indptr, Tensor inputs, SymInt[] shape, {_GEOMETRY}) -> Tensor")
def sparse_conv2d_grad_input(
    grad: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Gradient to an input of `shape` N C H W, laid out as `grad` is."""
    if (kernels := kernels_for(grad, weight)) is not None:
        form = geometry(stride, padding, dilation)
        out = kernels.conv_grad_input(grad, weight, indptr, inputs, tuple(shape), form)
    else:
        out = reference.conv_grad_input(grad, weight, indptr, inputs, shape, stride, padding, dilation)
    return out.contiguous(memory_format=conv_format(grad))


@_operator(f"(Tensor grad, Tensor x, Tensor indptr, Tensor inputs, SymInt[] shape, {_GEOMETRY}) -> Tensor")
def sparse_conv2d_grad_weight(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Gradient to the kept weights, of `shape` (rows, kh, kw, B)."""
    if (kernels := kernels_for(grad, x)) is not None:
        form = geometry(stride, padding, dilation)
        return kernels.conv_grad_weight(grad, x, indptr, inputs, tuple(shape), form)
    return reference.conv_grad_weight(grad, x, indptr, inputs, shape, stride, padding, dilation).contiguous()


@_operator("(Tensor x, Tensor weight, Tensor indptr, Tensor inputs, Tensor? bias, str activation) -> Tensor")
def sparse_linear(
    x: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, bias: Tensor | None, activation: str
) -> Tensor:
    """activation(x W + bias): M C → M C_out; weight (rows, B)."""
    if (kernels := kernels_for(x, weight)) is not None:
        return kernels.linear_forward(x, weight, indptr, inputs, bias, activation).contiguous()
    out = reference.dense_linear(x, weight, indptr, inputs, bias)
    return reference.finish(out, None, activation).contiguous()


@_operator("(Tensor grad, Tensor weight, Tensor indptr, Tensor inputs, SymInt in_features) -> Tensor")
def sparse_linear_grad_input(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, in_features: int) -> Tensor:
    """Gradient to x: M C."""
    if (kernels := kernels_for(grad, weight)) is not None:
        return kernels.linear_grad_input(grad, weight, indptr, inputs, in_features).contiguous()
    return reference.linear_grad_input(grad, weight, indptr, inputs, in_features).contiguous()


@_operator("(Tensor grad, Tensor x, Tensor indptr, Tensor inputs, SymInt rows) -> Tensor")
def sparse_linear_grad_weight(grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, rows: int) -> Tensor:
    """Gradient to the kept weights: (rows, B)."""
    if (kernels := kernels_for(grad, x)) is not None:
        block = grad.shape[1] // (indptr.numel() - 1)
        return kernels.linear_grad_weight(grad, x, indptr, inputs, (rows, block))
    return reference.linear_grad_weight(grad, x, indptr, inputs).contiguous()


@sparse_conv2d.register_fake
def _(x: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, bias: Any, residual: Any, *rest: Any) -> Tensor:
    stride, padding, dilation, _ = rest
    kernel, outputs = weight.shape[1:3], (indptr.shape[0] - 1) * weight.shape[3]
    sizes = [_size(x.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i]) for i in range(2)]
    return _empty(x, (x.shape[0], outputs, *sizes), conv_format(x))


@sparse_conv2d_grad_input.register_fake
def _(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, shape: Any, *rest: Any) -> Tensor:
    return _empty(grad, shape, conv_format(grad))


@sparse_conv2d_grad_weight.register_fake
def _(grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, shape: Any, *rest: Any) -> Tensor:
    return grad.new_empty(shape)


@sparse_linear.register_fake
def _(x: Tensor, weight: Tensor, indptr: Tensor, *rest: Any) -> Tensor:
    return x.new_empty((x.shape[0], (indptr.shape[0] - 1) * weight.shape[1]))


@sparse_linear_grad_input.register_fake
def _(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, in_features: Any) -> Tensor:
    return grad.new_empty((grad.shape[0], in_features))


@sparse_linear_grad_weight.register_fake
def _(grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, rows: Any) -> Tensor:
    return grad.new_empty((rows, grad.shape[1] // (indptr.shape[0] - 1)))
