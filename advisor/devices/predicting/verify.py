"""Predicted beside measured: the real network timed, dense and under a plan, in turn in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.in_turn import time_in_turn
from advisor.devices.measuring.subject import dtype_of, with_batch
from advisor.devices.measuring.timing import ratio
from advisor.devices.predicting.choice import count_methods
from advisor.devices.predicting.compose import Prediction, plan_options, predict_latency, predict_options
from advisor.devices.predicting.parts import LayerTime
from advisor.devices.suite.reference import reference_call

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import Plan

__all__ = ["LayerTime", "Prediction", "Receipt", "predict_latency", "predict_options", "verify_latency"]

_REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Times of the real network, dense and planned in turn in one run; medians with their 95 % intervals.

    `measured_ms` is the plan's, or the dense network's where there is no plan. `ratio` is plan / dense, paired round
    by round, so that what both met (clock, neighbours) cancels.

    Attributes:
        waited: share of the time that other processes had the core; it is taken out of the times.
        methods: method → layers of the plan that ran by it.
        notes: what runs otherwise than the plan assumed.
        pace: by which factor networks took longer here than in the quiet part of a device profile's session, as its
            reference layer tells that ran in the same rounds. None of other profiles.
    """

    measured_ms: float
    low_ms: float
    high_ms: float
    dense_ms: float
    ratio: float
    ratio_low: float | None = None
    ratio_high: float | None = None
    repeats: int = 0
    settings: str = ""
    waited: float = 0.0
    methods: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pace: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Keys that do not collide with those of a Prediction."""
        return {
            "measured_ms": self.measured_ms,
            "measured_low_ms": self.low_ms,
            "measured_high_ms": self.high_ms,
            "dense_ms": self.dense_ms,
            "ratio": self.ratio,
            "ratio_low": self.ratio_low,
            "ratio_high": self.ratio_high,
            "measured_repeats": self.repeats,
            "measured_settings": self.settings,
            "measured_waited": self.waited,
            "measured_methods": dict(self.methods),
            "measured_notes": list(self.notes),
            **({"pace": self.pace} if self.pace is not None else {}),
        }


def verify_latency(
    network: Network,
    profile: Profile | None = None,
    plan: Plan | None = None,
    *,
    threads: int | None = None,
    seconds: float = 10.0,
    device: str | None = None,
    training: bool = False,
) -> Receipt:
    """Times the real network here, dense and under `plan`, in turn in one run, deployed as a user would deploy it.

    Args:
        network: with its module; one without memory (meta) gets random weights.
        profile: gives device, threads and batch size where they are not given.
        plan: applied with batch norm folded and weights packed; the dense network alone without it.
        threads: CPU threads; put back afterwards.
        seconds: about how long to go on; fewer where both medians are known to ± 1 % before, never below six rounds.
        device: "cpu" or "cuda[:i]".
        training: forward and backward instead of inference.

    Raises:
        ProfileError: the profile was made under other settings than these, or the network does not run.
        DeviceError, PlanError: no such device here; the plan belongs to another network.
    """
    made = profile.settings if profile is not None else None
    if profile is not None:
        profile.check(
            device=device,
            threads=threads,
            dtype=None if profile.device == "cuda" else dtype_of(network),  # on a GPU it runs in the profile's form
            training=training,
        )
    if plan is not None:
        plan_options(with_batch(network, made.one_batch if made else None), plan)
    plans = {"dense": None} if plan is None else {"dense": None, "plan": plan}
    pace = profile.pace if profile is not None else None
    taken = time_in_turn(
        network,
        plans,
        profile=profile,
        threads=threads,
        device=device,
        training=training,
        optimizer=training and profile is not None and bool(profile.tables),  # a device profile knows the whole step
        seconds=seconds,
        beside={} if pace is None else {_REFERENCE: reference_call(training=training)},
    )
    dense = taken.samples["dense"]
    planned = taken.samples.get("plan", dense)
    paired = ratio(planned, dense)
    applied = taken.applied.get("plan")
    return Receipt(
        measured_ms=planned.median_ms,
        low_ms=planned.low_ms,
        high_ms=planned.high_ms,
        dense_ms=dense.median_ms,
        ratio=paired.median_ms,
        ratio_low=paired.low_ms,
        ratio_high=paired.high_ms,
        repeats=planned.repeats,
        settings=taken.settings.text,
        waited=taken.waited,
        methods=count_methods(applied.methods) if applied else {},
        notes=applied.notes if applied else (),
        pace=None if pace is None else pace.slower(taken.samples[_REFERENCE].median_ms),
    )
