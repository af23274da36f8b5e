"""Whether a profile still fits: a few of its own layers timed again in ten seconds, and what has changed since."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from advisor.devices.measuring.alone import ROUNDS, Timer, in_place_factor, timed_calls, timer_alone
from advisor.devices.measuring.clocks import clock_for, waited_share
from advisor.devices.measuring.references import Role, references
from advisor.devices.settings import check_device, cpu_threads, device_type
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.measuring.clocks import Clock
    from advisor.devices.measuring.timing import Sample
    from advisor.devices.profile import Measurement, Profile

Verdict = Literal["fits", "scaled", "does not fit"]
# What a network's latency is promised to be known to; a layer off by less is no reason to measure anew.
TOLERANCE = 0.10
_BUSY = 0.2  # of the time: caches and memory are shared as well, and no clock takes that out


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFit:
    """One reference layer. `ratio` is now / profile; `low`..`high` is its 95 % interval (both medians' together).

    `factor` is what the profile found layers of this kind to take in place / alone, 1 where it timed them alone:
    `now_ms` is the time alone today, times `factor`.
    """

    key: str
    role: Role
    profile_ms: float
    now_ms: float | None  # None: it does not run here
    ratio: float | None
    low: float | None
    high: float | None
    factor: float = 1.0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a profile's times hold on this machine today.

    Attributes:
        verdict: "fits": every layer takes what the profile says, to ± 10 % and its interval; "scaled": all are off by
            one factor; "does not fit": they are off by different factors, or one does not run.
        scale: median of now / profile; None where nothing ran.
        differences: what is known to have changed, as sentences: torch, instruction sets, threads, kernels.
    """

    profile: str
    verdict: Verdict
    scale: float | None
    layers: tuple[LayerFit, ...]
    differences: tuple[str, ...]
    settings: str
    seconds: float
    waited: float = 0.0  # share of the time that other processes had the core; it is taken out of the times

    @property
    def advice(self) -> str:
        """One line: the verdict and what to do."""
        if self.verdict != "fits" and self.waited > _BUSY:
            return f"{self._found}; but others had the core for {self.waited:.0%} of the time: check on a quiet machine"
        return self._found

    @property
    def _found(self) -> str:
        if self.verdict == "fits":
            found = f"the profile fits: its layers take {_percent(self.scale)} what it says"
            return found + ("; look at the differences all the same" if self.differences else "")
        if self.verdict == "scaled":
            return (
                f"all layers take {self.scale:.2f} times what the profile says: plans by share (latency=50%) hold, "
                "absolute times do not; make it anew (advisor profile), or see what else runs on this machine"
            )
        failed = [layer for layer in self.layers if layer.problem]
        if failed:
            return f"the profile does not fit: {failed[0].key} does not run here ({failed[0].problem}); make it anew"
        ratios = [layer.ratio for layer in self.layers if layer.ratio is not None]
        return (
            f"the profile does not fit: its layers take {min(ratios):.2f} to {max(ratios):.2f} times what it says; "
            "make it anew (advisor profile)"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "verdict": self.verdict,
            "fits": self.verdict == "fits",
            "scale": self.scale,
            "advice": self.advice,
            "layers": [asdict(layer) for layer in self.layers],
            "differences": list(self.differences),
            "settings": self.settings,
            "seconds": self.seconds,
            "waited": self.waited,
        }


def check_fit(profile: Profile, *, device: str | None = None, seconds: float = 10.0, timer: Timer | None = None) -> Fit:
    """Times three dense reference layers of the profile, and a sparse one where it has some, and compares.

    The layers run in turn, each right after a run of itself, under the profile's number of threads. Where the profile
    timed layers in place, their times alone are multiplied by its own factors between the two. Of a device profile
    (`advisor profile --suite`) whole pieces of the suite run instead.

    Args:
        device: "cuda:1" where it is not the first one; the profile's kind of device otherwise.
        seconds: about how long; fewer where the medians are known before.
        timer: times key → execution in the seconds given, and gives key → Sample, or the reason why it does not run;
            layers alone otherwise.

    Raises:
        ProfileError: the profile holds no times, or is for another kind of device than `device`.
        DeviceError: its device is not here.
    """
    import time

    made = profile.settings
    if made is None or not (profile.measurements or profile.tables):
        raise ProfileError(
            f"profile {profile.name!r} ({profile.origin}) holds no measured layers, so there is nothing to time again; "
            "make one with: advisor profile MODEL --out FILE"
        )
    if not seconds > 0:
        raise ProfileError(f"seconds={seconds}; expected more than 0")
    profile.check(device=device)
    place = check_device(device or made.device)
    began = time.perf_counter()
    most_ms = 1e3 * seconds / (8 * ROUNDS)
    with cpu_threads(made.threads):
        clock = clock_for(place)
        if profile.tables:
            layers = _pieces(profile, place, most_ms, seconds, clock)
        else:
            chosen = references(profile, most_ms=most_ms)
            timer = timer or timer_alone(place, training=made.training, dtype=made.dtype, clock=clock)
            taken = timer({found.execution.key: found.execution for found in chosen.values()}, seconds)
            layers = [
                _compared(role, known, taken[known.execution.key], *in_place_factor(profile, known.execution))
                for role, known in chosen.items()
            ]
    verdict, scale = judge(tuple(layers))
    return Fit(
        profile=profile.name,
        verdict=verdict,
        scale=scale,
        layers=tuple(layers),
        differences=(*profile.warnings(), *_thread_differences(made.threads, made.device)),
        settings=made.text,
        seconds=time.perf_counter() - began,
        waited=waited_share(clock),
    )


def _pieces(profile: Profile, place: str, most_ms: float, seconds: float, clock: Clock) -> list[LayerFit]:
    """A device profile holds whole pieces of networks: some of them again, in place as they were."""
    from advisor.devices.measuring.fit_pieces import PIECE_DOUBT, build, piece_key, piece_references

    chosen, training = piece_references(profile, most_ms=most_ms)
    builders = {piece_key(found): partial(build, found, training=training) for found in chosen.values()}
    taken = timed_calls(builders, place, seconds, clock)
    return [
        _fit(role, piece_key(found), (found.whole_ms,) * 3, taken[piece_key(found)], 1.0, PIECE_DOUBT)
        for role, found in chosen.items()
    ]


def judge(layers: tuple[LayerFit, ...]) -> tuple[Verdict, float | None]:
    """The verdict on these layers, and the median of their ratios. A ratio counts as right where its interval reaches
    into ± 10 % around the expected one.
    """
    ran = [layer for layer in layers if layer.ratio is not None]
    ratios = [layer.ratio for layer in ran if layer.ratio is not None]
    scale = math.exp(median(math.log(ratio) for ratio in ratios)) if ratios else None
    if scale is None or len(ran) < len(layers):
        return "does not fit", scale
    if all(_agrees(layer, 1.0) for layer in ran):
        return "fits", scale
    # One layer alone cannot tell a factor from a change of its own.
    if len(ran) > 1 and all(_agrees(layer, scale) for layer in ran):
        return "scaled", scale
    return "does not fit", scale


def _agrees(layer: LayerFit, expected: float) -> bool:
    assert layer.low is not None
    assert layer.high is not None
    return layer.low <= expected * (1 + TOLERANCE) and layer.high >= expected / (1 + TOLERANCE)


def _compared(role: Role, known: Measurement, now: Sample | str, factor: float, doubt: float) -> LayerFit:
    times = known.low_ms, known.median_ms, known.high_ms
    return _fit(role, known.execution.key, times, now, factor, doubt)


def _fit(
    role: Role, key: str, known: tuple[float, float, float], now: Sample | str, factor: float, doubt: float
) -> LayerFit:
    least, before, most = known
    if isinstance(now, str):
        return LayerFit(
            key=key, role=role, profile_ms=before, now_ms=None, ratio=None, low=None, high=None, problem=now
        )
    # The errors of the two medians and of the factor are independent: their logs add in quadrature.
    ratio = now.median_ms * factor / before
    slack = 1.96 * doubt
    down = math.hypot(math.log(now.median_ms / now.low_ms), math.log(most / before), slack)
    up = math.hypot(math.log(now.high_ms / now.median_ms), math.log(before / least), slack)
    return LayerFit(
        key=key,
        role=role,
        profile_ms=before,
        now_ms=now.median_ms * factor,
        factor=factor,
        ratio=ratio,
        low=ratio * math.exp(-down),
        high=ratio * math.exp(up),
    )


def _thread_differences(threads: int, device: str) -> tuple[str, ...]:
    if device_type(device) != "cpu":
        return ()
    import psutil
    import torch

    cores = psutil.cpu_count(logical=True) or 1
    if threads > cores:
        return (f"the profile was made with {threads} threads, this machine has {cores} cores: its times do not hold",)
    if (here := torch.get_num_threads()) != threads:
        return (f"torch takes {here} threads here; the profile's times hold for {threads} (--threads {threads})",)
    return ()


def _percent(scale: float | None) -> str:
    return "nothing of" if scale is None else f"{scale:.0%} of"
