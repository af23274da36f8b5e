"""Where trials run: what every engine can do, and what a user chooses about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from advisor.cluster import check_address
from advisor.errors import AdvisorError, DeviceError, unknown
from advisor.registry import registered
from validation.running.results import run_name

if TYPE_CHECKING:
    from validation.running.progress import Monitor
    from validation.running.trials import Study

RETRIES = 2
Result = dict[str, Any]  # as in runs[] of a report


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One contestant with one seed, trained up to an epoch.

    Attributes:
        until: epochs to reach, for schedules that judge on the way: the run keeps its checkpoint there and has no
            results file yet; a later task of the same run goes on from it. None: all of the recipe's.
    """

    label: str
    seed: int
    until: int | None = None

    @property
    def name(self) -> str:
        """Of the run and of its files."""
        return run_name(self.label, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Where a validation's runs happen.

    Attributes:
        name: "local" (this machine) or "ray" (a cluster).
        workers: runs at once; None: one on this machine, as many as it has room for on a cluster.
        address: of a Ray cluster to join, "auto" or HOST:PORT; None: one is started on this machine.
        gpus_per_run: what part of a GPU a run takes on a cluster; None: a whole one where runs train on a GPU.
        retries: how often a run may lose its worker without having got further since; after that it is lost.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_run: float | None = None
    retries: int = RETRIES

    def words(self) -> list[tuple[str, Any]]:
        """The options of the command line that ask for this, where it is not the usual."""
        usual = EngineOptions()
        named = (("--engine", "name"), *((f"--{key.replace('_', '-')}", key) for key in _KEYS))
        return [(option, getattr(self, key)) for option, key in named if getattr(self, key) != getattr(usual, key)]


_KEYS = ("workers", "address", "gpus_per_run", "retries")
HERE = EngineOptions()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an engine works on.

    Attributes:
        counts: contestant → `params` and `macs`, for the results.
        monitor: told of every run's progress.
    """

    study: Study
    counts: Mapping[str, Mapping[str, int]]
    monitor: Monitor
    options: EngineOptions = HERE


class Engine(Protocol):
    """Runs tasks. The same trials with the same numbers and the same files, whichever engine."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields each task's result as soon as it is there, in any order.

        A run whose workers died too often yields a result with `accuracy` None, a `problem` and `lost` True; no
        results file is written for it, so that a later call tries it again from its last epoch.

        Raises:
            AdvisorError: what a user can mend; runs that are under way keep their last epoch.
        """
        ...


Opener = Callable[[Job], AbstractContextManager[Engine]]
ENGINES: dict[str, Opener] = {}


def register_engine(name: str) -> Callable[[Opener], Opener]:
    """Puts what opens an engine into the table under `name`."""
    return registered(ENGINES, (name,), "engines")


def check_engine(options: EngineOptions) -> None:
    """Refuses what cannot be before anything long begins.

    Raises:
        AdvisorError: an unknown engine, a cluster's options without one, or a number that makes no sense.
    """
    _load()
    if options.name not in ENGINES:
        raise AdvisorError(unknown("engine", options.name, ENGINES))
    if options.workers is not None and options.workers < 1:
        raise AdvisorError(f"workers={options.workers}, expected 1 or more")
    if options.retries < 0:
        raise AdvisorError(f"retries={options.retries}, expected 0 or more")
    if options.name == "ray":
        if options.gpus_per_run is not None and not 0 <= options.gpus_per_run < float("inf"):
            raise AdvisorError(f"gpus-per-run={options.gpus_per_run}, expected 0 or more, such as 0.25")
        if options.gpus_per_run is not None and options.gpus_per_run > 1 and options.gpus_per_run % 1:
            raise AdvisorError(f"gpus-per-run={options.gpus_per_run}, expected a part of one GPU or a whole number")
        check_address(options.address)
        return
    for option, value in (("--address", options.address), ("--gpus-per-run", options.gpus_per_run)):
        if value is not None:
            raise AdvisorError(f"{option}={value} belongs to --engine ray, got --engine {options.name}; leave it out")


def check_place(options: EngineOptions, device: str) -> str:
    """The device that runs train on, as torch spells it.

    Raises:
        DeviceError: this machine does not have it; of a cluster's machines that shows only there.
    """
    if options.name == "ray":
        if device not in ("cpu", "cuda"):
            raise DeviceError(f"device {device!r} with --engine ray; expected cpu or cuda: Ray gives every run its GPU")
        return device
    from advisor.devices.settings import check_device

    return check_device(device)


def threads_of(options: EngineOptions, asked: int | None) -> int | None:
    """CPU threads of one run; None: as torch is set.

    Several runs at once share the cores. On a cluster one thread is what every machine has, and numbers that depend on
    the threads must not depend on the machine.
    """
    if asked is not None:
        return asked
    if options.name == "ray":
        return 1
    if options.workers is not None and options.workers > 1:
        import torch

        return max(torch.get_num_threads() // options.workers, 1)
    return None


@contextmanager
def open_engine(job: Job) -> Iterator[Engine]:
    """The engine that a job's options name; its workers end with it.

    Raises:
        AdvisorError: see `check_engine`; or the engine cannot be had here.
    """
    check_engine(job.options)
    with ENGINES[job.options.name](job) as engine:
        yield engine


def _load() -> None:
    """Imports every file that registers an engine."""
    from validation.engines import local, on_ray  # noqa: F401
