"""The state of a GPU's clocks, as its driver's `nvidia-smi` tells it: a time means little without it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

from advisor.errors import DeviceError

# Asked one by one they cannot disagree about the order. Names that old and new drivers know.
_FIELDS = {
    "name": "name",
    "state": "pstate",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "most_sm_mhz": "clocks.max.sm",
    "most_memory_mhz": "clocks.max.mem",
    "power_limit_w": "power.limit",
    "power_w": "power.draw",
    "persistence": "persistence_mode",
    "celsius": "temperature.gpu",
    "busy_percent": "utilization.gpu",
}
_SECONDS = 10.0
_NOTEWORTHY = 0.05  # of the SM clock
_HOT = 10  # degrees more at the end than at the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """One look. None: the driver does not say (laptops, MIG slices, virtual GPUs)."""

    name: str
    state: str | None = None  # "P0" is the fastest
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    most_sm_mhz: float | None = None
    most_memory_mhz: float | None = None
    power_limit_w: float | None = None
    power_w: float | None = None
    persistence: bool | None = None
    celsius: float | None = None
    busy_percent: float | None = None

    @property
    def text(self) -> str:
        """One line for people: "P0, SM 1980 of 1980 MHz, memory 2619 MHz, 118 of 700 W, 34 °C, persistence on"."""
        parts = [self.state or ""]
        if self.sm_mhz is not None:
            parts.append(f"SM {self.sm_mhz:.0f}{_of(self.most_sm_mhz)} MHz")
        if self.memory_mhz is not None:
            parts.append(f"memory {self.memory_mhz:.0f} MHz")
        if self.power_w is not None:
            parts.append(f"{self.power_w:.0f}{_of(self.power_limit_w)} W")
        if self.celsius is not None:
            parts.append(f"{self.celsius:.0f} °C")
        if self.persistence is not None:
            parts.append(f"persistence {'on' if self.persistence else 'off'}")
        return ", ".join(part for part in parts if part) or "unknown"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _of(most: float | None) -> str:
    return f" of {most:.0f}" if most is not None else ""


def clock_state(device: str = "cuda") -> ClockState | None:
    """The state of a CUDA device now; None where there is no `nvidia-smi` or it does not answer.

    Takes some tens of milliseconds, in a process of its own: never call it between two timed runs.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS.values())}", "--format=csv,noheader,nounits"]
    command.append(f"--id={_driver_id(device)}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0 or not done.stdout.strip():
        return None
    return parse(done.stdout)


def parse(text: str) -> ClockState:
    """The first line of `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`.

    Raises:
        DeviceError: it has another number of fields than were asked for.
    """
    line = text.strip().splitlines()[0] if text.strip() else ""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(_FIELDS):
        raise DeviceError(f"nvidia-smi: got {len(cells)} fields ({line[:80]!r}), expected {len(_FIELDS)}")
    values: dict[str, Any] = dict(zip(_FIELDS, cells, strict=True))
    found: dict[str, Any] = {"name": values.pop("name")}
    for name, cell in values.items():
        if "N/A" in cell or "Not Supported" in cell or "Unknown" in cell or not cell:
            continue
        if name == "state":
            found[name] = cell
        elif name == "persistence":
            found[name] = {"Enabled": True, "Disabled": False}.get(cell)
        else:
            try:
                found[name] = float(cell.split()[0])  # a driver may add the unit all the same
            except ValueError:
                continue
    return ClockState(**found)


def clock_notes(before: ClockState | None, after: ClockState | None) -> tuple[str, ...]:
    """What two looks, before and after a measuring run, say about it; empty where all is well."""
    if before is None or after is None:
        return ("nvidia-smi did not answer, so the state of the clocks is not known",)
    found = []
    if before.sm_mhz and after.sm_mhz and abs(after.sm_mhz / before.sm_mhz - 1) > _NOTEWORTHY:
        found.append(f"the SM clock went from {before.sm_mhz:.0f} to {after.sm_mhz:.0f} MHz during the measuring")
    if after.sm_mhz and after.most_sm_mhz and after.sm_mhz < (1 - _NOTEWORTHY) * after.most_sm_mhz:
        found.append(
            f"the SM clock stood at {after.sm_mhz:.0f} of {after.most_sm_mhz:.0f} MHz: times under full clocks are "
            "shorter (nvidia-smi --lock-gpu-clocks fixes it)"
        )
    if after.power_w and after.power_limit_w and after.power_w > 0.98 * after.power_limit_w:
        found.append(
            f"it drew {after.power_w:.0f} of {after.power_limit_w:.0f} W: the power limit holds the clock down"
        )
    if before.celsius is not None and after.celsius is not None and after.celsius - before.celsius > _HOT:
        found.append(f"it warmed from {before.celsius:.0f} to {after.celsius:.0f} °C during the measuring")
    if before.persistence is False:
        found.append("persistence mode is off: the first use of the device after a pause wakes it up")
    if before.busy_percent is not None and before.busy_percent > 5:
        found.append(f"it was {before.busy_percent:.0f} % busy before the measuring began: someone else uses it")
    return tuple(found)


def _driver_id(device: str) -> str:
    """How the driver names torch's device: its UUID, or its index counted without CUDA_VISIBLE_DEVICES."""
    index = int(device.partition(":")[2] or 0)
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    try:
        import torch

        if torch.cuda.is_available():
            uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
            if uuid is not None:
                return f"GPU-{uuid}"
    except (ImportError, RuntimeError, AssertionError):
        pass
    return visible[index] if index < len(visible) else str(index)
