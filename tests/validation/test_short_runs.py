"""Short runs from beginning to end: halving, curves, costs of training, p values, and options that are remembered."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import AdvisorError
from advisor.plans.plan import Plan
from validation.running.progress import Monitor
from validation.study import Wish, validate
from validation.training.recipe import Recipe


@pytest.fixture
def wish(spec: str, plan: Plan, tmp_path: Path) -> Wish:
    plan.save(tmp_path / "plan.json")
    return Wish(
        model=spec,
        plan=plan,
        plan_path=str(tmp_path / "plan.json"),
        out=tmp_path / "out",
        epochs=2,
        seeds=2,
        baselines=("uniform", "width"),
        train_size=96,
        test_size=60,
        recipe=Recipe(batch=16),
        halving=2,
    )


@pytest.fixture(autouse=True)
def no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.study._time", lambda *_: (None, ()))


def numbers(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs without what clocks and gauges said."""
    measured = ("seconds", "test_seconds", "step_ms", "peak_bytes")
    return [
        {key: value for key, value in run.items() if key not in measured}
        | {"epochs": [{k: v for k, v in epoch.items() if k not in measured} for epoch in run["epochs"]]}
        for run in report["runs"]
    ]


def test_halving_stops_the_worse_baseline_and_says_so(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    report = validate(wish, shown=False)
    summary = {item["plan"]: item for item in report["summary"]}
    [stopped] = [label for label, item in summary.items() if item["stopped"]]
    assert stopped in ("uniform", "width")
    [other] = {"uniform", "width"} - {stopped}
    at_rung = {
        label: [run["epochs"][0]["test_accuracy"] for run in report["runs"] if run["plan"] == label]
        for label in (stopped, other)
    }
    assert sum(at_rung[other]) >= sum(at_rung[stopped])
    for run in report["runs"]:
        if run["plan"] == stopped:
            assert run["stopped"].startswith("after epoch 1 of 2: test accuracy")
            assert (run["accuracy"], run["loss"], len(run["epochs"]), run["problem"]) == (None, None, 1, "")
        else:
            assert (run["stopped"], len(run["epochs"])) == ("", 2)
            assert run["accuracy"] == run["epochs"][-1]["test_accuracy"], "tested once, not twice"
    item = summary[stopped]
    assert (item["mean"], item["seeds"], item["failed"], item["difference_to_dense"]) == (None, 0, 0, None)
    assert stopped not in report["verdict"]["text"]
    assert any(note.startswith(f"{stopped} was stopped after epoch 1 of 2") for note in report["notes"])
    assert report["settings"]["halving"] == 2
    page = (wish.out / "report.html").read_text()
    assert "stopped after epoch 1 of 2" in page
    assert 'id="curves-test_accuracy"' in page
    progress = json.loads((wish.out / "progress.json").read_text())
    assert (progress["state"], progress["done"], len(progress["finished"])) == ("done", progress["total"], 8)

    monkeypatch.setattr("validation.running.trials.Trainer", None)
    assert numbers(validate(wish, shown=False)) == numbers(report), "a rerun decides the same and trains nothing"
    with pytest.raises(AdvisorError, match=r"seeds=\[0, 1\], got \[0, 1, 2\].*cannot join later"):
        validate(replace(wish, seeds=3), shown=False)
    with pytest.raises(AdvisorError, match="halving=2, got None"):
        validate(replace(wish, halving=None), shown=False)


@pytest.mark.parametrize("steps", [3, 20])
def test_halving_goes_on_where_it_was_interrupted(steps: int, wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the first rung (two runs of six steps), and after its decision."""
    one = replace(wish, seeds=1)
    whole = validate(replace(one, out=wish.out.with_name("whole")), shown=False)
    step, taken = Monitor.step, 0

    def pressed(self: Monitor, count: int = 1) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            raise KeyboardInterrupt
        step(self, count)

    monkeypatch.setattr(Monitor, "step", pressed)
    with pytest.raises(KeyboardInterrupt):
        validate(one, shown=False)
    assert numbers(validate(one, shown=False)) == numbers(whole)


def test_costs_of_training_and_tests_of_differences_are_reported(wish: Wish) -> None:
    report = validate(replace(wish, halving=None, baselines=("uniform",)), shown=False)
    for run in report["runs"]:
        assert run["step_ms"] > 0
        assert run["peak_bytes"] is None or run["peak_bytes"] > 10 << 20
        assert all(epoch["test_seconds"] > 0 for epoch in run["epochs"])
    by_plan = {item["plan"]: item for item in report["summary"]}
    steps = sorted(run["step_ms"] for run in report["runs"] if run["plan"] == "plan")
    assert by_plan["plan"]["measured"]["training_step_ms"] == pytest.approx(sum(steps) / 2)
    for label, reference in (("plan", "dense"), ("uniform", "dense"), ("uniform", "plan"), ("dense", "plan")):
        found = by_plan[label][f"difference_to_{reference}"]
        assert found["low"] <= found["mean"] <= found["high"]
        assert 0 <= found["p"] <= found["p_holm"] <= 1
        assert (found["low"] <= 0 <= found["high"]) == (found["p"] >= 0.05), "the interval and the test agree"
    assert by_plan["dense"]["difference_to_dense"] is None
    assert report["rates"] is None


def test_without_curves_the_numbers_are_the_same(wish: Wish) -> None:
    plain = replace(wish, halving=None, baselines=(), seeds=1)
    curves = validate(plain, shown=False)
    without = validate(
        replace(plain, out=wish.out.with_name("without"), recipe=replace(wish.recipe, curves=False)), shown=False
    )
    for one, other in zip(curves["runs"], without["runs"], strict=True):
        assert (one["accuracy"], one["loss"]) == (other["accuracy"], other["loss"])
        assert [epoch["loss"] for epoch in one["epochs"]] == [epoch["loss"] for epoch in other["epochs"]]
        assert all(epoch["test_accuracy"] is None for epoch in other["epochs"])
    page = (wish.out.with_name("without") / "report.html").read_text()
    assert 'id="curves-test_accuracy"' not in page
    assert 'id="curves-loss"' in page


def test_what_changes_the_numbers_may_not_be_mixed(wish: Wish) -> None:
    pytest.importorskip("tensorboard")
    plain = replace(wish, halving=None, baselines=(), seeds=1, epochs=1, rate="auto", tensorboard=True)
    report = validate(plain, shown=False)
    assert report["settings"]["rate"] == "auto"
    assert report["settings"]["peak_rate"] == report["rates"]["peak"]
    assert 'id="rates"' in (wish.out / "report.html").read_text()
    assert sorted(place.name for place in (wish.out / "tensorboard").iterdir()) == ["dense-0", "plan-0"]
    for changed, told in (
        (replace(plain, recipe=replace(wish.recipe, amp="bf16")), "amp=none, got bf16"),
        (replace(plain, recipe=replace(wish.recipe, channels_last=False)), "channels_last=True, got False"),
        (replace(plain, rate="0.5"), "got 0.5"),
    ):
        with pytest.raises(AdvisorError, match=told):
            validate(changed, shown=False)
    with pytest.raises(AdvisorError, match="float16 trains on CUDA alone"):
        validate(replace(plain, recipe=Recipe(amp="fp16")), shown=False)


def test_the_command_repeats_every_choice(wish: Wish) -> None:
    from validation.command import validate as command

    asked = replace(
        wish,
        rate="0.003",
        tensorboard=True,
        recipe=Recipe(amp="bf16", channels_last=False, compile=True, curves=False, l2=0.5),
    )
    words = shlex.split(asked.command)
    assert words[:2] == ["advisor", "validate"]
    given = command.make_context("validate", words[2:]).params
    assert (given["rate"], given["halving"], given["tensorboard"]) == ("0.003", 2, True)
    assert (given["amp"], given["channels_last"], given["compiled"], given["curves"]) == ("bf16", False, True, False)
    assert given["l2"] == 0.5
    usual = command.make_context("validate", shlex.split(replace(wish, halving=None).command)[2:]).params
    assert (usual["rate"], usual["halving"], usual["amp"], usual["curves"]) == ("fixed", None, "none", True)
