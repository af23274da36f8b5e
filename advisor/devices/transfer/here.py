"""The handful of times for a transfer, taken on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advisor.devices.measuring.alone import Timer, timer_alone
from advisor.devices.profile import Measurement, Profile
from advisor.devices.settings import Machine, Settings, check_device, cpu_threads, device_type, this_machine
from advisor.devices.transfer.design import choose
from advisor.errors import ProfileError
from advisor.runtime.methods import kernels

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_TOGETHER = 8  # pieces of work that take turns: all at once would be far apart in time


def measure_here(
    profile: Profile,
    *,
    count: int = 30,
    threads: int | None = None,
    device: str | None = None,
    seconds: float = 60.0,
    timer: Timer | None = None,
    say: Callable[[str], object] | None = None,
) -> tuple[dict[Execution, Measurement], Machine, Settings, tuple[str, ...]]:
    """Times what `choose` names, on this machine.

    Args:
        threads: CPU threads; torch's own number otherwise. Put back afterwards.
        seconds: about how long in all.
        timer: as of `check_fit`.
        say: told how far it is.

    Returns:
        Execution → measurement, this machine, the settings, and what did not run, as sentences.

    Raises:
        ProfileError: nothing of it runs here. DeviceError: the device is not here.
    """
    made = profile.settings
    if made is None:
        raise ProfileError(f"profile {profile.name!r} ({profile.origin}) holds no times, so there is nothing to time")
    place = check_device(device or made.device)
    asked = choose(profile, count)
    found: dict[Execution, Measurement] = {}
    refused: list[str] = []
    with cpu_threads(threads) as in_force:
        timer = timer or timer_alone(place, training=made.training, dtype=made.dtype)
        for start in range(0, len(asked), _TOGETHER):
            part = asked[start : start + _TOGETHER]
            taken = timer({e.key: e for e in part}, seconds * len(part) / len(asked))
            for execution in part:
                sample = taken[execution.key]
                if isinstance(sample, str):
                    refused.append(f"did not run here: {execution.key}: {sample}")
                    continue
                found[execution] = Measurement(
                    execution=execution,
                    median_ms=sample.median_ms,
                    low_ms=sample.low_ms,
                    high_ms=sample.high_ms,
                    repeats=sample.repeats,
                )
            if say is not None:
                say(f"{min(start + _TOGETHER, len(asked))} of {len(asked)} timed")
    if not found:
        raise ProfileError(f"profile {profile.name!r}: nothing of it runs here; {refused[0]}")
    settings = Settings(
        device=device_type(place),
        batch=made.batch,
        threads=in_force,
        dtype=made.dtype,
        training=made.training,
        kernels=kernels(place),
    )
    return found, this_machine(place), settings, tuple(refused)
