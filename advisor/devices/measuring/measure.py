"""`advisor.measure`: times every distinct piece of work of a network on one device, and the network as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.devices.cuda.forms import checked_number, dtype_name
from advisor.devices.cuda.run import GpuOptions, GpuRun
from advisor.devices.inplace.passes import choices_of
from advisor.devices.measuring.assemble import assemble, measured_so_far
from advisor.devices.measuring.journal import Header, Journal
from advisor.devices.measuring.lookout import Lookout
from advisor.devices.measuring.progress import Hook, Progress, interruptible
from advisor.devices.measuring.session import Session
from advisor.devices.measuring.spend import deadline_of, spend
from advisor.devices.measuring.subject import batch_of, dtype_of, with_batch
from advisor.devices.measuring.work import in_order, network_hash, options_of, reference_of, tasks_of
from advisor.devices.profile import Profile
from advisor.devices.settings import Settings, check_device, cpu_threads, device_type, this_machine
from advisor.errors import DeviceError, ProfileError
from advisor.network import check_network
from advisor.runtime.methods import kernels

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.patterns.option import Option


_DTYPE = "float32"  # of every execution, see Execution.build


def measure(
    network: Network,
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
    training: bool = False,
    budget_seconds: float | None = None,
    patterns: tuple[str, ...] | list[str] | None = None,
    include_ends: bool = False,
    options: Mapping[str, tuple[Option, ...]] | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    callback: Hook | None = None,
    seed: int = 0,
    started: float | None = None,
    gpu: GpuOptions | None = None,
) -> Profile:
    """Measures a network's layers under every candidate option, and the network itself.

    On the CPU, at inference, layers are timed in place: in runs of the whole network; elsewhere alone. Every run stands
    beside a run of one dense reference layer, so that drift (the clock, neighbours) can be divided out: see `assemble`.

    Args:
        network: with its module; one without memory (meta) gets random weights.
        device: "cpu" or "cuda[:i]".
        threads: CPU threads; torch's own number otherwise. Put back afterwards.
        batch: batch size; the example input's otherwise.
        training: time forward and backward (no optimiser) instead of inference.
        budget_seconds: how long it may take in all, set-up and earlier interrupted runs included, up to the
            measurement in hand; without it every execution is timed until its median is known to ± 2 % or a second
            and a half is spent on it.
        patterns: names to take candidates from; all otherwise.
        include_ends: also the first image convolution and the classifier.
        options: layer → options instead of the candidates of `patterns`.
        out: where to write the profile; `<out>.partial` keeps what is measured until then, and a later call with
            the same settings goes on from it. A profile that is already there is replaced at the end, nothing else is.
        progress: a bar with the time left on standard error.
        callback: called with (done, total, seconds left or None, text) after every measurement.
        seed: of the random weights and inputs.
        started: when the caller's work began (`time.perf_counter`); the budget counts from there, from now otherwise.
        gpu: the form to measure in on a CUDA device; float32 as torch is set otherwise.

    Raises:
        DeviceError: this machine has no such device.
        ProfileError: nothing to measure, the network does not run, or the journal belongs to another run.
    """
    check_network(network)
    check_device(device)
    if gpu is not None and device_type(device) != "cuda":
        raise DeviceError(f"GPU options were given for device {device}; leave them out, or use device='cuda'")
    if budget_seconds is not None and not budget_seconds > 0:
        raise ProfileError(f"budget_seconds={budget_seconds}; expected more than 0")
    began = time.perf_counter() if started is None else started
    if out is not None:
        check_out(Path(out))
    network = with_batch(network, batch)
    if not network.sparsifiable:
        raise ProfileError(
            f"network {network.name!r} has no convolution or linear layer, so there is nothing to measure"
        )
    if (dtype := dtype_of(network)) != _DTYPE:
        raise ProfileError(
            f"network {network.name!r} has weights of {dtype}, expected {_DTYPE}: that is what layers are timed in; "
            "convert it (model.float())"
        )
    with cpu_threads(threads) as in_force:
        settings = Settings(
            device=device_type(device),
            batch=batch_of(network),
            threads=in_force,
            dtype=dtype,
            training=training,
            kernels=kernels(device),
        )
        asked = gpu or GpuOptions()
        if settings.device == "cuda":
            settings = replace(
                settings,
                dtype=dtype_name(checked_number(asked.number)) if asked.number else dtype,
                number=asked.number,
                channels_last=asked.channels_last,
                flush_l2=asked.flush_l2,
            )
        if options is None:
            options = options_of(network, tuple(patterns) if patterns is not None else None, include_ends=include_ends)
        tasks = in_order(tasks_of(network, options, training=training, device=settings.device))
        reference = reference_of(tasks, settings.device)
        machine = this_machine(device)
        header = Header(
            network=network.name,
            network_hash=network_hash(network),
            settings=asdict(settings),
            machine=asdict(machine),
            reference=reference.execution.key,
        )
        partial = Path(f"{out}.partial") if out is not None else None
        with (
            Journal(partial, header) as journal,
            interruptible(partial, journal) as check,
            GpuRun(asked, device) if settings.device == "cuda" else nullcontext() as form,
            Session(
                network,
                reference.execution,
                device=device,
                training=training,
                seed=seed,
                check=check,
                choices=choices_of(network, options) if settings.device == "cpu" and not training else None,
                gpu=form,
            ) as session,
        ):
            bar = Progress(len(tasks) + 2, shown=progress, hook=callback)
            name = Path(out).stem if out is not None else network.name

            def so_far() -> Profile:
                return assemble(name, network, settings, machine, tasks, journal.records, session)

            lookout = None
            if budget_seconds is not None and session.passes is not None:  # without a limit all is measured anyway
                lookout = Lookout(
                    network,
                    tasks,
                    measured=lambda: measured_so_far(network, session, journal.records),
                    profile=so_far,
                    patterns=sorted({option.pattern for found in options.values() for option in found}),
                    include_ends=include_ends,
                )
            deadline = deadline_of(journal, budget_seconds, began)
            spend(session, journal, tasks, bar, began=began, deadline=deadline, lookout=lookout)
            profile = so_far()
            if form is not None:
                profile = replace(profile, notes=(*profile.notes, *form.notes(network, options))[:100])
            if out is not None:
                profile.save(out)
            journal.remove()
    return profile


def check_out(path: Path) -> None:
    """Refuses, before an hour of measuring, a place that cannot take the profile."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ProfileError(f"cannot write {path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise ProfileError(f"cannot write {path}: it is a folder; name a file in it")
    if path.exists():
        with path.open("rb") as stream:
            start = stream.read(2000)
        if start.strip() and b"sparsity-advisor/profile" not in start:
            raise ProfileError(f"{path} exists and is no profile; delete it or choose another --out")
