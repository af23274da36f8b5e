"""Rounds of training, by a teacher whose losses are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from advisor.errors import BudgetError, PlanError
from advisor.network import Network
from advisor.patterns.option import Option
from advisor.planning.baselines import baselines
from advisor.planning.sensitivity.trained_data import Responses, Run, shapes_of
from advisor.plans.plan import Plan, load_plan
from advisor.refining.training import learn

ASKED: dict[str, object] = {"budgets": {"macs": "40%"}, "patterns": ("channel",)}


class Teacher:
    """Trains nothing: the loss rises with what each layer gives up, most of all in one layer that ERK thins out."""

    def __init__(self, network: Network, folder: Path, *, interrupted_at: int | None = None) -> None:
        self.network, self.path, self.interrupted_at = network, folder / "responses.json", interrupted_at
        self.plans: list[Plan] = []
        self.known = Responses(network=shapes_of(network), settings={"s": {"epochs": 1}})

    def loss(self, options: Mapping[str, Option]) -> float:
        return 0.5 + sum((1.0 if name == "features.12" else 0.02) * (1 - o.density) for name, o in options.items())

    def __call__(self, plan: Plan, number: int) -> Path:
        if number == self.interrupted_at:
            raise KeyboardInterrupt
        self.plans.append(plan)
        asked = {"dense": {}, f"plan {number}": options_of(plan)}
        others = baselines(self.network, plan, kinds=("uniform", "erk"))
        asked |= {f"{kind} {number}": options_of(one) for kind, one in others.items()}
        runs = tuple(
            Run(plan=key, settings="s", seed=seed, loss=self.loss(options) + 0.002 * seed, accuracy=0.5)
            for key, options in asked.items()
            for seed in range(2)
        )
        self.known = self.known.joined(
            Responses(network=self.known.network, settings=self.known.settings, plans=asked, runs=runs)
        )
        self.known.save(self.path)
        return self.path


def options_of(plan: Plan) -> dict[str, Option]:
    return {layer.name: layer.option for layer in plan.layers if layer.pattern != "dense"}


def test_what_was_learnt_makes_the_next_plan_better(digits: Network, tmp_path: Path) -> None:
    teacher = Teacher(digits, tmp_path)
    told: list[str] = []
    found = learn(digits, rounds=4, train=teacher, report=told.append, **ASKED)
    losses = [teacher.loss(options_of(plan)) for plan in teacher.plans]
    assert len(losses) > 1
    assert min(losses[1:]) < losses[0]
    assert teacher.loss(options_of(found.plan)) == min(losses)
    assert found.responses == teacher.path
    assert teacher.plans[0].sensitivity == "erk"
    assert {plan.sensitivity for plan in teacher.plans[1:]} == {"trained"}
    assert len(told) == len(found.plan.rounds) == len(losses)
    (kept,) = [line for line in found.plan.rounds if line.kept]
    assert kept.measured == pytest.approx(min(losses) - 0.5)
    assert kept.dense == pytest.approx(0.501)
    assert kept.budget is None
    assert "round 1: loss predicted" in told[0]
    found.plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json").rounds == found.plan.rounds


def test_it_ends_when_the_plan_comes_back(digits: Network, tmp_path: Path) -> None:
    teacher = Teacher(digits, tmp_path)
    found = learn(digits, rounds=20, train=teacher, **ASKED)
    assert len(teacher.plans) < 20
    assert "rounds of training ended early: the next plan is one that was trained already" in found.plan.notes


def test_ctrl_c_keeps_the_best_plan_so_far(digits: Network, tmp_path: Path) -> None:
    found = learn(digits, rounds=4, train=Teacher(digits, tmp_path, interrupted_at=2), **ASKED)
    assert len(found.plan.rounds) == 1
    assert "rounds of training ended early: interrupted in round 2" in found.plan.notes
    with pytest.raises(KeyboardInterrupt):
        learn(digits, rounds=4, train=Teacher(digits, tmp_path, interrupted_at=1), **ASKED)


def test_mistakes_are_one_line(digits: Network, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="rounds=0; expected a whole number of 1 or more"):
        learn(digits, rounds=0, train=Teacher(digits, tmp_path), **ASKED)

    def lazy(plan: Plan, number: int) -> Path:
        path = tmp_path / "empty.json"
        Responses(network=shapes_of(digits)).save(path)
        return path

    with pytest.raises(PlanError, match="round 1: no run of this plan and of the dense network"):
        learn(digits, rounds=2, train=lazy, **ASKED)
