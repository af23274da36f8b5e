"""How a step is computed: mixed precision, order of axes, compiled or not. All of it checked before hours are spent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import nn

from advisor.errors import AdvisorError, DeviceError, unknown

Amp = Literal["none", "bf16", "fp16"]
AMPS: tuple[Amp, ...] = get_args(Amp)
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(amp: str, device: str) -> None:
    """Refuses a mixed precision that cannot train here.

    Raises:
        AdvisorError: no such kind. DeviceError: the device does not have it.
    """
    if amp not in AMPS:
        raise AdvisorError(unknown("mixed precision", amp, AMPS))
    kind = torch.device(device).type
    if amp == "fp16" and kind != "cuda":
        raise DeviceError(f"--amp fp16 got --device {device}; float16 trains on CUDA alone, use --amp bf16 there")
    if amp == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"--amp bf16 got --device {device}, which has no bfloat16; use --amp fp16")


def check_compiler(device: str) -> None:
    """Compiles three operators for `device` and runs them, forward and backward: a few seconds.

    Raises:
        DeviceError: torch.compile does not work here, with its own reason.
    """
    try:
        with _quiet():
            x = torch.ones(8, device=device, requires_grad=True)
            torch.compile(lambda value: (value.relu() * 2).sum())(x).backward()
            if x.grad is None or not torch.equal(x.grad, torch.tensor([2.0] * 8, device=device)):
                raise RuntimeError("a compiled gradient is wrong")
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
        wanted = (
            "Triton" if torch.device(device).type == "cuda" else "a C++ compiler (g++ or clang++) and Python's headers"
        )
        raise DeviceError(
            f"--compile: torch.compile does not work here on {device}: {reason}; it needs {wanted}, "
            "install it or leave --compile out"
        ) from error


def compiled(module: nn.Module) -> Callable[..., Any]:
    """`module` compiled by torch.compile; parameters and buffers stay the module's own.

    The first steps compile and take long; they are no part of the median time of a step.
    """
    running = torch.compile(module)

    def call(*args: Any) -> Any:
        with _quiet():
            return running(*args)

    return call


def autocast(amp: str, device: str) -> AbstractContextManager[None]:
    """Forward passes in here compute convolutions and products in the narrow format, sums and losses in float32."""
    if amp == "none":
        return nullcontext()
    found: AbstractContextManager[None] = torch.autocast(torch.device(device).type, dtype=_TYPES[amp])
    return found


def scaler_of(amp: str, device: str) -> torch.amp.GradScaler | None:
    """Scales float16's losses so that small gradients do not vanish (Micikevicius et al. 2018); None elsewhere."""
    return torch.amp.GradScaler(torch.device(device).type) if amp == "fp16" else None


@contextmanager
def _quiet() -> Iterator[None]:
    """The compiler's own warnings (deprecations inside torch, TF32 advice) are not the user's to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
