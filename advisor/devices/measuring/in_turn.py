"""Whole networks as they would be deployed, timed in turn in one run: under several plans, and dense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from advisor.devices.cuda.run import GpuOptions, GpuRun
from advisor.devices.measuring.subject import (
    as_it_runs,
    batch_of,
    dtype_of,
    forward_call,
    real_inputs,
    real_module,
    training_call,
    try_once,
    with_batch,
)
from advisor.devices.measuring.timing import Sample, clock_for, time_interleaved, waited_share
from advisor.devices.settings import Settings, check_device, cpu_threads, device_type
from advisor.runtime.methods import kernels

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.apply import Applied
    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """Times by label; round i of one belongs to round i of the others. `waited`: as in `verify.Receipt`.

    `applied` says how each plan runs; dense networks are not in it.
    """

    samples: Mapping[str, Sample]
    applied: Mapping[str, Applied]
    settings: Settings
    waited: float


def time_in_turn(
    network: Network,
    plans: Mapping[str, Plan | None],
    *,
    profile: Profile | None = None,
    threads: int | None = None,
    device: str | None = None,
    training: bool = False,
    optimizer: bool = False,
    seconds: float = 10.0,
    beside: Mapping[str, Callable[[], object]] | None = None,
    fewest: int = 6,
) -> InTurn:
    """Times a network under every plan (label → plan; dense for None), so that whatever drifts meets all alike.

    Batch norm is folded and weights are packed, as a user would deploy it; training runs forward and backward.

    Args:
        network: with its module; one without memory (meta) gets random weights.
        profile: gives device, threads and batch size where they are not given; on a GPU also the form to run in (number
            format, order of axes, cold L2).
        threads: CPU threads; put back afterwards.
        device: "cpu" or "cuda[:i]".
        optimizer: training with a step of the optimiser (see `subject.training_call`).
        beside: other work to time in the same rounds, each run once more off the clock before (a reference layer).
        seconds: about how long to go on; fewer where all medians are known to ± 1 % before.
        fewest: rounds to run whatever `seconds` says.

    Raises:
        ProfileError: the profile was made with another device or number of threads, or the network does not run.
        DeviceError, PlanError: no such device here; a plan belongs to another network.
    """
    made = profile.settings if profile is not None else None
    if profile is not None and made is not None:
        profile.check(device=device, threads=threads)
    device = check_device(device or (made.device if made else "cpu"))
    network = with_batch(network, made.one_batch if made else None)
    with cpu_threads(threads or (made.threads if made else None)) as in_force, _form(made, device) as form:
        clock = form.clock() if form is not None else clock_for(device)
        calls, applied = _calls(network, plans, device, training=training, optimizer=optimizer, form=form)
        samples = time_interleaved(
            {**calls, **(beside or {})},
            clock=clock,
            max_seconds=seconds,
            min_repeats=fewest,
            spread=0.01,
            primed=tuple(beside or ()),
        )
    settings = Settings(
        device=device_type(device),
        batch=batch_of(network),
        threads=in_force,
        dtype=dtype_of(network),
        training=training,
        kernels=kernels(device),
    )
    if form is not None and made is not None:
        settings = replace(
            settings,
            dtype=made.dtype,
            number=form.options.number,
            channels_last=made.channels_last,
            flush_l2=made.flush_l2,
        )
    return InTurn(samples=samples, applied=applied, settings=settings, waited=waited_share(clock))


def _form(made: Settings | None, device: str) -> AbstractContextManager[GpuRun | None]:
    """The form that a GPU's profile was made in; None for float32 as torch is set, and on the CPU."""
    if made is None or device_type(device) != "cuda":
        return nullcontext()
    number = made.number or {"float16": "fp16", "bfloat16": "bf16"}.get(made.dtype, "")
    if not (number or made.channels_last or made.flush_l2):
        return nullcontext()
    return GpuRun(GpuOptions(number=number, channels_last=made.channels_last, flush_l2=made.flush_l2), device)


def _calls(
    network: Network,
    plans: Mapping[str, Plan | None],
    device: str,
    *,
    training: bool,
    optimizer: bool,
    form: GpuRun | None = None,
) -> tuple[dict[str, Callable[[], object]], dict[str, Applied]]:
    """Label → one run, which each has done once; and what applying had to say."""
    module, inputs = real_module(network, device), real_inputs(network, device)
    calls: dict[str, Callable[[], object]] = {}
    applied: dict[str, Applied] = {}
    for label, plan in plans.items():
        subject, said = as_it_runs(network, module, plan, inputs, training=training)
        if said is not None:
            applied[label] = said
        if form is not None:
            calls[label] = form.whole(subject, inputs, training=training)
        elif training:
            calls[label] = training_call(subject, inputs, optimizer=optimizer)
        else:
            calls[label] = forward_call(subject, inputs)
        try_once(calls[label], network, f"as {label!r} on its example input")
    return calls, applied
