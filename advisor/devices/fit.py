"""Whether a profile still fits: a few of its own layers timed again in ten seconds, and what has changed since."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from advisor.devices.references import Role, references
from advisor.devices.settings import check_device, cpu_threads, device_type
from advisor.errors import AdvisorError, KernelError, ProfileError

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement, Profile
    from advisor.devices.timing import Sample
    from advisor.runtime.execution import Execution

Verdict = Literal["fits", "scaled", "does not fit"]
# What a network's latency is promised to be known to; a layer off by less is no reason to measure anew.
TOLERANCE = 0.10
_WARMUP, _LEAST = 2, 8  # rounds
_BLIND_PERCENT = 25.0  # how far a layer alone is from one in place where the profile holds no pairs that tell

Timer = Callable[[Mapping[str, "Execution"], float], "Mapping[str, Sample | str]"]


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

    @property
    def advice(self) -> str:
        """One line: the verdict and what to do."""
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
        }


def check_fit(profile: Profile, *, device: str | None = None, seconds: float = 10.0, timer: Timer | None = None) -> Fit:
    """Times three dense reference layers of the profile, and a sparse one where it has some, and compares.

    The layers run in turn, each right after a run of itself, under the profile's number of threads. Where the profile
    timed layers in place, their times alone are multiplied by its own factors between the two.

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
    if made is None or not profile.measurements:
        raise ProfileError(
            f"profile {profile.name!r} ({profile.origin}) holds no measured layers, so there is nothing to time again; "
            "make one with: advisor profile MODEL --out FILE"
        )
    if not seconds > 0:
        raise ProfileError(f"seconds={seconds}; expected more than 0")
    profile.check(device=device)
    place = check_device(device or made.device)
    began = time.perf_counter()
    chosen = references(profile, most_ms=1e3 * seconds / (8 * (_WARMUP + _LEAST)))
    work = {found.execution.key: found.execution for found in chosen.values()}
    with cpu_threads(made.threads):
        timer = timer or _alone(place, training=made.training, dtype=made.dtype)
        taken = timer(work, seconds)
    layers = tuple(
        _compared(role, found, taken[found.execution.key], *_in_place(profile, found)) for role, found in chosen.items()
    )
    verdict, scale = judge(layers)
    return Fit(
        profile=profile.name,
        verdict=verdict,
        scale=scale,
        layers=layers,
        differences=(*profile.warnings(), *_thread_differences(made.threads, made.device)),
        settings=made.text,
        seconds=time.perf_counter() - began,
    )


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


def _in_place(profile: Profile, m: Measurement) -> tuple[float, float]:
    """In place / alone for a layer of this kind, as the profile's own pairs gave it, and the error of its log."""
    if not any(whole.in_place for whole in profile.networks.values()):
        return 1.0, 0.0
    error = profile.error or {}
    e = m.execution
    depthwise = " depthwise" if e.groups > 1 and e.weight_shape[1] == 1 else ""
    factor = error.get(f"correction {e.kind} {e.method}{depthwise}")
    if factor is None:
        factor = error.get(f"correction {e.kind} dense{depthwise}", 1.0)
    doubt = error.get("correction_error_percent", _BLIND_PERCENT)
    return float(factor), math.log1p(float(doubt) / 100)


def _compared(role: Role, known: Measurement, now: Sample | str, factor: float, doubt: float) -> LayerFit:
    key, before = known.execution.key, known.median_ms
    if isinstance(now, str):
        return LayerFit(
            key=key, role=role, profile_ms=before, now_ms=None, ratio=None, low=None, high=None, problem=now
        )
    # The errors of the two medians and of the factor are independent: their logs add in quadrature.
    ratio = now.median_ms * factor / before
    slack = 1.96 * doubt
    down = math.hypot(math.log(now.median_ms / now.low_ms), math.log(known.high_ms / before), slack)
    up = math.hypot(math.log(now.high_ms / now.median_ms), math.log(before / known.low_ms), slack)
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


def _alone(device: str, *, training: bool, dtype: str) -> Timer:
    """Times each layer alone, on a normal input, in warm caches."""

    def timed(work: Mapping[str, Execution], seconds: float) -> dict[str, Sample | str]:
        from advisor.devices.timing import clock_for, time_interleaved

        calls: dict[str, Callable[[], object]] = {}
        taken: dict[str, Sample | str] = {}
        for key, execution in work.items():
            try:
                calls[key] = _call(execution, device, training=training, dtype=dtype)
                calls[key]()
            except (RuntimeError, AdvisorError) as error:
                calls.pop(key, None)
                taken[key] = " ".join(str(error).split())[:200] or type(error).__name__
        if calls:
            taken |= time_interleaved(
                calls,
                clock=clock_for(device),
                warmup=_WARMUP,
                min_repeats=_LEAST,
                max_seconds=seconds,
                spread=0.01,
                primed=tuple(calls),
            )
        return taken

    return timed


def _call(execution: Execution, device: str, *, training: bool, dtype: str) -> Callable[[], object]:
    import torch

    from advisor.devices.subject import layer_call
    from advisor.runtime.sparse import Sparse

    module, inputs = execution.build()
    number = getattr(torch, dtype)
    module, inputs = module.to(device, number), inputs.to(device, number)
    if isinstance(module, Sparse) and (runs := module.runs_by()) != execution.method:
        raise KernelError(f"it would run by {runs!r} here")
    return layer_call(module, inputs, training=training)


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
