"""One call of a sparse convolution or linear layer on the compiled kernels: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from advisor.errors import KernelError
from advisor.runtime.native import library, tuner
from advisor.runtime.native.job import Job

ACTIVATIONS = ("none", "relu", "relu6", "silu")
_PROBLEMS = {
    1: "not enough memory for the packed input",
    2: "no compiled tile fits this shape; please report it",
    3: "the lists of kept inputs are not ascending, or name channels that the input does not have",
}
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Conv:
    """Geometry of a convolution, each as (height, width)."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def output(self, size: Pair, kernel: Pair) -> Pair:
        """Height and width of the output for an input of `size`."""
        h, w = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        )
        return h, w


def conv_forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    activation: str,
    conv: Conv,
) -> torch.Tensor:
    """activation(convolution of x + bias + residual).

    Args:
        x: N C H W float32 on the CPU, with any strides.
        weight: (rows, kh, kw, B): the kept weights, B outputs of a block beside each other.
        indptr: (blocks + 1) int32: where the rows of each block start.
        inputs: (rows) int32: the input channel of each row, ascending within a block.
        bias: (blocks * B) or None.
        residual: of the output's shape, or None.
        activation: one of `ACTIVATIONS`.

    Returns:
        N C_out Ho Wo; channels-last where x is (reading and writing that order costs a transposition of each band).

    Raises:
        KernelError: shapes, types or lists that do not belong together.
    """
    outputs = _outputs(weight, indptr, inputs, 4)
    _check_input(x, 4)
    height, width = conv.output((x.shape[2], x.shape[3]), (weight.shape[1], weight.shape[2]))
    if height < 0 or width < 0:
        raise KernelError(f"input of {x.shape[2]}x{x.shape[3]} is smaller than the kernel; enlarge it or pad more")
    y = _empty_like_order(x, (x.shape[0], outputs, height, width))
    if residual is not None:
        residual = _match(residual, y, "residual")
    job = _job(x, weight, indptr, inputs, y, conv)
    job.activation = _activation(activation)
    _fill(job, x, y, weight, indptr, inputs, bias, residual)
    _run("forward", job, lambda: library.kernels().forward(job, library.isa_number()))
    return y


def conv_grad_input(
    grad: torch.Tensor,
    weight: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    input_shape: tuple[int, ...],
    conv: Conv,
) -> torch.Tensor:
    """Gradient of `conv_forward`'s x, N C H W, from the gradient of its output before activation."""
    outputs = _outputs(weight, indptr, inputs, 4)
    _check_input(grad, 4)
    _check_grad(grad, outputs, input_shape, weight, conv)
    x = _empty_like_order(grad, tuple(input_shape))
    if grad.numel() == 0:
        return x.zero_()
    job = _job(x, weight, indptr, inputs, grad, conv)
    _fill(job, x, grad, weight, indptr, inputs, None, None)
    _run("grad_input", job, lambda: library.kernels().grad_input(job, library.isa_number()))
    return x


def conv_grad_weight(
    grad: torch.Tensor,
    x: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    weight_shape: tuple[int, ...],
    conv: Conv,
) -> torch.Tensor:
    """Gradient of `conv_forward`'s weight, (rows, kh, kw, B): of the kept connections alone."""
    weight = torch.empty(tuple(weight_shape))
    outputs = _outputs(weight, indptr, inputs, 4)
    _check_input(grad, 4)
    _check_input(x, 4)
    _check_grad(grad, outputs, tuple(x.shape), weight, conv)
    job = _job(x, weight, indptr, inputs, grad, conv)
    _fill(job, x, grad, weight, indptr, inputs, None, None)
    _run("grad_weight", job, lambda: library.kernels().grad_weight(job, library.isa_number(), weight.data_ptr()))
    return weight


def linear_forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str,
) -> torch.Tensor:
    """activation(x W' + bias) for x (M, C) and weight (rows, B): (M, C_out)."""
    _check_input(x, 2)
    y = conv_forward(_as_image(x), _as_taps(weight), indptr, inputs, bias, None, activation, Conv())
    return _as_rows(y)


def linear_grad_input(
    grad: torch.Tensor, weight: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, in_features: int
) -> torch.Tensor:
    """Gradient of `linear_forward`'s x, (M, in_features)."""
    _check_input(grad, 2)
    shape = (1, in_features, 1, grad.shape[0])
    return _as_rows(conv_grad_input(_as_image(grad), _as_taps(weight), indptr, inputs, shape, Conv()))


def linear_grad_weight(
    grad: torch.Tensor, x: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, weight_shape: tuple[int, ...]
) -> torch.Tensor:
    """Gradient of `linear_forward`'s weight, (rows, B)."""
    _check_input(grad, 2)
    _check_input(x, 2)
    rows, block = weight_shape
    found = conv_grad_weight(_as_image(grad), _as_image(x), indptr, inputs, (rows, 1, 1, block), Conv())
    return found.view(rows, block)


def _as_image(x: torch.Tensor) -> torch.Tensor:
    """(M, C) seen as one image of M positions in a row, channels last."""
    return x.t().unsqueeze(0).unsqueeze(2)


def _as_rows(y: torch.Tensor) -> torch.Tensor:
    return y.squeeze(2).squeeze(0).t()


def _as_taps(weight: torch.Tensor) -> torch.Tensor:
    if weight.dim() != 2:
        raise KernelError(f"weight of shape {tuple(weight.shape)}; expected (rows, block)")
    return weight.view(weight.shape[0], 1, 1, weight.shape[1])


def _empty_like_order(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Channels-last where x is in that order and in no other."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    if not last and x.dim() == 4 and x.stride(1) == 1 and x.shape[1] > 1:
        last = True  # a view of rows, as linear layers make
    return torch.empty(shape, memory_format=torch.channels_last if last else torch.contiguous_format)


def _check_input(x: torch.Tensor, dims: int) -> None:
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.dim() != dims:
        raise KernelError(
            f"{x.dim()}-dimensional {x.dtype} on {x.device}; the compiled kernels take {dims}-dimensional float32 on cpu"
        )


def _outputs(weight: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, dims: int) -> int:
    if indptr.dtype != torch.int32 or inputs.dtype != torch.int32:
        raise KernelError(f"lists of {indptr.dtype} and {inputs.dtype}; expected torch.int32")
    if weight.dtype != torch.float32 or weight.dim() != dims or weight.shape[0] != inputs.numel():
        raise KernelError(
            f"weight {tuple(weight.shape)} of {weight.dtype} for {inputs.numel()} rows; "
            "expected float32 (rows, kh, kw, block)"
        )
    return (indptr.numel() - 1) * weight.shape[-1]


def _check_grad(
    grad: torch.Tensor, outputs: int, input_shape: tuple[int, ...], weight: torch.Tensor, conv: Conv
) -> None:
    size = conv.output((input_shape[2], input_shape[3]), (weight.shape[1], weight.shape[2]))
    expected = (input_shape[0], outputs, *size)
    if tuple(grad.shape) != expected:
        raise KernelError(f"gradient of shape {tuple(grad.shape)}; expected {expected}")


def _activation(name: str) -> int:
    if name not in ACTIVATIONS:
        raise KernelError(f"activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS.index(name)


def _match(residual: torch.Tensor, y: torch.Tensor, what: str) -> torch.Tensor:
    if residual.shape != y.shape or residual.dtype != y.dtype:
        raise KernelError(f"{what} {tuple(residual.shape)} of {residual.dtype}; expected {tuple(y.shape)} of {y.dtype}")
    if residual.stride() == y.stride():
        return residual
    return torch.empty_like(y).copy_(residual)


def _job(
    x: torch.Tensor, weight: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, y: torch.Tensor, conv: Conv
) -> Job:
    images, channels, height, width = x.shape
    _, outputs, out_h, out_w = y.shape
    (step_h, step_w), (stride_h, stride_w) = conv.dilation, conv.stride
    _, taps_h, taps_w, block = weight.shape
    threads = torch.get_num_threads()
    return Job(
        images, channels, height, width, outputs, out_h, out_w, *x.stride(), *y.stride(),
        taps_h, taps_w, stride_h, stride_w, -conv.padding[0], -conv.padding[1], step_h, step_w,
        block, indptr.numel() - 1, 0, threads,
    )  # fmt: skip


def _fill(
    job: Job,
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
) -> None:
    if bias is not None:
        if bias.dtype != torch.float32 or bias.numel() != job.out_channels:
            raise KernelError(f"bias {tuple(bias.shape)} of {bias.dtype}; expected {job.out_channels} of torch.float32")
    held = [None if t is None else t.contiguous() for t in (weight, bias, indptr, inputs)]
    job.held = (*held, residual)  # what the pointers point to lives as long as the job
    job.weight, job.bias, job.indptr, job.inputs = (None if t is None else t.data_ptr() for t in held)
    job.x, job.y = x.data_ptr(), y.data_ptr()
    job.residual = None if residual is None else residual.data_ptr()


def _run(kind: tuner.Kind, job: Job, call: Callable[[], int]) -> None:
    if problem := library.why_not():
        raise KernelError(f"the compiled kernels are missing: {problem}")
    rows = job.held[3].numel()
    tuner.choose(kind, job, rows, library.isa_number(), call).put(job)
    if status := call():
        raise KernelError(f"sparse kernel: {_PROBLEMS.get(status, f'status {status}')}")
