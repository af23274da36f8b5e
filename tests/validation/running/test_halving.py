"""Rungs, decisions and what a stopped plan leaves behind."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import AdvisorError
from validation.engines.engine import Result, Task
from validation.running.halving import ALWAYS, Halving, cut, fix, run_halved, schedule

NINE = tuple(f"p{place}" for place in range(9))


def test_rungs_are_as_late_as_the_number_of_plans_allows() -> None:
    def rungs(plans: int, epochs: int, factor: int) -> tuple[int, ...]:
        return schedule((*ALWAYS, *NINE[:plans]), (0,), epochs=epochs, factor=factor).rungs

    assert rungs(9, 27, 3) == (3, 9, 27)
    assert rungs(3, 27, 3) == (9, 27), "three plans need one decision"
    assert rungs(9, 4, 3) == (1, 4), "no rung lies before the first epoch"
    assert rungs(9, 16, 2) == (1, 2, 4, 8, 16)
    assert rungs(9, 1, 2) == (1,)
    assert rungs(1, 27, 3) == (27,), "nobody to be better than"
    assert rungs(0, 8, 2) == (8,)


def test_dense_and_the_plan_do_not_compete() -> None:
    found = schedule(("dense", "plan", "uniform", "erk"), (0, 1), epochs=4, factor=2)
    assert found.plans == ("uniform", "erk")
    with pytest.raises(AdvisorError, match="halving got 1; expected 2 or more"):
        schedule(("dense", "plan"), (0,), epochs=4, factor=1)


def test_the_better_share_goes_on_rounded_up() -> None:
    halving = Halving(factor=3, rungs=(1, 3, 9), plans=NINE[:4], seeds=(0, 1))
    accuracies = {
        "p0": {0: 0.5, 1: 0.7},
        "p1": {0: 0.9, 1: 0.8},
        "p2": {0: 0.6, 1: 0.9},
        "p3": {0: 0.1, 1: 0.2},
    }
    found = cut(halving, 0, NINE[:4], accuracies)
    assert found.kept == ("p1", "p2")
    assert list(found.stopped) == ["p0", "p3"]
    assert found.stopped["p0"].startswith("after epoch 1 of 9: test accuracy 0.6000, place 3 of 4; the best 2 went on")


def test_plans_are_judged_by_the_seeds_that_all_of_them_finished() -> None:
    halving = Halving(factor=2, rungs=(1, 2), plans=NINE[:3], seeds=(0, 1))
    found = cut(halving, 0, NINE[:3], {"p0": {0: 0.5, 1: 0.1}, "p1": {0: 0.4}, "p2": {}})
    assert found.kept == ("p0", "p1"), "by seed 0 alone; p2 finished nothing"
    assert "no accuracy, place 3 of 3" in found.stopped["p2"]


def test_equal_plans_keep_their_order_and_one_always_goes_on() -> None:
    halving = Halving(factor=4, rungs=(1, 4), plans=NINE[:3], seeds=(0,))
    assert cut(halving, 0, NINE[:3], {one: {0: 0.5} for one in NINE[:3]}).kept == ("p0",)
    assert cut(halving, 0, NINE[:3], {}).kept == ("p0",)


def test_who_takes_part_is_fixed(tmp_path: Path) -> None:
    halving = schedule(("dense", "plan", "a", "b"), (0, 1), epochs=8, factor=2)
    fix(halving, tmp_path)
    fix(halving, tmp_path)
    with pytest.raises(AdvisorError, match=r"seeds=\[0, 1\], got \[0, 1, 2\]; plans and seeds cannot join later"):
        fix(replace(halving, seeds=(0, 1, 2)), tmp_path)


class Pretended:
    """An engine whose plans reach what their number says, a little more each epoch; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        for task in reversed(tasks):  # engines may answer in any order
            self.asked.append((task.label, task.until))
            base = {"dense": 0.9, "plan": 0.1}.get(task.label, 0.0) or int(task.label[1:]) / 10
            problem = "the loss became nan" if task.label == "p0" and task.seed == 1 else ""
            yield {
                "plan": task.label,
                "seed": task.seed,
                "accuracy": None if problem else base + 0.001 * (task.until or 4),
                "loss": None if problem else 1.0,
                "epochs": [],
                "problem": problem,
            }


def test_stopped_plans_have_no_accuracy_and_the_rest_run_to_the_end(tmp_path: Path) -> None:
    from types import SimpleNamespace

    labels = ("dense", "plan", "p0", "p1", "p2", "p3")
    study = SimpleNamespace(
        contestants=[SimpleNamespace(label=label) for label in labels],
        seeds=(0, 1),
        recipe=SimpleNamespace(epochs=4),
        out=tmp_path,
    )
    (tmp_path / "runs").mkdir()
    for label in labels:
        (tmp_path / "runs" / f"{label}-0.pt").write_bytes(b"")
    engine = Pretended()
    paused: list[str] = []
    job: Any = SimpleNamespace(study=study, monitor=SimpleNamespace(pause=paused.append))
    results = {(one["plan"], one["seed"]): one for one in run_halved(job, engine, 2)}
    assert len(results) == 12
    assert len(paused) == 2 * (4 + 2), "nobody is shown at work who waits for the others"
    assert {label for label, until in engine.asked if until is None} == {"dense", "plan", "p3"}
    assert {label for label, until in engine.asked if until == 2} == {"p2", "p3"}
    assert {label for label, until in engine.asked if until == 1} == {"p0", "p1", "p2", "p3"}
    assert results["plan", 0]["accuracy"] == pytest.approx(0.104), "whatever it reached on the way"
    for label in ("p0", "p1", "p2"):
        assert results[label, 0]["accuracy"] is None
        assert results[label, 0]["loss"] is None
    assert results["p1", 1]["stopped"].startswith("after epoch 1 of 4")
    assert results["p2", 1]["stopped"].startswith("after epoch 2 of 4")
    assert results["p0", 1]["stopped"] == "", "a run that failed is no run that was stopped"
    left = sorted(path.name for path in (tmp_path / "runs").glob("*.pt"))
    assert left == ["dense-0.pt", "p3-0.pt", "plan-0.pt"]
    assert json.loads((tmp_path / "halving.json").read_text())["rungs"] == [1, 2, 4]
