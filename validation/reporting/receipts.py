"""Predicted beside measured: the applied networks counted by their own tensors and timed in turn in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.in_turn import time_in_turn
from advisor.devices.measuring.subject import real_inputs
from advisor.devices.measuring.timing import ratio
from advisor.plans.apply import apply_plan
from advisor.trace import analyze

if TYPE_CHECKING:
    from torch import nn

    from advisor.devices.measuring.timing import Sample
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.runtime.methods import Method
    from validation.contestants import Contestant


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the applied module holds, by its own tensors.

    Attributes:
        params: elements of all parameters of the module that trains: kept values and narrower tensors.
        macs: arithmetic of the weights that are not zero, over the layers of the module that runs at inference.
        executed_macs: what that module really computes: more than `macs` where zeros are multiplied, too.
        methods: layer → what runs at inference: "dense" (zeros and all), "direct" (sparse kernels), "gather".
    """

    params: int
    macs: int
    executed_macs: int
    methods: Mapping[str, Method]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The applied network's time beside the dense one's, batch norm folded in both; ratios paired round by round."""

    latency_ms: float
    low_ms: float
    high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """One interleaved run over all contestants. `waited`: as in `advisor.devices.predicting.verify.Receipt`."""

    by_plan: Mapping[str, Timing]
    settings: str
    waited: float = 0.0


def count(contestant: Contestant, dense: nn.Module, network: Network) -> Counts:
    """Counts a contestant without believing its plan: from the module that `apply` makes of `dense`.

    Args:
        dense: with random or trained weights, none of them zero by chance.
    """
    inputs = real_inputs(network, "cpu")
    if contestant.plan is None:
        return Counts(
            params=sum(p.numel() for p in dense.parameters()),
            macs=network.macs,
            executed_macs=network.macs,
            methods={},
            notes=(),
        )
    trained = apply_plan(contestant.plan, dense)
    deployed = apply_plan(contestant.plan, dense, for_inference=True, example_inputs=inputs)
    seen = analyze(deployed.module, inputs, name=contestant.label)
    needed = 0.0
    for layer in seen.layers:
        share = 1.0
        if layer.weight is not None:
            weight = _tensor(deployed.module, layer.weight)
            share = float(weight.count_nonzero()) / weight.numel()
        needed += layer.macs * share
    return Counts(
        params=sum(p.numel() for p in trained.module.parameters()),
        macs=round(needed),
        executed_macs=seen.macs,
        methods=dict(deployed.methods),
        notes=tuple(dict.fromkeys((*trained.notes, *deployed.notes))),
    )


def _tensor(module: nn.Module, name: str) -> Any:
    owner, _, attribute = name.rpartition(".")
    return getattr(module.get_submodule(owner), attribute)


def time_all(
    network: Network,
    contestants: tuple[Contestant, ...],
    *,
    profile: Profile | None = None,
    threads: int | None = None,
    seconds: float = 10.0,
) -> Timings:
    """Times every contestant as it would be deployed, all in turn: see `advisor.devices.measuring.in_turn`.

    Args:
        network: with its module.
        profile: gives device, threads and batch size; the CPU and the network's own batch without one.
        threads: CPU threads; a profile must have been made with as many.
        seconds: about how long to go on; fewer where every median is known to ± 1 % before.

    Raises:
        DeviceError: the profile's device is not here.
        ProfileError: the profile was made with another number of threads.
    """
    plans = {one.label: one.plan for one in contestants}
    taken = time_in_turn(network, plans, profile=profile, threads=threads, seconds=seconds)
    first = taken.samples[contestants[0].label]
    by_plan = {label: _timing(found, first) for label, found in taken.samples.items()}
    return Timings(by_plan=by_plan, settings=taken.settings.text, waited=taken.waited)


def _timing(taken: Sample, dense: Sample) -> Timing:
    share = ratio(taken, dense)
    return Timing(
        latency_ms=taken.median_ms,
        low_ms=taken.low_ms,
        high_ms=taken.high_ms,
        ratio=share.median_ms,
        ratio_low=share.low_ms,
        ratio_high=share.high_ms,
        repeats=taken.repeats,
    )
