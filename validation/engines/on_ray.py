"""The engine "ray": trials on the machines of a Ray cluster, one that is there or one started on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from advisor.cluster import cluster
from advisor.errors import ClusterError
from validation.engines.dispatch import Dispatch
from validation.engines.engine import Engine, Job, register_engine

if TYPE_CHECKING:
    from validation.engines.engine import Task
    from validation.engines.events import Event


@register_engine("ray")
@contextmanager
def on_a_cluster(job: Job) -> Iterator[Engine]:
    """As many runs at once as the cluster has room for, or as `workers` says."""
    threads, workers = job.study.threads_in_force, job.options.workers
    cpus = threads * (workers or max((os.cpu_count() or 1) // threads, 1))
    with cluster(job.options.address, cpus=cpus) as ray:
        crew = Cluster(job, ray)
        try:
            yield Dispatch(job, crew)
        finally:
            crew.close()


class Cluster:
    """A crew of Ray tasks. Files travel through Ray, so the machines need no folder in common.

    A run takes as many CPUs as it has threads, and `gpus_per_run` of a GPU. Ray starts no task again by itself, since
    it would begin at the epoch of the checkpoint that was sent with it; `Dispatch` sends the newest.
    """

    def __init__(self, job: Job, ray: Any) -> None:
        from validation.engines.parcel import pack
        from validation.engines.remote import trial

        self._ray, self._out, self._workers = ray, job.study.out, job.options.workers
        on_gpu = job.study.recipe.device != "cpu"
        gpus = job.options.gpus_per_run if job.options.gpus_per_run is not None else float(on_gpu)
        threads = job.study.threads_in_force
        check_room(ray, cpus=threads, gpus=gpus, ours=job.options.address is None)
        parcel = pack(job)
        digest = hashlib.sha256()
        for name, content in parcel.items():
            digest.update(f"{name}:{len(content)}:".encode() + content)
        self._key, self._parcel = digest.hexdigest(), ray.put(parcel)
        self._trial = ray.remote(trial).options(
            num_cpus=threads, num_gpus=gpus, max_retries=0, num_returns="streaming", name="advisor-trial"
        )
        self._tasks: dict[Any, Task] = {}

    def room(self) -> bool:
        return self._workers is None or len(self._tasks) < self._workers

    def give(self, task: Task) -> None:
        from validation.engines.perform import task_to_json
        from validation.engines.remote import files_of

        files = files_of(self._out, task.name)
        self._tasks[self._trial.remote(self._parcel, self._key, task_to_json(task), files)] = task

    def listen(self) -> tuple[Task | None, Event]:
        from validation.engines.perform import LAST
        from validation.engines.remote import write_files

        (stream,), _ = self._ray.wait(list(self._tasks), num_returns=1)
        task = self._tasks[stream]
        try:
            event: Event = self._ray.get(next(stream))
        except StopIteration:
            event = {"event": "died", "text": "it ended without a result"}
        except self._ray.exceptions.RayTaskError as error:
            event = {"event": "mistake", "text": _first_line(error)}
        except self._ray.exceptions.RayError as error:
            event = {"event": "died", "text": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
        if event["event"] in (*LAST, "died"):
            del self._tasks[stream]
        write_files(event.pop("files", {}), self._out)
        return task, event

    def close(self) -> None:
        """Ends all tasks; a run loses its epoch at most."""
        for stream in self._tasks:
            self._ray.cancel(stream, force=True)


def check_room(ray: Any, *, cpus: int, gpus: float, ours: bool) -> None:
    """Refuses what no machine of the cluster could ever run; Ray would wait for one without a word.

    Args:
        ours: the cluster was started here, so that no machine will join it.

    Raises:
        ClusterError: a run needs more than any machine has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return
    most = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes[:6])
    raise ClusterError(
        f"a run takes {cpus} CPUs (--threads) and {gpus:g} GPUs (--gpus-per-run), "
        f"{'this machine has' if ours else 'the machines of the cluster have'} {most}; ask for less"
    )


def _first_line(error: Exception) -> str:
    """What a task raised before it could tell: most likely this package is not there."""
    cause = getattr(error, "cause", None) or error
    text = " ".join(str(cause).split())[:200]
    hint = "; install the same version on every machine" if isinstance(cause, ImportError) else ""
    return f"{type(cause).__name__}: {text}{hint}"
