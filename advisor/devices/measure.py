"""`advisor.measure`: times every distinct piece of work of a network on one device, and the network as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_document, execution_from
from advisor.devices.journal import Header, Journal
from advisor.devices.predict import Predictor, error_summary
from advisor.devices.profile import Measurement, Profile, Whole
from advisor.devices.progress import Hook, Progress, interruptible
from advisor.devices.session import Session
from advisor.devices.settings import Settings, check_device, cpu_threads, device_type, this_machine
from advisor.devices.subject import batch_of, with_batch
from advisor.devices.work import Task, in_order, network_hash, options_of, reference_of, tasks_of
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.patterns.option import Option

_METHOD = (
    "every execution was timed alone, each run next to a run of one dense reference layer; medians, divided by how far "
    "the reference was from its own median over the whole session; the whole network was timed first and last"
)


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
) -> Profile:
    """Measures a network's layers under every candidate option, and the network itself.

    Drift (the clock, neighbours) is divided out: every run stands beside a run of one dense reference layer, and
    each median is multiplied by (the reference's median over all measurements) / (its median during this one).

    Args:
        network: with its module; one without memory (meta) gets random weights.
        device: "cpu" or "cuda[:i]".
        threads: CPU threads; torch's own number otherwise. Put back afterwards.
        batch: batch size; the example input's otherwise.
        training: time forward and backward (no optimiser) instead of inference.
        budget_seconds: about how long it may take in all, earlier interrupted runs included; without it every
            execution is timed until its median is known to ± 2 % or a second and a half is spent on it.
        patterns: names to take candidates from; all otherwise.
        include_ends: also the first image convolution and the classifier.
        options: layer → options instead of the candidates of `patterns`.
        out: where to write the profile; `<out>.partial` keeps what is measured until then, and a later call with
            the same settings goes on from it.
        progress: a bar with the time left on standard error.
        callback: called with (done, total, seconds left or None, text) after every measurement.
        seed: of the random weights and inputs.

    Raises:
        DeviceError: this machine has no such device.
        ProfileError: nothing to measure, the network does not run, or the journal belongs to another run.
    """
    check_device(device)
    if budget_seconds is not None and not budget_seconds > 0:
        raise ProfileError(f"budget_seconds={budget_seconds}; expected more than 0")
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise ProfileError(f"cannot write {out}: there is no folder {Path(out).resolve().parent}; make it first")
    network = with_batch(network, batch)
    if not network.sparsifiable:
        raise ProfileError(
            f"network {network.name!r} has no convolution or linear layer, so there is nothing to measure"
        )
    with cpu_threads(threads) as in_force:
        settings = Settings(
            device=device_type(device),
            batch=batch_of(network),
            threads=in_force,
            dtype="float32",
            training=training,
        )
        if options is None:
            options = options_of(network, tuple(patterns) if patterns is not None else None, include_ends=include_ends)
        tasks = in_order(tasks_of(network, options, training=training))
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
            Session(network, reference.execution, device=device, training=training, seed=seed, check=check) as session,
        ):
            _run(session, journal, tasks, budget_seconds, Progress(len(tasks) + 2, shown=progress, hook=callback))
            name = Path(out).stem if out is not None else network.name
            profile = _finish(name, network, settings, machine, tasks, journal.records)
            if out is not None:
                profile.save(out)
            journal.remove()
    return profile


def _run(session: Session, journal: Journal, tasks: list[Task], budget: float | None, bar: Progress) -> None:
    """Measures what the journal lacks, the most telling first, until all is done or the budget is spent."""
    held = {record["key"] for record in journal.records}
    spent = sum(float(record["seconds"]) for record in journal.records)
    deadline = None if budget is None else time.perf_counter() + max(budget - spent, 0.0)
    todo = [task for task in tasks if task.execution.key not in held]
    with bar:
        bar.skip(len(tasks) - len(todo), deadline)
        seconds = _allowance(deadline, len(todo), share=0.15, most=15.0, least=1.0)
        if "whole:start" in held:
            bar.step("whole network", deadline, count=1)
        else:
            began = time.perf_counter()
            journal.append({"key": "whole:start", **session.whole(seconds), "seconds": time.perf_counter() - began})
            bar.step("whole network", deadline)
        for index, task in enumerate(todo):
            left = len(todo) - index
            # The last look at the whole network gets its time whatever the rest would still like.
            until = None if deadline is None else deadline - seconds
            if until is not None and time.perf_counter() >= until and (index > 0 or len(todo) < len(tasks)):
                break
            allowed = _allowance(until, left, share=1.0, most=1.5, least=0.02)
            began = time.perf_counter()
            times = session.execution(task.execution, allowed * (2 if task.dense else 1))
            journal.append(
                {
                    "key": task.execution.key,
                    "execution": execution_document(task.execution),
                    **times,
                    "seconds": time.perf_counter() - began,
                }
            )
            bar.step(task.execution.key, until)
        if "whole:end" not in held:
            began = time.perf_counter()
            journal.append({"key": "whole:end", **session.whole(seconds), "seconds": time.perf_counter() - began})
        bar.step("whole network again", deadline)


def _allowance(deadline: float | None, left: int, *, share: float, most: float, least: float) -> float:
    if deadline is None:
        return most
    return min(max(share * (deadline - time.perf_counter()) / max(left if share == 1.0 else 1, 1), least), most)


def _finish(
    name: str,
    network: Network,
    settings: Settings,
    machine: Any,
    tasks: list[Task],
    records: list[dict[str, Any]],
) -> Profile:
    """Divides the drift out and draws the sums."""
    session_ms = median(float(record["reference_ms"]) for record in records)
    measurements: dict[str, Measurement] = {}
    looks: list[dict[str, float]] = []
    for record in records:
        scale = session_ms / float(record["reference_ms"])
        if str(record["key"]).startswith("whole:"):
            looks.append({k: float(record[k]) * scale for k in ("median_ms", "low_ms", "high_ms", "eager_ms")})
            looks[-1]["repeats"] = float(record["repeats"])
            continue
        execution = execution_from(record["execution"])
        measurements[execution.key] = Measurement(
            execution=execution,
            median_ms=float(record["median_ms"]) * scale,
            low_ms=float(record["low_ms"]) * scale,
            high_ms=float(record["high_ms"]) * scale,
            repeats=int(record["repeats"]),
        )
    predictor = Predictor(list(measurements.values()))
    whole = Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=sum(look["median_ms"] for look in looks) / len(looks),
        low_ms=min(look["low_ms"] for look in looks),
        high_ms=max(look["high_ms"] for look in looks),
        repeats=int(sum(look["repeats"] for look in looks)),
        eager_ms=sum(look["eager_ms"] for look in looks) / len(looks),
        layers_ms=_layers_ms(network, measurements, predictor, training=settings.training),
    )
    unmeasured = tuple(t.execution.key for t in tasks if t.execution.key not in measurements)
    notes = (
        []
        if not unmeasured
        else [f"{len(unmeasured)} of {len(tasks)} kinds of work were left to prediction: the time was spent"]
    )
    return Profile(
        name=name,
        origin="measured",
        source=_METHOD,
        created=datetime.now(UTC).date().isoformat(),
        machine=machine,
        settings=settings,
        measurements=measurements,
        networks={network.name: whole},
        unmeasured=unmeasured,
        error=error_summary(predictor),
        notes=tuple(notes),
    )


def _layers_ms(network: Network, measured: Mapping[str, Measurement], predictor: Predictor, *, training: bool) -> float:
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    total = 0.0
    for layer in network.sparsifiable:
        for execution, calls in executions(layer, DENSE, training=training).items():
            known = measured.get(execution.key)
            total += calls * (known.median_ms if known else predictor(execution).median_ms)
    return total
