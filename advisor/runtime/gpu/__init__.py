"""The sparse kernels of CUDA devices: `group` through Triton, 2:4 through torch. Loads neither until one is called.

The functions take and give what `advisor.runtime.native` does, for tensors on a CUDA device in float32, float16 or
bfloat16, accumulating in float32. Blocks of 16 outputs and more fill the tiles of the tensor cores. Narrower blocks are
filled up to 16 with lanes that compute nothing: right, but a block of 4 does 4 times and one of 1 (`channel`) 16 times
the work it needs; measure before you choose them.

The first call for a geometry tries a handful of tiles, each compiled first: seconds per layer, kept on disk by Triton
where its version can. ADVISOR_TRITON_TUNING=0 takes one tile untried instead. Call once before you capture a CUDA
graph.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from advisor.errors import KernelError

if TYPE_CHECKING:
    from torch import Tensor

# Compute capability: the tests compile for 8.0 and 9.0; older devices have no bfloat16 and no asynchronous copies.
_OLDEST = (8, 0)


class Geometry(Protocol):
    """How a convolution walks, as (height, width): `advisor.runtime.native.Conv` is one."""

    @property
    def stride(self) -> tuple[int, int]: ...
    @property
    def padding(self) -> tuple[int, int]: ...
    @property
    def dilation(self) -> tuple[int, int]: ...


def available() -> bool:
    """Whether the kernels can run here: Triton is installed and a GPU is there that it compiles for."""
    return not why_not()


@functools.cache
def why_not() -> str:
    """Why the kernels cannot run here, on one line; "" where they can."""
    if find_spec("triton") is None:
        return "Triton is not installed; torch for CUDA on Linux brings it along, `pip install triton` adds it"
    import torch

    if not torch.cuda.is_available():
        built = f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch has no CUDA"
        return f"no CUDA device was found ({built})"
    if torch.version.hip:
        return "this is an AMD GPU; the kernels are written and compiled for NVIDIA ones alone"
    have = torch.cuda.get_device_capability()
    if have < _OLDEST:
        return f"{torch.cuda.get_device_name()} has compute capability {have[0]}.{have[1]}; 8.0 or newer is needed"
    return ""


def measured() -> str:
    """The line to show beside every choice of these kernels that no profile of the GPU stands behind.

    What `benchmarks/gpu_ways.py` found, layers of ResNet-50 and of a ViT in batches of 32, from CUDA graphs.
    """
    return (
        "timed on an NVIDIA H100 alone: at a quarter of the connections 1.1 to 3.7 times as fast as the dense layer in "
        "plain float32, slower than it in TF32 and float16; let a profile of your GPU choose"
    )


def _launch() -> Any:
    if find_spec("triton") is None:
        raise KernelError(f"Triton kernel: cannot run: {why_not()}")
    from advisor.runtime.gpu import launch

    return launch


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
    """activation(conv(x) + bias + residual).

    Args:
        x: (N, C, H, W), any strides.
        weight: (rows, KH, KW, B) contiguous, of x's type.
        indptr: (blocks + 1,) int32. Block b keeps the rows indptr[b] up to indptr[b + 1].
        inputs: (rows,) int32, the input channel of each row.
        bias: (C_out,) with C_out = blocks * B, any float type.
        residual: (N, C_out, Ho, Wo), any float type and strides.
        activation: "none", "relu", "relu6" or "silu".
        conv: stride, padding and dilation.

    Returns:
        (N, C_out, Ho, Wo) in x's type; channels-last when x, or what it is a view of, is
        that and not contiguous as well; else contiguous.

    Raises:
        KernelError: shapes, types, devices or indices that do not fit; or `why_not`.
    """
    made: Tensor = _launch().conv_forward(x, weight, indptr, inputs, bias, residual, activation, conv)
    return made


def conv_grad_input(
    grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, input_shape: tuple[int, ...], conv: Geometry
) -> Tensor:
    """Gradient to x, (N, C, H, W) in grad's type and memory format, of `conv_forward` without activation.

    Blocks add to their inputs with atomics, in any order; the same bits each time, for more memory, come with
    `torch.use_deterministic_algorithms(True)`.
    """
    made: Tensor = _launch().conv_grad_input(grad, weight, indptr, inputs, input_shape, conv)
    return made


def conv_grad_weight(
    grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, weight_shape: tuple[int, ...], conv: Geometry
) -> Tensor:
    """Gradient to the kept weights, (rows, KH, KW, B) in x's type. The same bits each time."""
    made: Tensor = _launch().conv_grad_weight(grad, x, indptr, inputs, weight_shape, conv)
    return made


def linear_forward(
    x: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, bias: Tensor | None, activation: str
) -> Tensor:
    """activation(x W^T + bias): x (M, C) of any strides, weight (rows, B), returns (M, C_out)."""
    made: Tensor = _launch().linear_forward(x, weight, indptr, inputs, bias, activation)
    return made


def linear_grad_input(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, in_features: int) -> Tensor:
    """Gradient to x: (M, C) in grad's type."""
    made: Tensor = _launch().linear_grad_input(grad, weight, indptr, inputs, in_features)
    return made


def linear_grad_weight(
    grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, weight_shape: tuple[int, ...]
) -> Tensor:
    """Gradient to the kept weights: (rows, B) in x's type."""
    made: Tensor = _launch().linear_grad_weight(grad, x, indptr, inputs, weight_shape)
    return made
