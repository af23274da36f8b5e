"""The sparse operators as torch knows its own: gradients of any order, vmap, autocast.

The three convolution operators are each other's derivatives, and so are the linear ones; their gradients need nothing
but each other, and can be differentiated again. Importing this module registers everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advisor.runtime.sparse_kernels import (
    sparse_conv2d,
    sparse_conv2d_grad_input,
    sparse_conv2d_grad_weight,
    sparse_linear,
    sparse_linear_grad_input,
    sparse_linear_grad_weight,
)

__all__ = ["sparse_conv2d", "sparse_linear"]

_OPS = (
    sparse_conv2d,
    sparse_conv2d_grad_input,
    sparse_conv2d_grad_weight,
    sparse_linear,
    sparse_linear_grad_input,
    sparse_linear_grad_weight,
)


def _before(grad: Tensor, output: Tensor | None, activation: str, again: Callable[[], Tensor]) -> Tensor:
    """The gradient before the activation. `again` computes what went into it, where the output does not tell."""
    if activation == "silu":
        value = again()
        sigmoid = torch.sigmoid(value)
        return grad * sigmoid * (1 + value * (1 - sigmoid))
    if activation == "none" or output is None:
        return grad
    passes = output > 0 if activation == "relu" else (output > 0) & (output < 6)
    # As torch does: a NaN lets the gradient through.
    return torch.where(passes | output.isnan(), grad, torch.zeros_like(grad))


def _setup_conv(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, indptr, channels, bias, residual, *ctx.geometry, ctx.activation = inputs
    kept = output if ctx.activation in ("relu", "relu6") else None
    extra = (bias, residual) if ctx.activation == "silu" else (None, None)
    ctx.save_for_backward(x, weight, indptr, channels, kept, *extra)


def _backward_conv(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight, indptr, inputs, output, bias, residual = ctx.saved_tensors
    needs, geometry = ctx.needs_input_grad, ctx.geometry
    grad = _before(
        grad,
        output,
        ctx.activation,
        lambda: sparse_conv2d(x, weight, indptr, inputs, bias, residual, *geometry, "none"),
    )
    to_x = sparse_conv2d_grad_input(grad, weight, indptr, inputs, x.shape, *geometry) if needs[0] else None
    to_weight = sparse_conv2d_grad_weight(grad, x, indptr, inputs, weight.shape, *geometry) if needs[1] else None
    to_bias = grad.sum((0, 2, 3)) if needs[4] else None
    return (to_x, to_weight, None, None, to_bias, grad if needs[5] else None, None, None, None, None)


def _setup_conv_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, weight, indptr, channels, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad, weight, indptr, channels)


def _backward_conv_input(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    grad, weight, indptr, inputs = ctx.saved_tensors
    needs, geometry = ctx.needs_input_grad, ctx.geometry
    to_grad = sparse_conv2d(v, weight, indptr, inputs, None, None, *geometry, "none") if needs[0] else None
    to_weight = sparse_conv2d_grad_weight(grad, v, indptr, inputs, weight.shape, *geometry) if needs[1] else None
    return (to_grad, to_weight, None, None, None, None, None, None)


def _setup_conv_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, x, indptr, channels, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad, x, indptr, channels)


def _backward_conv_weight(ctx: Any, u: Tensor) -> tuple[Any, ...]:
    grad, x, indptr, inputs = ctx.saved_tensors
    needs, geometry = ctx.needs_input_grad, ctx.geometry
    to_grad = sparse_conv2d(x, u, indptr, inputs, None, None, *geometry, "none") if needs[0] else None
    to_x = sparse_conv2d_grad_input(grad, u, indptr, inputs, x.shape, *geometry) if needs[1] else None
    return (to_grad, to_x, None, None, None, None, None, None)


def _setup_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, indptr, channels, bias, ctx.activation = inputs
    kept = output if ctx.activation in ("relu", "relu6") else None
    ctx.save_for_backward(x, weight, indptr, channels, kept, bias if ctx.activation == "silu" else None)


def _backward_linear(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight, indptr, inputs, output, bias = ctx.saved_tensors
    needs = ctx.needs_input_grad
    grad = _before(grad, output, ctx.activation, lambda: sparse_linear(x, weight, indptr, inputs, bias, "none"))
    to_x = sparse_linear_grad_input(grad, weight, indptr, inputs, x.shape[1]) if needs[0] else None
    to_weight = sparse_linear_grad_weight(grad, x, indptr, inputs, weight.shape[0]) if needs[1] else None
    return (to_x, to_weight, None, None, grad.sum(0) if needs[4] else None, None)


def _setup_linear_other(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _backward_linear_input(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    grad, weight, indptr, inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    to_grad = sparse_linear(v, weight, indptr, inputs, None, "none") if needs[0] else None
    to_weight = sparse_linear_grad_weight(grad, v, indptr, inputs, weight.shape[0]) if needs[1] else None
    return (to_grad, to_weight, None, None, None)


def _backward_linear_weight(ctx: Any, u: Tensor) -> tuple[Any, ...]:
    grad, x, indptr, inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    to_grad = sparse_linear(x, u, indptr, inputs, None, "none") if needs[0] else None
    to_x = sparse_linear_grad_input(grad, u, indptr, inputs, x.shape[1]) if needs[1] else None
    return (to_grad, to_x, None, None, None)


sparse_conv2d.register_autograd(_backward_conv, setup_context=_setup_conv)
sparse_conv2d_grad_input.register_autograd(_backward_conv_input, setup_context=_setup_conv_input)
sparse_conv2d_grad_weight.register_autograd(_backward_conv_weight, setup_context=_setup_conv_weight)
sparse_linear.register_autograd(_backward_linear, setup_context=_setup_linear)
sparse_linear_grad_input.register_autograd(_backward_linear_input, setup_context=_setup_linear_other)
sparse_linear_grad_weight.register_autograd(_backward_linear_weight, setup_context=_setup_linear_other)


def _one_by_one(op: Any) -> Any:
    """The rule of vmap that always holds: one call for each element, stacked."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        moved = [a if d is None else a.movedim(d, 0) for a, d in zip(args, _flat_dims(in_dims), strict=True)]
        batched = [d is not None for d in _flat_dims(in_dims)]
        calls = [
            op(*(a[i] if many else a for a, many in zip(moved, batched, strict=True))) for i in range(info.batch_size)
        ]
        return torch.stack(calls), 0

    return rule


def _flat_dims(in_dims: tuple[Any, ...]) -> list[int | None]:
    # Lists of integers have lists of None.
    return [d if isinstance(d, int) else None for d in in_dims]


def _vmap_conv(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    """Where images alone are batched, they are more images of one batch."""
    dims = _flat_dims(in_dims)
    if any(d is not None for i, d in enumerate(dims) if i not in (0, 5)):
        return _one_by_one(sparse_conv2d)(info, in_dims, *args)  # type: ignore[no-any-return]
    given = list(args)
    for i in (0, 5):
        if given[i] is not None:
            size = (info.batch_size, *given[i].shape)
            given[i] = (given[i].expand(size) if dims[i] is None else given[i].movedim(dims[i], 0)).flatten(0, 1)
    out = sparse_conv2d(*given)
    return out.unflatten(0, (info.batch_size, out.shape[0] // info.batch_size)), 0


def _vmap_linear(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    dims = _flat_dims(in_dims)
    if any(d is not None for d in dims[1:]):
        return _one_by_one(sparse_linear)(info, in_dims, *args)  # type: ignore[no-any-return]
    out = sparse_linear(args[0].movedim(dims[0], 0).flatten(0, 1), *args[1:])
    return out.unflatten(0, (info.batch_size, out.shape[0] // info.batch_size)), 0


for _op in _OPS:
    _op.register_vmap({sparse_conv2d: _vmap_conv, sparse_linear: _vmap_linear}.get(_op) or _one_by_one(_op))

# Torch has this from 2.7 on; before, the modules' own casts have to do.
if hasattr(torch.library, "register_autocast"):
    for _op in (sparse_conv2d, sparse_linear):
        for _device in ("cpu", "cuda"):
            torch.library.register_autocast(_op, _device, torch.float32)
