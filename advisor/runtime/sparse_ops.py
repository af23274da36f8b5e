"""The sparse operators as torch knows its own: gradients of any order, vmap, autocast.

The three convolution operators are each other's derivatives, and so are the linear ones; their gradients need nothing
but each other, and can be differentiated again. Importing this module registers everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from advisor.runtime import sparse_kernels as kernels
from advisor.runtime import watch

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef

__all__ = ["is_unwatched", "sparse_conv2d", "sparse_linear", "wants_gradients"]

_PLAIN = (Tensor, torch.nn.Parameter)


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
    to_x = _conv2d_grad_input(grad, weight, indptr, inputs, x.shape, *geometry) if needs[0] else None
    to_weight = _conv2d_grad_weight(grad, x, indptr, inputs, weight.shape, *geometry) if needs[1] else None
    to_bias = grad.sum((0, 2, 3)) if needs[4] else None
    return (to_x, to_weight, None, None, to_bias, grad if needs[5] else None, None, None, None, None)


def _setup_conv_other(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.geometry = inputs[5:]
    ctx.save_for_backward(*inputs[:4])


def _backward_conv_input(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    grad, weight, indptr, inputs = ctx.saved_tensors
    needs, geometry = ctx.needs_input_grad, ctx.geometry
    to_grad = sparse_conv2d(v, weight, indptr, inputs, None, None, *geometry, "none") if needs[0] else None
    to_weight = _conv2d_grad_weight(grad, v, indptr, inputs, weight.shape, *geometry) if needs[1] else None
    return (to_grad, to_weight, None, None, None, None, None, None)


def _backward_conv_weight(ctx: Any, u: Tensor) -> tuple[Any, ...]:
    grad, x, indptr, inputs = ctx.saved_tensors
    needs, geometry = ctx.needs_input_grad, ctx.geometry
    to_grad = sparse_conv2d(x, u, indptr, inputs, None, None, *geometry, "none") if needs[0] else None
    to_x = _conv2d_grad_input(grad, u, indptr, inputs, x.shape, *geometry) if needs[1] else None
    return (to_grad, to_x, None, None, None, None, None, None)


def _setup_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, indptr, channels, bias, ctx.activation = inputs
    kept = output if ctx.activation in ("relu", "relu6") else None
    ctx.save_for_backward(x, weight, indptr, channels, kept, bias if ctx.activation == "silu" else None)


def _backward_linear(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight, indptr, inputs, output, bias = ctx.saved_tensors
    needs = ctx.needs_input_grad
    grad = _before(grad, output, ctx.activation, lambda: sparse_linear(x, weight, indptr, inputs, bias, "none"))
    to_x = _linear_grad_input(grad, weight, indptr, inputs, x.shape[1]) if needs[0] else None
    to_weight = _linear_grad_weight(grad, x, indptr, inputs, weight.shape[0]) if needs[1] else None
    return (to_x, to_weight, None, None, grad.sum(0) if needs[4] else None, None)


def _setup_linear_other(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])


def _backward_linear_input(ctx: Any, v: Tensor) -> tuple[Any, ...]:
    grad, weight, indptr, inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    to_grad = sparse_linear(v, weight, indptr, inputs, None, "none") if needs[0] else None
    to_weight = _linear_grad_weight(grad, v, indptr, inputs, weight.shape[0]) if needs[1] else None
    return (to_grad, to_weight, None, None, None)


def _backward_linear_weight(ctx: Any, u: Tensor) -> tuple[Any, ...]:
    grad, x, indptr, inputs = ctx.saved_tensors
    needs = ctx.needs_input_grad
    to_grad = sparse_linear(x, u, indptr, inputs, None, "none") if needs[0] else None
    to_x = _linear_grad_input(grad, u, indptr, inputs, x.shape[1]) if needs[1] else None
    return (to_grad, to_x, None, None, None)


Rule = Callable[..., tuple[Tensor, int]]


def _moved(in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> tuple[list[Any], list[bool]]:
    """Arguments with the axis of vmap in front, and which of them have one. Lists of integers have lists of None."""
    dims = [d if isinstance(d, int) else None for d in in_dims]
    return [a if d is None else a.movedim(d, 0) for a, d in zip(args, dims, strict=True)], [d is not None for d in dims]


def _one_by_one(call: Callable[..., Tensor]) -> Rule:
    """The rule of vmap that always holds: one call for each element, stacked."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        given, many = _moved(in_dims, args)
        parts = [call(*(a[i] if m else a for a, m in zip(given, many, strict=True))) for i in range(info.batch_size)]
        return torch.stack(parts), 0

    return rule


def _more_images(call: Callable[..., Tensor], images: tuple[int, ...]) -> Rule:
    """Where nothing but the arguments at `images` is batched, they are more images of one batch."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        given, many = _moved(in_dims, args)
        if any(m for i, m in enumerate(many) if i not in images):
            return _one_by_one(call)(info, in_dims, *args)
        for i in images:
            if given[i] is not None:
                spread = given[i] if many[i] else given[i].expand(info.batch_size, *given[i].shape)
                given[i] = spread.flatten(0, 1)
        out = call(*given)
        return out.view(info.batch_size, out.shape[0] // info.batch_size, *out.shape[1:]), 0

    return rule


def is_unwatched(args: Sequence[Any]) -> bool:
    """Whether a call may go past torch's dispatcher: nobody compiles, traces, transforms or profiles."""
    for a in args:
        if a is not None and type(a) not in _PLAIN and isinstance(a, Tensor):
            return False
    return (
        not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._get_tracing_state()
        and not torch._C._autograd._profiler_enabled()
    )


def wants_gradients(args: Sequence[Any]) -> bool:
    if not torch.is_grad_enabled():
        return False
    return any(isinstance(a, Tensor) and a.requires_grad for a in args)


def _complete(
    op: CustomOpDef, setup: Callable[..., None], backward: Callable[..., Any], images: tuple[int, ...] = ()
) -> Callable[..., Tensor]:
    """Registers what torch wants to know about `op`, and returns how to call it.

    There are three ways, and each computes the same. Whoever compiles, traces or profiles sees the operator. The
    transforms of `torch.func` look for gradients in an autograd.Function with `setup_context`. Everybody else takes a
    plain autograd.Function, or where no gradients are wanted the kernels at once. On a 1x1 convolution of 8 channels
    over 4x4 pixels, where hardly anything is computed, forward took 36 microseconds by the operator and 24 past it, and
    forward and backward 409 and 247 (one thread, medians of seven).
    """
    function = kernels.FUNCTIONS[op]

    def call(*args: Any) -> Tensor:
        out: Tensor
        if torch.compiler.is_compiling():
            out = op(*args)
        elif (seen := watch.watcher()) is not None:
            out = seen(f"advisor.{op._name}", call, args)
        elif is_unwatched(args) and not torch._C._is_any_autocast_enabled():
            out = eager.apply(*args) if wants_gradients(args) else function(*args)
        else:
            top = torch._C._functorch.peek_interpreter_stack()
            given = top is not None and top.key() == torch._C._functorch.TransformType.Grad
            out = through.apply(*args) if given else op(*args)
        return out

    def forward(ctx: Any, *args: Any) -> Tensor:
        out = function(*args)
        if out._is_view():  # torch would refuse to write into it later (an activation in place)
            out = out.data
        setup(ctx, args, out)
        return out

    # A function without setup_context is not one for transforms, but called in half the time.
    eager: Any = type(
        op._name, (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )
    rule = _more_images(call, images) if images else _one_by_one(call)
    parts: dict[str, Callable[..., Any]] = {"forward": call, "setup_context": setup, "backward": backward, "vmap": rule}
    through: Any = type(op._name, (torch.autograd.Function,), {k: staticmethod(v) for k, v in parts.items()})
    op.register_autograd(backward, setup_context=setup)
    op.register_vmap(rule)
    return call


sparse_conv2d = _complete(kernels.sparse_conv2d, _setup_conv, _backward_conv, images=(0, 5))
_conv2d_grad_input = _complete(kernels.sparse_conv2d_grad_input, _setup_conv_other, _backward_conv_input)
_conv2d_grad_weight = _complete(kernels.sparse_conv2d_grad_weight, _setup_conv_other, _backward_conv_weight)
sparse_linear = _complete(kernels.sparse_linear, _setup_linear, _backward_linear, images=(0,))
_linear_grad_input = _complete(kernels.sparse_linear_grad_input, _setup_linear_other, _backward_linear_input)
_linear_grad_weight = _complete(kernels.sparse_linear_grad_weight, _setup_linear_other, _backward_linear_weight)

# Torch has this from 2.7 on; before, the modules' own casts have to do.
if hasattr(torch.library, "register_autocast"):
    for _op in (kernels.sparse_conv2d, kernels.sparse_linear):
        for _device in ("cpu", "cuda"):
            torch.library.register_autocast(_op, _device, torch.float32)
