"""What the kernels may be given: refused here in words, before a device reads memory that is not there."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping, Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from advisor.errors import KernelError
from advisor.runtime.gpu import Geometry
from advisor.runtime.native import ACTIVATIONS

__all__ = ["ACTIVATIONS", "check", "check_conv", "check_lists", "check_output", "check_tensors", "output_size"]

TYPES = (torch.float32, torch.float16, torch.bfloat16)
# Pixels are counted in 32 bits, and the last tile may reach past them.
MOST_PIXELS = 2**31 - 2**12
# Lists seen before, by identity, with what they were checked against. A check copies them from the device and waits.
_seen: MutableMapping[Tensor, tuple[weakref.ref[Tensor], int, int, int]] = WeakIdKeyDictionary()


def check(what: str, found: bool, got: object, expected: object) -> None:
    if not found:
        raise KernelError(f"Triton kernel: {what} is {got}; expected {expected}")


def check_tensors(kernel_device: torch.device, dtype: torch.dtype, **tensors: Tensor) -> None:
    """All on one device; the values among them of one type that the kernels have."""
    check("the type of the values", dtype in TYPES, dtype, "float32, float16 or bfloat16; others take the torch path")
    for name, tensor in tensors.items():
        check(f"the device of {name}", tensor.device == kernel_device, tensor.device, kernel_device)
        check(f"the type of {name}", tensor.dtype == dtype, tensor.dtype, f"{dtype}, as the other values")


def check_conv(conv: Geometry) -> None:
    for name, sizes, least in (
        ("stride", conv.stride, 1),
        ("padding", conv.padding, 0),
        ("dilation", conv.dilation, 1),
    ):
        check(name, len(sizes) == 2 and min(sizes) >= least, tuple(sizes), f"two sizes of at least {least}")


def check_lists(
    indptr: Tensor, inputs: Tensor, weight_shape: Sequence[int], channels: int, device: torch.device
) -> int:
    """The number of blocks, once the lists have been found to fit the weight and the input's channels.

    Their content is looked at when they are new or were written to, which waits for the device; a graph capture, during
    which nothing may be waited for, trusts them.
    """
    for name, tensor in (("indptr", indptr), ("inputs", inputs)):
        good = tensor.dtype == torch.int32 and tensor.dim() == 1 and tensor.is_contiguous() and tensor.device == device
        got = f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
        check(name, good, got, f"contiguous int32 with one dimension on {device}")
    rows, blocks = int(weight_shape[0]), indptr.shape[0] - 1
    check("the number of blocks", blocks >= 1, blocks, "at least 1")
    check("the length of inputs", inputs.shape[0] == rows, inputs.shape[0], f"{rows}, one for each row of the weight")
    stamp = (weakref.ref(indptr), _version(inputs), _version(indptr), channels)
    if _seen.get(inputs) != stamp and not (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
        bounds, chosen = indptr.cpu(), inputs.cpu()
        rising = bool((bounds.diff() >= 0).all()) and int(bounds[0]) == 0 and int(bounds[-1]) == rows
        check("indptr", rising, f"{bounds.tolist()[:8]}...", f"rising from 0 to {rows}")
        if rows:
            low, high = int(chosen.min()), int(chosen.max())
            check("the range of inputs", low >= 0 and high < channels, f"{low} to {high}", f"0 to {channels - 1}")
        _seen[inputs] = stamp
    return blocks


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # an inference tensor counts no writes


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def check_output(height: int, width: int, size: tuple[int, int], kernel: tuple[int, int]) -> None:
    fits = height >= 1 and width >= 1
    check(
        "the input's size", fits, f"{size[0]}x{size[1]}", f"enough for one position of a {kernel[0]}x{kernel[1]} kernel"
    )
