"""Which tiling runs a shape fastest on this CPU: measured at first use, remembered on disk."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Literal

from advisor.runtime.native import tuning
from advisor.runtime.native.job import Job
from advisor.runtime.native.tuning import Kernel, Layout, Tuning

Kind = Literal["forward", "grad_input", "grad_weight"]
VERSION = 3  # of the kernels' speed: what older ones measured is measured anew
_SHAPE = (
    *("kept", "images", "in_channels", "in_h", "in_w", "out_channels", "out_h", "out_w", "taps_h", "taps_w"),
    *("stride_h", "stride_w", "first_h", "first_w", "step_h", "step_w", "block", "threads"),
)
_REPEATS = 4
_ENOUGH_SECONDS = 0.02  # of one tiling
_WORTH_SECONDS, _WORTH_CALLS = 0.25, 12  # of one shape: the longer of so much time and of so many calls
_HOPELESS = 1.6  # a first run so much slower than the best so far is not repeated
_lock = threading.Lock()


def _fresh_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)  # another thread may have been measuring just then
_known: dict[str, Tuning] = {}
_stored: dict[str, list[Tuning]] = {}  # read from the file, in its order


def choose(kind: Kind, job: Job, isa: int, run: Callable[[], int]) -> Tuning:
    """The tiling for a job.

    At the first use of a shape the candidates are timed on the job itself (its output is written over and over), and
    the fastest is kept in memory and in the file of `cache_file`. ADVISOR_TUNING=off takes the choice by rule instead.

    Tilings differ in the order of sums, so processes that share a file agree: of several choices for one job the first
    in the file counts, also for those who wrote the others. A training that is killed and goes on in another process
    thus computes the same bits, whoever measured at the same time.
    """
    key = _key(kind, job, isa)
    found = _known.get(key)
    if found is None:
        if _is_off() or job.images * job.out_h * job.out_w == 0 or job.kept == 0:
            return _by_rule(kind, job, isa)
        with _lock:
            _read_file()
            found = _known.get(key)
            if found is None:
                allowed = _every(kind, job, isa)
                found = _first(key, allowed)
                if found is None:
                    own = _fastest(kind, job, isa, run)
                    _append(key, own)
                    _read_again()
                    found = _first(key, allowed) or own
            _known[key] = found
    return found


def _first(key: str, allowed: set[Tuning]) -> Tuning | None:
    """The first choice in the file that could be made here: what another version wrote may not even be compiled."""
    return next((one for one in _stored.get(key, ()) if one in allowed), None)


def forget() -> None:
    """Empties the memory (not the file): the next use of each shape reads or measures again."""
    with _lock:
        _known.clear()
        _stored.clear()
        _read.cache_clear()


def cache_file() -> Path | None:
    """Where choices are kept: one JSON object a line, for one CPU model; None with ADVISOR_TUNING_CACHE=off."""
    given = os.environ.get("ADVISOR_TUNING_CACHE")
    if given == "off":
        return None
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparsity-advisor" / "tuning.jsonl"


def _is_off() -> bool:
    return os.environ.get("ADVISOR_TUNING") == "off"


def _candidates(kind: Kind, job: Job, isa: int) -> Iterator[Tuning]:
    if kind == "grad_weight":
        return tuning.gradient_candidates(job, isa)
    return tuning.candidates(_as_tiled(kind, job), isa)


def _as_tiled(kind: Kind, job: Job) -> Job:
    """The convolution whose tiles run: to the gradient of the input, the reversed one."""
    return tuning.reversed_job(job) if kind == "grad_input" else job


def _every(kind: Kind, job: Job, isa: int) -> set[Tuning]:
    """All that may be chosen for a job."""
    tiles = set(_candidates(kind, job, isa))
    if kind == "grad_weight":
        return tiles
    like = _as_tiled(kind, job)
    finer = {t for tile in tiles for t in tuning.refinements(like, tile)}
    return tiles | finer | {t for tile in finer for t in tuning.refinements(like, tile)}


def _by_rule(kind: Kind, job: Job, isa: int) -> Tuning:
    return next(_candidates(kind, job, isa))


def _fastest(kind: Kind, job: Job, isa: int, run: Callable[[], int]) -> Tuning:
    """Tiles first, then what else can be chosen about the best one."""
    best = _best_of(_candidates(kind, job, isa), None, job, run)
    if best is None:
        return _by_rule(kind, job, isa)
    if kind != "grad_weight":
        best = _best_of(tuning.refinements(_as_tiled(kind, job), best[1]), best, job, run) or best
    return best[1]


def _best_of(
    tilings: Iterable[Tuning], best: tuple[float, Tuning] | None, job: Job, run: Callable[[], int]
) -> tuple[float, Tuning] | None:
    """(seconds, tiling) of the fastest, `best` among them, within the time that the shape is worth.

    Large work needs few repeats, and its likeliest tilings come first: training a large network must not wait minutes.
    """
    spent = 0.0
    for tiling in tilings:
        if best is not None and spent > max(_WORTH_SECONDS, _WORTH_CALLS * best[0]):
            break
        tiling.put(job)
        first = _time(run, job.threads)
        if first is None:
            continue
        times = [first]
        while len(times) < _REPEATS and sum(times) < _ENOUGH_SECONDS and (best is None or first < _HOPELESS * best[0]):
            times.append(_time(run, job.threads) or first)
        spent += sum(times)
        if best is None or min(times) < best[0]:
            best = min(times), tiling
    return best


def _time(run: Callable[[], int], job_threads: int) -> float | None:
    # With one thread, what other processes take away does not count.
    clock = time.thread_time if job_threads == 1 else time.perf_counter
    start = clock()
    status = run()
    return None if status else clock() - start


def _key(kind: Kind, job: Job, isa: int) -> str:
    read = _as_tiled(kind, job)
    order = "last" if read.x_channel == 1 and read.in_channels > 1 else "first" if read.x_col == 1 else "other"
    if order == "first" and read.x_row != read.in_w:
        order = "gaps"  # part of a wider map: what reads whole planes in place cannot run
    sizes = ",".join(str(getattr(job, name)) for name in _SHAPE)
    return f"{VERSION} {cpu()} {isa} {kind} {order} {sizes}"


@cache
def cpu() -> str:
    """The CPU's model, as its maker names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            fields = [line.partition(":") for line in file]
        found = {name.strip(): value.strip() for name, _, value in reversed(fields)}
        known = ("model name", "cpu family", "model", "CPU implementer", "CPU part")
        return " ".join(found[k] for k in known if k in found) or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def _read_file() -> None:
    path = cache_file()
    if path is not None:
        _read(path)


def _read_again() -> None:
    """Also what others wrote since."""
    _read.cache_clear()
    _stored.clear()
    _read_file()


@cache
def _read(path: Path) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        try:
            entry = json.loads(line)
            values = entry["tuning"]
            if all(isinstance(value, int) for value in values.values()):
                found = Tuning(**{**values, "layout": Layout(values["layout"]), "kernel": Kernel(values["kernel"])})
                _stored.setdefault(str(entry["key"]), []).append(found)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # half a line of a killed process, or another version's: measured anew


def _append(key: str, found: Tuning) -> None:
    path = cache_file()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "tuning": asdict(found)}) + "\n")
    except OSError:
        pass  # a read-only home: the choice lives as long as the process
