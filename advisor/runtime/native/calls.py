"""One call of a sparse convolution or linear layer on the compiled kernels: tensors in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from advisor.errors import KernelError
from advisor.runtime.layouts import conv_format
from advisor.runtime.native import library, tuner
from advisor.runtime.native.checks import check_geometry, check_input, check_lists, check_shape
from advisor.runtime.native.job import Job

ACTIVATIONS = ("none", "relu", "relu6", "silu")
_PROBLEMS = {
    1: "not enough memory for the packed input",
    2: "no compiled tile fits this shape; please report it",
    3: "the lists of kept inputs name channels that the input does not have, or do not end with the rows",
}
_MOST_PREPARED = 4096
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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All of a job but its addresses, for calls with the same shapes."""

    job: Job
    shape: tuple[int, ...]  # of the result
    order: torch.memory_format
    isa: int


_prepared: dict[Any, _Prepared] = {}


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
    x = check_input(x, 4)
    check_lists(weight, indptr, inputs, bias)
    key = ("forward", x.shape, x.stride(), weight.shape, indptr.shape[0], conv, activation, torch.get_num_threads())
    found = _prepared.get(key)
    if found is None:
        shape, order = _output_shape(tuple(x.shape), weight, indptr, conv), conv_format(x)
    else:
        shape, order = found.shape, found.order
    y = torch.empty(shape, memory_format=order)
    if residual is not None:
        check_shape(residual, shape, "residual")
        residual = check_input(residual, 4)
        if residual.stride() != y.stride():
            residual = torch.empty_like(y).copy_(residual)
    if found is None:
        if activation not in ACTIVATIONS:
            raise KernelError(f"activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        job = _job(x, y, weight, indptr, conv)
        job.activation = ACTIVATIONS.index(activation)
        found = _Prepared(job, shape, order, library.isa_number())
    _run("forward", key, found, x, y, weight, indptr, inputs, bias, residual)
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
    grad = check_input(grad, 4)
    check_lists(weight, indptr, inputs, None)
    shape = tuple(input_shape)
    check_shape(grad, _output_shape(shape, weight, indptr, conv), "gradient")
    x = torch.empty(shape, memory_format=conv_format(grad))
    if grad.numel() == 0:
        return x.zero_()
    key = ("grad_input", grad.stride(), shape, weight.shape, indptr.shape[0], conv, torch.get_num_threads())
    found = _prepared.get(key)
    if found is None:
        found = _Prepared(_job(x, grad, weight, indptr, conv), shape, conv_format(grad), library.isa_number())
    _run("grad_input", key, found, x, grad, weight, indptr, inputs)
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
    grad, x = check_input(grad, 4), check_input(x, 4)
    weight = torch.empty(tuple(weight_shape))
    check_lists(weight, indptr, inputs, None)
    check_shape(grad, _output_shape(tuple(x.shape), weight, indptr, conv), "gradient")
    key = (
        "grad_weight",
        grad.stride(),
        x.shape,
        x.stride(),
        weight.shape,
        indptr.shape[0],
        conv,
        torch.get_num_threads(),
    )
    found = _prepared.get(key)
    if found is None:
        job = _job(x, grad, weight, indptr, conv)
        found = _Prepared(job, tuple(weight.shape), torch.contiguous_format, library.isa_number())
    _run("grad_weight", key, found, x, grad, weight, indptr, inputs)
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
    check_input(x, 2)
    y = conv_forward(_as_image(x), _as_taps(weight), indptr, inputs, bias, None, activation, Conv())
    return _as_rows(y)


def linear_grad_input(
    grad: torch.Tensor, weight: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, in_features: int
) -> torch.Tensor:
    """Gradient of `linear_forward`'s x, (M, in_features)."""
    check_input(grad, 2)
    shape = (1, in_features, 1, grad.shape[0])
    return _as_rows(conv_grad_input(_as_image(grad), _as_taps(weight), indptr, inputs, shape, Conv()))


def linear_grad_weight(
    grad: torch.Tensor, x: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, weight_shape: tuple[int, ...]
) -> torch.Tensor:
    """Gradient of `linear_forward`'s weight, (rows, B)."""
    check_input(grad, 2)
    check_input(x, 2)
    if len(weight_shape) != 2:
        raise KernelError(f"weight of shape {tuple(weight_shape)}; expected (rows, block)")
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


def _output_shape(
    input_shape: tuple[int, ...], weight: torch.Tensor, indptr: torch.Tensor, conv: Conv
) -> tuple[int, ...]:
    if len(input_shape) != 4:
        raise KernelError(f"input of shape {input_shape}; expected N C H W")
    check_geometry(input_shape, weight, conv.stride, conv.padding, conv.dilation)
    height, width = conv.output((input_shape[2], input_shape[3]), (weight.shape[1], weight.shape[2]))
    if min(height, width) < 1 <= min(input_shape[2:]):
        raise KernelError(
            f"input of {input_shape[2]}x{input_shape[3]} is smaller than the kernel of "
            f"{weight.shape[1]}x{weight.shape[2]}; enlarge it or pad more"
        )
    return input_shape[0], (indptr.shape[0] - 1) * weight.shape[3], height, width


def _job(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, indptr: torch.Tensor, conv: Conv) -> Job:
    if problem := library.why_not():
        raise KernelError(f"the compiled kernels are missing: {problem}")
    _, taps_h, taps_w, block = weight.shape
    return Job(
        *x.shape,
        *y.shape[1:],
        weight.shape[0],
        *x.stride(),
        *y.stride(),
        taps_h,
        taps_w,
        *conv.stride,
        -conv.padding[0],
        -conv.padding[1],
        *conv.dilation,
        block,
        indptr.shape[0] - 1,
        0,
        torch.get_num_threads(),
    )


def _run(
    kind: tuner.Kind,
    key: Any,
    found: _Prepared,
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    indptr: torch.Tensor,
    inputs: torch.Tensor,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
) -> None:
    # Names hold on to what `contiguous` may have copied until the call is over.
    kept, starts, rows = weight.contiguous(), indptr.contiguous(), inputs.contiguous()
    added = None if bias is None else bias.contiguous()
    addresses = (
        x.data_ptr(),
        y.data_ptr(),
        kept.data_ptr(),
        starts.data_ptr(),
        rows.data_ptr(),
        0 if added is None else added.data_ptr(),
        0 if residual is None else residual.data_ptr(),
    )
    entry = getattr(library.kernels(), kind)
    if found.job.lanes == 0:  # this very job has not been tiled; another thread may have tiled one like it
        tuner.choose(kind, found.job, found.isa, lambda: int(entry(found.job, found.isa, *addresses))).put(found.job)
        if len(_prepared) >= _MOST_PREPARED:
            _prepared.clear()
        _prepared[key] = found
    if status := entry(found.job, found.isa, *addresses):
        raise KernelError(f"sparse kernel: {_PROBLEMS.get(status, f'status {status}')}")


def forget() -> None:
    """Empties what is prepared: the next call of each shape reads the environment and asks the tuner again."""
    _prepared.clear()
    library.forget()
