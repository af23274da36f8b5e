"""One run after the other in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import torch

from advisor.devices.settings import cpu_threads
from validation.engines.attempts import Attempts, is_out_of_memory
from validation.engines.engine import Job, Result, Task
from validation.running.trials import run_trial


class InTurn:
    """The engine that needs nothing beside this process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._attempts = Attempts(job.options.retries)

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        for task in tasks:
            yield self._until_done(task)

    def _until_done(self, task: Task) -> Result:
        job, counts = self._job, self._job.counts[task.label]
        contestant = next(one for one in job.study.contestants if one.label == task.label)
        while True:
            try:
                with cpu_threads(job.study.threads_in_force):
                    return run_trial(job.study, contestant, task.seed, counts, job.monitor, until=task.until)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = f"out of memory: {' '.join(str(error).split())[:160] or type(error).__name__}"
            # Outside the handler, so that the traceback no longer holds the run's tensors.
            history = job.monitor.of(task.name).drop()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not self._attempts.died(task, len(history)):
                return self._attempts.lost(task, counts, history, reason)
            job.monitor.say(f"{task.name}: {reason}; it goes on from its last epoch")
