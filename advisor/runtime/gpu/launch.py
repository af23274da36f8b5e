"""The functions of `advisor.runtime.gpu`, which says what each computes: checks, then launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from advisor.errors import KernelError
from advisor.runtime.gpu import Geometry, why_not
from advisor.runtime.gpu.checks import (
    ACTIVATIONS,
    check,
    check_conv,
    check_lists,
    check_output,
    check_tensors,
    output_size,
)
from advisor.runtime.gpu.grids import grad_input, grad_weight, run_forward
from advisor.runtime.gpu.layouts import empty, precision
from advisor.runtime.gpu.tuning import interpreted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """A linear layer's walk."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


_PLAIN = _Plain()


def conv_forward(
    x: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    conv: Geometry,
) -> Tensor:
    check("activation", activation in ACTIVATIONS, repr(activation), " or ".join(ACTIVATIONS))
    blocks = _checked(x, weight.shape, indptr, inputs, conv, x=x, weight=weight)
    check("weight", weight.is_contiguous(), f"strided {weight.stride()}", "contiguous")
    height, width = _outputs(x.shape, weight.shape, conv)
    shape = (x.shape[0], blocks * weight.shape[3], height, width)
    for name, other, expected in (("bias", bias, shape[1:2]), ("residual", residual, shape)):
        if other is not None:
            check(f"the shape of {name}", tuple(other.shape) == expected, tuple(other.shape), expected)
            good = other.device == x.device and other.is_floating_point()
            check(name, good, f"{other.dtype} on {other.device}", f"a float type on {x.device}")
    y = empty(shape, x.dtype, x)
    if y.numel():
        bias = bias.contiguous() if bias is not None else None
        run_forward(x, weight, indptr, inputs, bias, residual, y, activation, conv, precision("conv", x.dtype))
    return y


def conv_grad_input(
    grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, input_shape: tuple[int, ...], conv: Geometry
) -> Tensor:
    check("input_shape", len(input_shape) == 4, tuple(input_shape), "(N, C, H, W)")
    blocks = _checked(grad, weight.shape, indptr, inputs, conv, int(input_shape[1]), grad=grad, weight=weight)
    check("weight", weight.is_contiguous(), f"strided {weight.stride()}", "contiguous")
    _check_grad(grad, input_shape, weight.shape, blocks, conv)
    return grad_input(grad, weight, indptr, inputs, tuple(input_shape), conv, precision("conv", grad.dtype))


def conv_grad_weight(
    grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, weight_shape: tuple[int, ...], conv: Geometry
) -> Tensor:
    blocks = _checked(x, weight_shape, indptr, inputs, conv, grad=grad, x=x)
    _check_grad(grad, x.shape, weight_shape, blocks, conv)
    return grad_weight(grad, x, indptr, inputs, tuple(weight_shape), conv, precision("conv", x.dtype))


def linear_forward(
    x: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, bias: Tensor | None, activation: str
) -> Tensor:
    check("the number of dimensions of x", x.dim() == 2, x.dim(), "2: (M, C)")
    check("the number of dimensions of weight", weight.dim() == 2, weight.dim(), "2: (rows, B)")
    check("activation", activation in ACTIVATIONS, repr(activation), " or ".join(ACTIVATIONS))
    check("weight", weight.is_contiguous(), f"strided {weight.stride()}", "contiguous")
    image, taps = _image(x), _taps(weight)
    blocks = _checked(image, taps.shape, indptr, inputs, _PLAIN, x=x, weight=weight)
    y = x.new_empty(x.shape[0], blocks * weight.shape[1])
    if bias is not None:
        check("the shape of bias", bias.shape == y.shape[1:], tuple(bias.shape), tuple(y.shape[1:]))
        check("the device of bias", bias.device == x.device, bias.device, x.device)
        bias = bias.contiguous()
    if y.numel():
        run_forward(
            image, taps, indptr, inputs, bias, None, _image(y), activation, _PLAIN, precision("linear", x.dtype)
        )
    return y


def linear_grad_input(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, in_features: int) -> Tensor:
    check("the number of dimensions of grad", grad.dim() == 2, grad.dim(), "2: (M, C_out)")
    check("weight", weight.dim() == 2 and weight.is_contiguous(), tuple(weight.shape), "(rows, B), contiguous")
    image, taps, shape = _image(grad), _taps(weight), (grad.shape[0], in_features, 1, 1)
    blocks = _checked(image, taps.shape, indptr, inputs, _PLAIN, in_features, grad=grad, weight=weight)
    _check_grad(image, shape, taps.shape, blocks, _PLAIN)
    return grad_input(image, taps, indptr, inputs, shape, _PLAIN, precision("linear", grad.dtype)).reshape(shape[:2])


def linear_grad_weight(
    grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, weight_shape: tuple[int, ...]
) -> Tensor:
    check("the number of dimensions of grad and x", grad.dim() == x.dim() == 2, (grad.dim(), x.dim()), "2 and 2")
    check("weight_shape", len(weight_shape) == 2, tuple(weight_shape), "(rows, B)")
    shape = (weight_shape[0], 1, 1, weight_shape[1])
    blocks = _checked(_image(x), shape, indptr, inputs, _PLAIN, grad=grad, x=x)
    _check_grad(_image(grad), _image(x).shape, shape, blocks, _PLAIN)
    made = grad_weight(_image(grad), _image(x), indptr, inputs, shape, _PLAIN, precision("linear", x.dtype))
    return made.reshape(tuple(weight_shape))


def _image(rows: Tensor) -> Tensor:
    """(M, C) as M images of one pixel."""
    return rows[:, :, None, None]


def _taps(weight: Tensor) -> Tensor:
    return weight[:, None, None, :]


def _checked(
    image: Tensor,
    weight_shape: Sequence[int],
    indptr: Tensor,
    inputs: Tensor,
    conv: Geometry,
    channels: int | None = None,
    **tensors: Tensor,
) -> int:
    """The number of blocks. `channels`: of the input; those of `image` where left out."""
    runs = image.is_cuda or interpreted()
    if not runs:
        reason = why_not() or f"the tensors are on {image.device}"
        raise KernelError(f"Triton kernel: cannot run: {reason}; pass CUDA tensors, or take the torch path")
    check_tensors(image.device, image.dtype, **tensors)
    check("the number of dimensions of an image", image.dim() == 4, image.dim(), "4: (N, C, H, W)")
    good = len(weight_shape) == 4 and min(weight_shape[1:]) >= 1
    check("the shape of the weight", good, tuple(weight_shape), "(rows, KH, KW, B) with a kernel and a block")
    check_conv(conv)
    return check_lists(indptr, inputs, weight_shape, image.shape[1] if channels is None else channels, image.device)


def _outputs(shape: Sequence[int], weight_shape: Sequence[int], conv: Geometry) -> tuple[int, int]:
    kernel = (int(weight_shape[1]), int(weight_shape[2]))
    height, width = (
        output_size(int(shape[2 + i]), kernel[i], conv.stride[i], conv.padding[i], conv.dilation[i]) for i in range(2)
    )
    check_output(height, width, (int(shape[2]), int(shape[3])), kernel)
    return height, width


def _check_grad(grad: Tensor, shape: Sequence[int], weight_shape: Sequence[int], blocks: int, conv: Geometry) -> None:
    expected = (int(shape[0]), blocks * int(weight_shape[3]), *_outputs(shape, weight_shape, conv))
    check("the shape of grad", tuple(grad.shape) == expected, tuple(grad.shape), expected)
