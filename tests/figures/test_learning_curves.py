"""Learning curves through their data."""

from typing import Any

import pytest

from advisor.figures import learning_curves_info, learning_curves_plot


def run(plan: str, accuracies: list[float | None], *, problem: str = "", stopped: str = "") -> dict[str, Any]:
    epochs = [{"loss": 2.0 - 0.1 * place, "accuracy": 0.5, "test_accuracy": a} for place, a in enumerate(accuracies)]
    return {"plan": plan, "epochs": epochs, "problem": problem, "stopped": stopped}


REPORT = {
    "runs": [
        run("dense", [0.5, 0.7, 0.9]),
        run("dense", [0.6, 0.8, 0.9]),
        run("plan", [0.4, None, 0.8]),
        run("erk", [0.2], stopped="after epoch 1"),
        run("width", [0.1], problem="the loss became nan"),
        {"plan": "old", "epochs": [{"loss": 1.0, "accuracy": 0.5}], "problem": ""},
    ]
}


def test_means_and_ranges_of_the_runs_that_did_not_fail() -> None:
    dense, plan, erk = learning_curves_info(REPORT).curves
    assert (dense.label, dense.epochs) == ("dense", (1, 2, 3))
    assert dense.mean == pytest.approx((0.55, 0.75, 0.9))
    assert (dense.low, dense.high) == ((0.5, 0.7, 0.9), (0.6, 0.8, 0.9))
    assert plan.epochs == (1, 3), "epochs that nobody tested are left out"
    assert (dense.stopped, plan.stopped, erk.stopped) == (None, None, 1)


def test_the_training_loss_needs_no_test() -> None:
    info = learning_curves_info(REPORT, key="loss")
    assert [curve.label for curve in info.curves] == ["dense", "plan", "erk", "old"]
    assert info.curves[0].mean == pytest.approx((2.0, 1.9, 1.8))


def test_lines_bands_and_crosses_are_drawn() -> None:
    figure = learning_curves_plot(learning_curves_info(REPORT))
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert set(lines) == {"dense", "plan", "erk (stopped)"}
    assert list(lines["dense"].y) == pytest.approx([55.0, 75.0, 90.0])
    assert lines["erk (stopped)"].marker.symbol[-1] == "x"
    assert [trace.name for trace in figure.data if trace.fill == "toself"] == ["dense"], "one run has no range"
    [note] = learning_curves_plot(learning_curves_info({"runs": []})).layout.annotations
    assert "nothing was tested" in note.text
