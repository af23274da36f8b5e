"""What a profile is asked for, and making it on the machine that runs now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.devices.cuda.run import GpuOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """As `advisor profile` was asked; see `advisor.measure`, and the suites, for what it means.

    Attributes:
        model: None for a suite, whose profile is of the device.
    """

    model: str | None
    device: str = "cpu"
    threads: int | None = None
    batch: int | None = None
    training: bool = False
    budget_seconds: float | None = None
    patterns: tuple[str, ...] | None = None
    include_ends: bool = False
    input_text: str | None = None
    gpu: GpuOptions | None = None


def make_profile(request: ProfileRequest, out: str | Path, *, started: float | None = None, shown: bool = True) -> Any:
    """Measures here and writes the profile.

    Returns:
        The `Profile`; of a GPU's suite the profile's document.
    """
    if request.model is None and request.gpu is not None:
        from advisor.devices.cuda.suite.measure import SECONDS as GPU_SECONDS
        from advisor.devices.cuda.suite.measure import measure_gpu_suite

        seconds = request.budget_seconds or GPU_SECONDS
        return measure_gpu_suite(
            device=request.device, gpu=request.gpu, budget_seconds=seconds, out=out, started=started, progress=shown
        )
    if request.model is None:
        from advisor.devices.suite.measure import SECONDS, measure_suite

        return measure_suite(
            threads=None if request.threads is None else (request.threads,),
            budget_seconds=request.budget_seconds or SECONDS,
            out=out,
            started=started,
            progress=shown,
        )
    from advisor.commands.network import open_network
    from advisor.devices.measuring.measure import measure

    return measure(
        open_network(request.model, request.input_text, device="cpu"),
        device=request.device,
        threads=request.threads,
        batch=request.batch,
        training=request.training,
        budget_seconds=request.budget_seconds,
        patterns=request.patterns,
        include_ends=request.include_ends,
        out=out,
        started=started,
        progress=shown,
        gpu=request.gpu,
    )
