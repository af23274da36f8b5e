"""The matrix of runs, plans x seeds, on whatever engine."""

from __future__ import annotations

from typing import Any

from validation.engines.engine import Job, Task, open_engine
from validation.running.halving import run_halved
from validation.running.trials import Study


def run_all(job: Job) -> list[dict[str, Any]]:
    """Runs what has no result yet, seed by seed, so that an early stop leaves comparable plans.

    Returns:
        One result per plan and seed, plans in their order, whatever engine ran them and in which order.
    """
    study = job.study
    tasks = [Task(label=one.label, seed=seed) for seed in study.seeds for one in study.contestants]
    steps = study.recipe.epochs * study.recipe.steps(len(study.data.train))
    results = {}
    with open_engine(job) as engine:
        found = engine.run(tasks) if study.halving is None else run_halved(job, engine, study.halving)
        for result in found:
            result.setdefault("stopped", "")
            job.monitor.finished(result, steps)
            results[result["plan"], result["seed"]] = result
    return [results[one.label, seed] for one in study.contestants for seed in study.seeds]


def total_steps(study: Study) -> int:
    """Optimiser steps of the whole matrix."""
    return len(study.seeds) * len(study.contestants) * study.recipe.epochs * study.recipe.steps(len(study.data.train))
