"""`advisor profile --suite --device cuda`: this GPU's own profile, from which any network's latency can be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.cuda.clocks import clock_notes, clock_state
from advisor.devices.cuda.forms import checked_number, dtype_name
from advisor.devices.cuda.run import GpuOptions, GpuRun
from advisor.devices.cuda.suite.ceilings import measured_facts
from advisor.devices.cuda.suite.pieces import gpu_piece, layers_of, thinner
from advisor.devices.cuda.suite.records import (
    layer_key,
    layer_record,
    layers_measured,
    piece_key,
    piece_record,
    pieces_of,
)
from advisor.devices.cuda.suite.timing import time_layer, time_piece
from advisor.devices.gpu.files import write_compact
from advisor.devices.gpu.own_fit import own_profile
from advisor.devices.measuring.journal import Header, Journal
from advisor.devices.measuring.measure import check_out
from advisor.devices.measuring.progress import Hook, Progress, interruptible
from advisor.devices.settings import Settings, check_device, this_machine
from advisor.errors import DeviceError, ProfileError

if TYPE_CHECKING:
    from advisor.devices.cuda.clocks import ClockState
    from advisor.devices.cuda.suite.pieces import GpuPiece
    from advisor.runtime.execution import Execution

SECONDS = 300.0
_PIECES = 1000  # more than any budget reaches
_FEWEST = 40  # pieces that a profile needs; the budget waits for them
_LAYERS_EACH = 3  # layers of a piece that are timed alone, those not met before
_SPARSE_EVERY = 5  # pieces: tiles are tried for each, which takes seconds
_DTYPES = {"fp32": "float32", "tf32": "tf32", "fp16": "float16", "bf16": "bfloat16"}  # as coefficients call them
_SOURCE = (
    "pieces of networks and their layers, drawn from a seed, ran on this GPU: pieces launched one by one and from CUDA "
    "graphs, layers from graphs; coefficients and trees were fitted to them"
)


def measure_gpu_suite(
    *,
    device: str = "cuda",
    gpu: GpuOptions | None = None,
    budget_seconds: float = SECONDS,
    out: str | Path,
    progress: bool = True,
    callback: Hook | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Measures the suite on a GPU, fits its model and writes the profile.

    Args:
        device: "cuda[:i]".
        gpu: the form to run in; plain float32 without TF32 where it names no number format.
        budget_seconds: for measuring; fitting takes about half a minute more.
        out: where to write the profile; `<out>.partial` keeps what is measured until then, and a later call goes on
            from it.
        progress: a bar on standard error.
        callback: called with (done, total, seconds left or None, text) after every piece.
        started: when the caller's work began (`time.perf_counter`).

    Returns:
        The profile's document.

    Raises:
        DeviceError: no such device, a number format that it does not compute in, or an option that a suite has not.
        ProfileError: no time, a place that cannot be written, or too few pieces that ran.
    """
    check_device(device)
    if not budget_seconds > 0:
        raise ProfileError(f"budget_seconds={budget_seconds}; expected more than 0")
    options = gpu or GpuOptions()
    if options.flush_l2 or options.cuda_graphs:
        name = "--flush-l2" if options.flush_l2 else "--cuda-graphs"
        raise DeviceError(f"--suite with {name}: the suite times from graphs and without, on warm caches; leave it out")
    options = replace(options, number=checked_number(options.number or "fp32"))
    check_out(Path(out))
    began = time.perf_counter() if started is None else started
    number = checked_number(options.number)
    settings = Settings(
        device="cuda",
        batch=0,
        threads=1,
        dtype=dtype_name(number),
        training=False,
        number=number,
        channels_last=options.channels_last,
    )
    machine = this_machine(device)
    header = Header(
        network="suite",
        network_hash="of a GPU",
        settings=asdict(settings),
        machine=asdict(machine),
        reference="large products and copies",
    )
    kept = Path(f"{out}.partial")
    before = clock_state(device)
    with Journal(kept, header) as journal, interruptible(kept, journal) as check, GpuRun(options, device) as form:
        facts = measured_facts(device, before)
        left = budget_seconds - sum(float(record["seconds"]) for record in journal.records)
        bar = Progress(100, shown=progress, hook=callback)
        _spend(form, device, _Taker(journal, check, began), began, began + max(left, 0.0), bar)
        pieces = pieces_of(journal.records)
        if len(pieces) < _FEWEST // 2:
            failed = next((r["failed"] for r in journal.records if "failed" in r), "none failed")
            raise ProfileError(f"{len(pieces)} pieces ran, a profile needs {_FEWEST // 2}; the first failure: {failed}")
        made = own_profile(
            Path(out).stem,
            facts,
            _DTYPES[number],
            pieces,
            layers_measured(journal.records),
            settings=settings,
            machine=machine,
            source=_SOURCE,
            notes=_notes(journal.records, before, device),
        )
        write_compact(out, made)
        journal.remove()
    return made


def _notes(records: list[dict[str, Any]], before: ClockState | None, device: str) -> list[str]:
    after = clock_state(device)
    state = [f"clocks: {before.text} before, {after.text} after"] if before and after else []
    failed = [f"{r['key']} did not run here: {r['failed']}" for r in records if "failed" in r]
    return [*state, *clock_notes(before, after), *failed[:10]]


class _Taker:
    """Takes measurements into a journal, one after the other, but for those that it holds."""

    def __init__(self, journal: Journal, check: Callable[[], None], began: float) -> None:
        self._journal, self._check, self._mark = journal, check, began
        self.held = {record["key"] for record in journal.records}

    def take(self, key: str, work: Callable[[], dict[str, Any]]) -> None:
        """Runs `work` and keeps what it found, or why it does not run."""
        if key in self.held:
            return
        self.held.add(key)
        self._check()
        try:
            found = work()
        except Exception as error:  # a compiler's or a library's own: one layer must not end the suite
            found = {"failed": " ".join(str(error).split())[:200] or type(error).__name__}
        now = time.perf_counter()
        self._journal.append({"key": key, **found, "seconds": now - self._mark})
        self._mark = now


def _spend(form: GpuRun, device: str, taker: _Taker, began: float, deadline: float, bar: Progress) -> None:
    """Piece after piece, and after each some of its layers, until the time is spent."""
    with bar:
        for number in range(_PIECES):
            if number >= _FEWEST and time.perf_counter() >= deadline:
                break
            drawn = gpu_piece(number)
            taker.take(piece_key(number), partial(_piece, drawn, form, device))
            for execution in _to_time(drawn, taker.held):
                taker.take(layer_key(execution), partial(_layer, execution, form, device))
            bar.spend(began, deadline, f"piece {number}")


def _piece(drawn: GpuPiece, form: GpuRun, device: str) -> dict[str, Any]:
    return piece_record(drawn, time_piece(drawn, form, device))


def _layer(execution: Execution, form: GpuRun, device: str) -> dict[str, Any]:
    return layer_record(execution, time_layer(execution, form, device))


def _to_time(drawn: GpuPiece, held: set[str]) -> list[Execution]:
    """A few layers of a piece that were not met before, and now and then one of them thinned out."""
    dense = layers_of(drawn)
    fresh = [e for e in dense if layer_key(e) not in held][:_LAYERS_EACH]
    if drawn.number % _SPARSE_EVERY == 0:
        thin = ((e, thinner(e, drawn.number)) for e in dense)
        both = next(((e, t) for e, t in thin if t is not None), ())
        fresh += [e for e in both if e not in fresh]  # a thinned one says something beside its dense one
    return fresh
