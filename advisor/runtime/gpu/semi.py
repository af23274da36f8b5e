"""2:4 weights on NVIDIA's sparse tensor cores, through torch: linear layers and 1x1 convolutions, for inference.

Unmeasured here. What others measured is sobering: about 1.1 times end to end on large batches, and slower than dense
for small ones (torch's own trackers: pytorch#111339, ao#1460). Profile it before you choose it.

Limits, each refused in words by `why_not_semi`:
    - compute capability 8.0 or newer (Ampere), on Linux or Windows, torch with CUDA.
    - float16 or bfloat16.
    - a weight whose outputs are a multiple of 32 and whose inputs are one of 64: what both of torch's backends take
      (cuSPARSELt alone takes multiples of 16). Nothing is asked of the batch: torch fills it up to a multiple of 8.
    - of each 4 neighbouring input channels at most 2 are kept.
    - a 1x1 convolution has one group and no padding; its stride is taken by slicing.
    - no gradients: torch compresses the weight once.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advisor.errors import KernelError

TYPES = (torch.float16, torch.bfloat16)
ROWS, COLUMNS = 32, 64
_OLDEST = (8, 0)


def why_not_semi(module: nn.Module, device: torch.device | str | None = None) -> str:
    """Why `module` cannot run as 2:4 on `device` (its weight's, where left out), in one line; "" where it can."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return f"{type(module).__name__} has no 2:4 form; expected Linear or a 1x1 Conv2d"
    weight = module.weight
    if isinstance(module, nn.Conv2d):
        if module.kernel_size != (1, 1) or module.groups != 1:
            size = "x".join(map(str, module.kernel_size))
            return f"a {size} convolution with {module.groups} groups has no 2:4 form; expected 1x1 and one group"
        if any(module._reversed_padding_repeated_twice):
            return f"a 1x1 convolution with padding {module.padding} has no 2:4 form; expected no padding"
    if weight.dtype not in TYPES:
        return f"2:4 runs in float16 or bfloat16, the weight is {weight.dtype}; convert the module with .half()"
    outputs, inputs = weight.shape[:2]
    if outputs % ROWS or inputs % COLUMNS:
        return f"2:4 needs outputs in multiples of {ROWS} and inputs in multiples of {COLUMNS}, got {outputs}x{inputs}"
    if reason := _why_not_device(torch.device(weight.device if device is None else device)):
        return reason
    crowded = int((weight.detach().reshape(outputs, -1, 4) != 0).sum(2).gt(2).sum())
    if crowded:
        return f"{crowded} of {weight.numel() // 4} groups of 4 inputs keep more than 2; apply a 2:4 mask first"
    return ""


def _why_not_device(device: torch.device) -> str:
    if device.type != "cuda":
        return f"2:4 runs on CUDA devices alone, the weight is on {device}"
    if not torch.cuda.is_available():
        return "2:4 runs on CUDA devices alone, and none was found"
    have = torch.cuda.get_device_capability(device)
    if torch.version.hip or have < _OLDEST:
        return f"{torch.cuda.get_device_name(device)} has no sparse tensor cores; NVIDIA's have them from 8.0 (Ampere)"
    return ""


def semi_structured(module: nn.Module) -> SemiStructured:
    """`module` with its weight compressed, on the weight's device.

    Raises:
        KernelError: the reason of `why_not_semi`.
    """
    if reason := why_not_semi(module):
        raise KernelError(f"2:4: {reason}")
    return SemiStructured(module)


class SemiStructured(nn.Module):
    """A linear layer (input * C) or 1x1 convolution (input N C H W) on the sparse tensor cores; made by the above.

    The weight is torch's compressed tensor: keep the module that it was made from for checkpoints and training.
    """

    bias: Tensor | None

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        weight = module.get_parameter("weight").detach()
        bias = module._parameters["bias"]
        self.stride = module.stride if isinstance(module, nn.Conv2d) else None
        self.out_channels, self.in_channels = weight.shape[:2]
        with warnings.catch_warnings():
            # Torch says once that the interface may change; what is used of it here is held by tests that need a GPU.
            warnings.simplefilter("ignore", UserWarning)
            compressed = torch.sparse.to_sparse_semi_structured(weight.reshape(weight.shape[:2]).contiguous())
        self.weight = nn.Parameter(compressed, requires_grad=False)
        self.register_buffer("bias", None if bias is None else bias.detach().to(weight.dtype))
        self.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            raise KernelError("2:4: the compressed weight has no gradients; call under torch.no_grad()")
        if self.stride is None:
            return F.linear(x, self.weight, self.bias)
        x = x[:, :, :: self.stride[0], :: self.stride[1]]
        # Pixels as rows: a channels-last image is that already, any other is copied once.
        rows = x.permute(0, 2, 3, 1)
        out = F.linear(rows.reshape(-1, self.in_channels), self.weight, self.bias)
        return out.reshape(*rows.shape[:3], self.out_channels).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}, bias={self.bias is not None}"
