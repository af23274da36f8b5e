"""Training methods inside a validation: their hooks, what they find, and a run that is cut off in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import advisor
from advisor.errors import AdvisorError
from advisor.network import Network
from advisor.plans.plan import Plan
from validation.methods.method import Method, MethodSettings, Outcome, Run
from validation.methods.registry import METHODS, parse_methods, register_method
from validation.study import Wish, validate


class Shrink(Method):
    """A penalty on all weights, and a diary of which hook was called when."""

    def __init__(self, run: Run, strength: float) -> None:
        self.run, self.strength, self.steps, self.diary = run, strength, 0, ""

    def penalty(self) -> Tensor:
        self.diary += "p"
        return self.strength * sum((p**2).sum() for p in self.run.module.parameters())

    def after_backward(self) -> None:
        assert all(p.grad is not None for p in self.run.module.parameters())
        self.diary += "b"

    def after_step(self) -> None:
        self.steps += 1
        self.diary += "s"

    def after_epoch(self) -> dict[str, float]:
        return {"steps": self.steps, "norm": float(sum((p.detach() ** 2).sum() for p in self.run.module.parameters()))}

    def finish(self) -> Outcome:
        assert self.diary == "pbs" * (len(self.diary) // 3)
        plan = advisor.plan(self.run.network, budgets={"macs": "25%"}, patterns=["channel"])
        seen = sum(len(batch) for batch in self.run.sample(50, 20))
        with torch.no_grad():
            self.run.module.head.weight.zero_()  # the test sees what finish leaves
        return Outcome(plan=plan, numbers={"seen": seen}, files={"trace.txt": b"steps"}, notes=("shrunk",))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    @register_method("shrink", target="dense")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class ShrinkSettings(MethodSettings):
        strength: float = 0.01

        def attach(self, run: Run) -> Method:
            return Shrink(run, self.strength)

    yield
    del METHODS["shrink"]


@pytest.fixture
def wish(spec: str, plan: Plan, tmp_path: Path) -> Wish:
    return Wish(
        model=spec,
        plan=plan,
        out=tmp_path / "out",
        epochs=2,
        seeds=1,
        baselines=(),
        train_size=128,
        test_size=60,
        methods=parse_methods(("shrink", "shrink@plan:strength=0.1")),
    )


def test_methods_join_the_line_up(wish: Wish, network: Network) -> None:
    report = validate(wish, shown=False)
    runs = {run["plan"]: run for run in report["runs"]}
    assert list(runs) == ["dense", "plan", "dense+shrink", "plan+shrink"]
    assert "method" not in runs["dense"]
    shrunk = runs["dense+shrink"]
    assert shrunk["method"]["numbers"] == {"seen": 50}
    assert [epoch["numbers"]["steps"] for epoch in shrunk["epochs"]] == [2, 4]
    assert shrunk["loss"] == pytest.approx(runs["dense"]["loss"] * 0 + 2.3, abs=0.3)  # a head of zeros knows nothing
    found = advisor.load_plan(wish.out / shrunk["method"]["plan"])
    assert shrunk["macs"] < runs["dense"]["macs"]
    assert (wish.out / "found" / "dense+shrink-0" / "trace.txt").read_bytes() == b"steps"
    summary = {item["plan"]: item for item in report["summary"]}
    assert summary["dense+shrink"]["measured"]["macs"] == shrunk["macs"]
    assert summary["dense+shrink"]["way"].endswith("trained with shrink")
    assert found.masks(network.module).keys() == {layer.name for layer in found.layers}
    assert any("shrunk" in note for note in report["notes"])
    responses = json.loads((wish.out / "responses.json").read_text())
    assert len(responses["runs"]) == 2  # a method's gain teaches nothing about layers


def test_a_run_that_was_cut_off_goes_on_with_its_method(
    wish: Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validate(wish, shown=False)
    from dataclasses import replace

    again = replace(wish, out=tmp_path / "again")
    steps = Shrink.after_step

    def stop(self: Shrink) -> None:
        steps(self)
        if self.steps == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Shrink, "after_step", stop)
    with pytest.raises(KeyboardInterrupt):
        validate(again, shown=False)
    monkeypatch.setattr(Shrink, "after_step", steps)
    resumed = validate(again, shown=False)
    numbers = [(run["plan"], run["loss"], run["method"]["numbers"]) for run in whole["runs"] if "method" in run]
    assert numbers == [
        (run["plan"], run["loss"], run["method"]["numbers"]) for run in resumed["runs"] if "method" in run
    ]
    epochs = [[epoch["numbers"] for epoch in run["epochs"]] for run in whole["runs"]]
    assert epochs == [[epoch["numbers"] for epoch in run["epochs"]] for run in resumed["runs"]]


def test_what_cannot_be_attached_is_refused_before_anything_trains(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    import validation.study

    monkeypatch.setattr(validation.study, "run_all", lambda job: pytest.fail("it trained"))
    for text, said in (
        ("rigl@dense:every=1", "write rigl@plan"),
        ("rigl", "would ever move"),
        ("set:drop=2", "drop=2"),
    ):
        with pytest.raises(AdvisorError, match=said):
            validate(replace(wish, methods=parse_methods((text,))), shown=False)
