"""In which order of axes a layer's output lies: one rule for the kernels of every device."""

from __future__ import annotations

import torch
from torch import Tensor


def conv_format(x: Tensor) -> torch.memory_format:
    """The layout of a convolution's output: channels-last where x, or what x is a view of, is that and nothing else."""
    last = (x.stride(1) == 1 and x.shape[1] > 1) or x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not x.is_contiguous() else torch.contiguous_format
