"""What the real network costs under a plan, as a share of the dense network in the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Protocol

from advisor.devices.measuring.clocks import NOTEWORTHY
from advisor.devices.measuring.in_turn import time_in_turn
from advisor.devices.measuring.timing import ratio
from advisor.devices.memory.verify import verify_memory
from advisor.devices.settings import check_device, this_machine
from advisor.errors import BudgetError, ProfileError
from advisor.planning.budgets import TIMES

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.planning.problem import Problem
    from advisor.plans.plan import Plan

# Standard deviation of the peak of one network between fresh processes, in bytes: 62 kB of six runs of one of 1.5 MB.
_PAGES = 64e3
_DENSE_RUNS = 3  # of the dense network's memory
MEASURED = (*TIMES, "peak_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement of one plan. `shares` are plan / dense, run by run; `dense` holds the dense runs, in the unit.

    `noise` is a standard deviation of a share that is known beforehand, where single runs do not show it.
    """

    shares: tuple[float, ...]
    dense: tuple[float, ...]
    noise: float = 0.0
    settings: str = ""
    notes: tuple[str, ...] = ()


class Gauge(Protocol):
    """Measures one cost of the real network."""

    def __call__(self, plan: Plan, seconds: float) -> Reading:
        """Runs the network dense and under `plan`, for about `seconds`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeGauge:
    """Latency of inference or of a training step: dense and plan in turn, deployed as a user would deploy them."""

    network: Network
    profile: Profile
    training: bool

    def __call__(self, plan: Plan, seconds: float) -> Reading:
        taken = time_in_turn(
            self.network,
            {"dense": None, "plan": plan},
            profile=self.profile,
            training=self.training,
            optimizer=self.training and bool(self.profile.tables),  # a device profile knows the whole step
            seconds=seconds,
        )
        dense, planned = taken.samples["dense"], taken.samples["plan"]
        notes = list(taken.applied["plan"].notes)
        if taken.waited > NOTEWORTHY:
            notes.append("other processes had the core for part of the timing; that is taken out")
        return Reading(
            shares=ratio(planned, dense).times_ms,
            dense=dense.times_ms,
            settings=taken.settings.text,
            notes=tuple(notes),
        )


@dataclass(kw_only=True)
class MemoryGauge:
    """Peak of memory of an inference in fresh processes; of the dense network in a few of them."""

    network: Network
    threads: int | None = None
    _dense: list[float] = field(default_factory=list)

    def __call__(self, plan: Plan, seconds: float) -> Reading:
        fresh = []
        if len(self._dense) < _DENSE_RUNS:
            fresh = [float(verify_memory(self.network, threads=self.threads).measured_peak_bytes)]
            self._dense += fresh
        found, dense = verify_memory(self.network, plan, threads=self.threads), median(self._dense)
        return Reading(
            shares=(found.measured_peak_bytes / dense,),
            dense=tuple(fresh),
            noise=_PAGES / dense,
            settings=found.method,
            notes=found.notes,
        )


def gauges_of(problem: Problem) -> Mapping[str, Gauge]:
    """Cost → its gauge, for the budgets that can be measured here.

    Raises:
        ProfileError: a time is limited, and the profile is none of this machine's measurements.
        BudgetError: no budget is on a cost that can be measured.
        DeviceError: the profile's device is not here.
    """
    found: dict[str, Gauge] = {}
    for key in problem.budgets:
        if key in TIMES:
            profile = _profile_of_here(problem.profile)
            found[key] = TimeGauge(network=problem.network, profile=profile, training=key == "training_latency")
        elif key == "peak_memory":
            made = problem.profile.settings if problem.profile is not None else None
            found[key] = MemoryGauge(network=problem.network, threads=made.threads if made else None)
    if not found:
        raise BudgetError(
            f"nothing to refine: no budget is on a cost that is measured ({', '.join(MEASURED)}), got "
            f"{', '.join(problem.budgets)}; counts are exact, so leave --refine out"
        )
    return found


def _profile_of_here(profile: Profile | None) -> Profile:
    """The profile, if its times were measured on such a machine as this one."""
    how = "measure one here: advisor profile MODEL --out P.json, then give --profile P.json"
    if profile is None:  # a time has no table without one, so this is said earlier
        raise ProfileError(f"refining needs a profile; {how}")
    if profile.origin != "measured" or profile.settings is None or profile.machine is None:
        raise ProfileError(
            f"refining times the network here, but the times of profile {profile.name!r} are {profile.origin}; {how}"
        )
    device = check_device(profile.settings.device)
    here = this_machine(device)
    lost = sorted(set(profile.machine.flags) ^ set(here.flags))
    if profile.machine.name != here.name or lost:
        differs = f", which differs in {', '.join(lost[:4])}{' …' if len(lost) > 4 else ''}" if lost else ""
        raise ProfileError(
            f"refining times the network here, on {here.name}, but profile {profile.name!r} was measured on "
            f"{profile.machine.name}{differs}; {how}"
        )
    return profile
