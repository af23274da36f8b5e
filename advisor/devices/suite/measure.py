"""`advisor profile --suite`: one device profile, from which any network's latency can be put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from advisor.devices.inplace.stopwatch import empty_step_ns
from advisor.devices.measuring.clocks import CpuClock
from advisor.devices.measuring.journal import Header, Journal
from advisor.devices.measuring.measure import check_out
from advisor.devices.measuring.progress import Hook, Progress, interruptible
from advisor.devices.measuring.subject import forward_call, training_call
from advisor.devices.profile import Profile
from advisor.devices.settings import Settings, cpu_threads, this_machine
from advisor.devices.suite.designs import order, piece
from advisor.devices.suite.piece_times import time_in_place
from advisor.devices.suite.records import key_of, record_of, tables_of
from advisor.devices.suite.reference import reference_call
from advisor.devices.suite.table import error_of
from advisor.devices.suite.thin import thinned
from advisor.errors import KernelError, ProfileError
from advisor.runtime.fuse import fuse
from advisor.runtime.methods import kernels
from advisor.runtime.native.library import available

if TYPE_CHECKING:
    from advisor.devices.suite.designs import Piece

SECONDS = 1080.0  # what the suite takes where nobody says otherwise: eighteen minutes, all tables together
_PIECES = 600  # more than any budget so far has reached
_FEWEST = 20  # pieces that a profile needs; the budget waits for them
_ROUND_SECONDS = 0.35  # of each run of a piece
_METHOD = (
    "a suite of drawn network pieces ran as deployed, every operator timed in place, interleaved with the whole piece "
    "and a reference layer; drift divided out; whole networks are sums of predicted operators and what lies between"
)
Run = tuple[str, int, bool]  # variant, threads, training


def measure_suite(
    *,
    threads: Sequence[int] | None = None,
    training: bool = True,
    budget_seconds: float = SECONDS,
    out: str | Path | None = None,
    progress: bool = True,
    callback: Hook | None = None,
    started: float | None = None,
) -> Profile:
    """Measures the suite on this CPU.

    Args:
        threads: numbers of threads to measure under; 1 and the number of cores otherwise.
        training: also training steps (forward, backward, optimiser).
        budget_seconds: about how long; every table gets its share, and pieces are drawn until it is spent.
        out: where to write the profile; `<out>.partial` keeps what is measured until then, and a later call goes on
            from it.
        progress: a bar on standard error.
        callback: called with (done, total, seconds left or None, text) after every piece.
        started: when the caller's work began (`time.perf_counter`).

    Raises:
        ProfileError: a number of threads below 1, no time, or a place that cannot be written.
    """
    import psutil

    counts = sorted(set(threads or (1, psutil.cpu_count(logical=True) or 1)))
    if min(counts) < 1:
        raise ProfileError(f"threads={min(counts)}; expected 1 or more")
    if not budget_seconds > 0:
        raise ProfileError(f"budget_seconds={budget_seconds}; expected more than 0")
    if out is not None:
        check_out(Path(out))
    began = time.perf_counter() if started is None else started
    settings = Settings(
        device="cpu", batch=0, threads=counts[0], dtype="float32", training=False, kernels=kernels("cpu")
    )
    machine = this_machine("cpu")
    header = Header(
        network="suite",
        network_hash=f"threads {counts}, training {training}",
        settings=asdict(settings),
        machine=asdict(machine),
        reference="conv2d 64x64x3x3 on 28x28",
    )
    partial = Path(f"{out}.partial") if out is not None else None
    with Journal(partial, header) as journal, interruptible(partial, journal) as check:
        left = budget_seconds - sum(float(record["seconds"]) for record in journal.records)
        _spend(
            journal,
            counts,
            training,
            began + max(left, 0.0),
            began,
            check,
            Progress(100, shown=progress, hook=callback),
        )
        tables = tables_of(journal.records)
        if not tables:
            raise ProfileError("too few pieces were measured for a profile; give it more --budget-seconds")
        failed = [record for record in journal.records if "failed" in record]
        profile = Profile(
            name=Path(out).stem if out is not None else "suite",
            origin="measured",
            source=_METHOD,
            created=datetime.now(UTC).date().isoformat(),
            machine=machine,
            settings=settings,
            measurements={},
            networks={},
            error=error_of(tables),
            notes=tuple(f"{record['key']} did not run here: {record['failed']}" for record in failed[:10]),
            tables=tables,
        )
        if out is not None:
            profile.save(out)
        journal.remove()
    return profile


def _spend(
    journal: Journal,
    counts: Sequence[int],
    training: bool,
    deadline: float,
    began: float,
    check: Callable[[], None],
    bar: Progress,
) -> None:
    """Measures piece after piece under every setting until the time is spent, but for what the journal holds."""
    held = {record["key"] for record in journal.records}
    references = reference_call(), reference_call(training=True)
    mark = began
    with bar:
        for index, (number, turn) in enumerate(islice(order(), _PIECES)):
            if index >= _FEWEST and time.perf_counter() >= deadline:
                break
            for variant, threads, trains in _runs(turn, counts, training):
                key = key_of(number, variant, threads, trains)
                if key in held:
                    continue
                check()
                found = run_piece(number, variant, threads, trains, references[trains])
                now = time.perf_counter()
                if found is not None:
                    journal.append({"key": key, **found, "seconds": now - mark})
                    mark = now
            bar.spend(began, deadline, f"piece {number}")


def _runs(turn: int, counts: Sequence[int], training: bool) -> Iterator[Run]:
    """What is measured of a piece: inference dense and sparse under each number of threads, training of every other.

    With more threads than one, and in training, each piece takes its turns: they share the time with the first table.
    """
    for index, threads in enumerate(counts):
        if index == 0 or turn % 2 == index % 2:
            yield "dense", threads, False
            yield "sparse", threads, False
        if training and turn % 4 == index % 4:
            yield "dense", threads, True
        if training and turn % 8 == (4 + index) % 8:
            yield "sparse", threads, True


def run_piece(
    number: int,
    variant: str,
    threads: int,
    training: bool,
    reference: Callable[[], object],
    *,
    seconds: float = _ROUND_SECONDS,
) -> dict[str, Any] | None:
    """One piece under one setting, for about `seconds` on the clock.

    None where there is no such variant of it, or no sparse kernels: a sparse layer is a dense one then.
    """
    if variant == "sparse" and not available():
        return None
    drawn = piece(number, norm=training)
    inputs, one = (drawn.input,), threads == 1
    with cpu_threads(threads):
        try:
            module = _prepared(drawn, variant, training)
            if module is None:
                return None
            call = training_call(module.train(), inputs, optimizer=True) if training else forward_call(module, inputs)
            timed = time_in_place(
                call,
                module,
                clock=CpuClock(one_thread=one),
                reference=reference,
                empty_ns=empty_step_ns(),
                seconds=seconds,
                one_thread=one,
            )
        except (RuntimeError, KernelError) as error:
            return {"failed": " ".join(str(error).split())[:200] or type(error).__name__}
    return record_of(timed)


def _prepared(drawn: Piece, variant: str, training: bool) -> nn.Module | None:
    if variant == "sparse":
        return thinned(drawn.module, drawn.input, drawn.number, for_inference=not training)
    return drawn.module if training else fuse(drawn.module, (drawn.input,))
