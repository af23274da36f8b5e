"""The whole way: kills, reruns, refusals, and the report that comes out."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.cli import run
from advisor.devices.predicting.choice import count_methods
from advisor.errors import AdvisorError
from advisor.network import Network
from advisor.plans.plan import Plan
from advisor.runtime.methods import kernels
from validation.reporting.receipts import Timings
from validation.running.folder import alone
from validation.study import Wish, _time, validate

# Dies in the middle of an epoch, with one run finished and one epoch of the next on disk.
KILLED = """
import os, signal, sys, torch
from advisor.cli import run
from validation.running.progress import Monitor

torch.set_num_threads(1)
steps, step = 0, Monitor.step

def counting(self, count=1):
    global steps
    steps += 1
    if steps == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, count)

Monitor.step = counting
run(sys.argv[2:])
"""


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
        baselines=("uniform",),
        train_size=128,
        test_size=60,
    )


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    import validation.study

    whole = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: whole(*a, **k, seconds=0.05))


def without_times(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs, but what a clock and the memory gauge said."""
    return [
        {key: value for key, value in one.items() if key not in ("seconds", "epochs", "step_ms", "peak_bytes")}
        | {"losses": [(e["loss"], e["accuracy"], e["test_loss"], e["test_accuracy"]) for e in one["epochs"]]}
        for one in report["runs"]
    ]


def test_killed_at_any_moment_it_goes_on_to_the_same_numbers(wish: Wish, tmp_path: Path) -> None:
    whole = validate(wish, shown=False)
    arguments = ["validate", wish.model, "--plan", wish.plan_path, "--epochs", "2", "--baselines", "uniform"]
    arguments += ["--train-size", "128", "--test-size", "60", "--threads", "1", "--out", str(tmp_path / "killed")]
    # Four steps a run: the seventh is in the second run's second epoch.
    died = subprocess.run([sys.executable, "-c", KILLED, "7", *arguments], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = sorted(path.name for path in (tmp_path / "killed" / "runs").iterdir() if not path.name.startswith("."))
    assert left == ["dense-0.json", "plan-0.pt"]
    again = validate(replace(wish, out=tmp_path / "killed"), shown=False)
    assert without_times(again) == without_times(whole)
    assert not list((tmp_path / "killed" / "runs").glob("*.pt"))


def test_the_report_keeps_the_contract(wish: Wish) -> None:
    report = validate(wish, shown=False)
    assert json.loads((wish.out / "report.json").read_text()) == report
    assert [(one["plan"], one["seed"]) for one in report["runs"]] == [
        (plan, seed) for plan in ("dense", "plan", "uniform") for seed in (0, 1)
    ]
    for one in report["runs"]:
        assert {"plan", "seed", "accuracy", "loss", "seconds", "params", "macs"} <= one.keys()
        assert 0 <= one["accuracy"] <= 1
        assert one["seconds"] > 0
    by_plan = {item["plan"]: item for item in report["summary"]}
    assert list(by_plan) == ["dense", "plan", "uniform"]
    for label, item in by_plan.items():
        low, high = item["confidence_interval"]
        accuracies = [one["accuracy"] for one in report["runs"] if one["plan"] == label]
        assert item["mean"] == pytest.approx(sum(accuracies) / 2)
        assert low <= item["mean"] <= high
        assert item["measured"]["latency"] > 0
        for key in ("params", "macs"):
            assert item["predicted"][key] == item["measured"][key], "counted in the module as promised by the plan"
    assert by_plan["plan"]["measured"]["macs"] < 0.4 * by_plan["dense"]["measured"]["macs"]
    assert set(by_plan["plan"]["methods"].values()) == ({"dense", "direct"} if kernels() else {"dense"})
    executed = by_plan["plan"]["measured"]["executed_macs"]
    if kernels():
        assert executed < by_plan["dense"]["measured"]["macs"], "zeros are not multiplied, and it is said how"
    else:
        assert executed == by_plan["dense"]["measured"]["macs"], "masked, and said so"
    ways = ", ".join(f"{n} {method}" for method, n in count_methods(by_plan["plan"]["methods"]).items())
    assert f">{ways}</td>" in (wish.out / "report.html").read_text()
    assert "exchange" in report
    progress = json.loads((wish.out / "progress.json").read_text())
    assert (progress["state"], progress["done"]) == ("done", progress["total"])
    assert len(progress["finished"]) == 6


class Loads(HTMLParser):
    """Collects every address that a browser would load for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "poster")]


def test_the_page_needs_nothing_beside_itself(wish: Wish) -> None:
    validate(replace(wish, epochs=1, seeds=1), shown=False)
    page = (wish.out / "report.html").read_text()
    loads = Loads()
    loads.feed(page)
    assert loads.found == ["data:,"], "an empty icon, so that no server is asked for one"
    assert page.count("* plotly.js v") == 1, "the script once"
    for figure in ("accuracy-params", "accuracy-macs", "accuracy-latency", "receipt-macs", "densities-plan"):
        assert f'id="{figure}"' in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert "advisor validate" in page
    assert "cannot tell apart from one seed" in page


@pytest.mark.parametrize(
    ("waited", "told"), [(0.2, ["other processes had the core for 20% of the timing"]), (0.01, [])]
)
def test_a_busy_machine_is_told(
    waited: float, told: list[str], wish: Wish, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = Timings(by_plan={}, settings="", waited=waited)
    monkeypatch.setattr("validation.study.time_all", lambda *_, **__: timings)
    found, notes = _time(wish, network, ())
    assert found is timings
    assert [note.partition(";")[0] for note in notes] == told


def test_a_rerun_trains_nothing_anew(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    first = validate(wish, shown=False)
    monkeypatch.setattr("validation.running.trials.Trainer", None)
    assert without_times(validate(wish, shown=False)) == without_times(first)


def test_more_seeds_and_baselines_may_join_but_nothing_else_may_change(wish: Wish, plan: Plan) -> None:
    validate(replace(wish, seeds=1, baselines=()), shown=False)
    more = validate(wish, shown=False)
    assert len(more["runs"]) == 6
    with pytest.raises(AdvisorError, match=r"epochs=2, got 1.*--restart"):
        validate(replace(wish, epochs=1), shown=False)
    with pytest.raises(AdvisorError, match="train_size=128"):
        validate(replace(wish, train_size=64), shown=False)
    other = replace(plan, layers=tuple(replace(layer, seed=layer.seed + 1) for layer in plan.layers))
    with pytest.raises(AdvisorError, match="plan 'plan'"):
        validate(replace(wish, plan=other), shown=False)
    assert len(validate(replace(wish, epochs=1, seeds=1, restart=True), shown=False)["runs"]) == 3


def test_two_at_once_are_refused(wish: Wish) -> None:
    with alone(wish.out), pytest.raises(AdvisorError, match="another validation"):
        validate(wish, shown=False)


def test_a_damaged_checkpoint_says_what_to_do(wish: Wish) -> None:
    validate(replace(wish, seeds=1), shown=False)
    (wish.out / "runs" / "plan-0.json").unlink()
    (wish.out / "runs" / "plan-0.pt").write_bytes(b"half")
    with pytest.raises(AdvisorError, match=r"plan-0\.pt.*delete it"):
        validate(replace(wish, seeds=1), shown=False)


@pytest.mark.parametrize("text", ["{}", "[]", '{"plan": "plan"', '{"plan": "erk", "seed": 0}'])
def test_a_damaged_result_says_what_to_do(text: str, wish: Wish) -> None:
    one = replace(wish, seeds=1, epochs=1, baselines=())
    (wish.out / "runs").mkdir(parents=True)
    (wish.out / "runs" / "dense-0.json").write_text(text)
    with pytest.raises(AdvisorError, match=r"dense-0\.json") as raised:
        validate(one, shown=False)
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_one_line_and_a_rerun_goes_on(
    wish: Wish, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from validation.running.progress import Monitor

    sync, step = os.fsync, Monitor.step
    steps = 0

    def counting(self: Monitor, count: int = 1) -> None:
        nonlocal steps
        steps += 1
        step(self, count)

    def full(descriptor: int) -> None:
        if 6 <= steps < 100:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(Monitor, "step", counting)
    monkeypatch.setattr("os.fsync", full)
    arguments = ["validate", wish.model, "--plan", wish.plan_path, "--epochs", "2", "--seeds", "1", "--baselines", ""]
    arguments += ["--train-size", "128", "--threads", "1", "--out", str(wish.out)]
    assert run(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "plan-0.pt: No space left on device; free space" in last
    assert not list(wish.out.rglob("*.tmp")), "nothing half-written stays"
    steps = 100
    assert run(arguments) == 0
    assert steps == 104, "the dense run was kept, the plan's four steps were repeated"


def test_a_run_that_diverges_is_reported_not_hidden(wish: Wish) -> None:
    spec = wish.model.replace(":build", ":explodes")
    report = validate(replace(wish, model=spec, seeds=1, epochs=1), shown=False)
    assert all(one["accuracy"] is None for one in report["runs"])
    assert all("nan in epoch 1, step 1" in one["problem"] for one in report["runs"])
    assert report["verdict"] is None
    assert report["summary"][0]["failed"] == 1
    assert any("dense, seed 0 failed" in note for note in report["notes"])
    assert "No thinned network finished" in (wish.out / "report.html").read_text()


def test_from_a_checkpoint(wish: Wish, tmp_path: Path) -> None:
    from validation.contestants import builder

    trained = builder(wish.model, ((1, 1, 8, 8),))(4)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    report = validate(replace(wish, checkpoint=tmp_path / "trained.pt", seeds=1), shown=False)
    assert report["settings"]["from"]
    assert "--from" in report["command"]
    assert report["settings"]["peak_rate"] < 0.01


def test_interrupt_keeps_what_is_there_and_says_how_to_go_on(
    wish: Wish, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from validation.running.progress import Monitor

    step, steps = Monitor.step, 0

    def pressed(self: Monitor, count: int = 1) -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, count)

    monkeypatch.setattr(Monitor, "step", pressed)
    status = run(["validate", wish.model, "--plan", wish.plan_path, "--epochs", "2", "--train-size", "128",
                  "--threads", "1", "--out", str(wish.out), "--json"])  # fmt: skip
    out, err = capsys.readouterr()
    assert status == 130
    assert out == ""
    assert f"kept in {wish.out}; run it again to go on" in err
    assert "Traceback" not in err
    assert (wish.out / "runs" / "dense-0.json").exists()
    progress = json.loads((wish.out / "progress.json").read_text())
    assert progress["state"] == "interrupted"
    assert "go on" in progress["message"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_plans_can_be_told_apart_on_the_demo(tmp_path: Path) -> None:
    """The demo's network learns the cluttered digits; dense beats what keeps little (a minute on two cores)."""
    import advisor
    from advisor.commands.network import open_network

    network = open_network("zoo:digits_cnn", None, device="cpu")
    plan = advisor.plan(network, budgets={"macs": "6%"}, patterns=["channel"])
    wish = Wish(model="zoo:digits_cnn", plan=plan, out=tmp_path, epochs=4, seeds=1, baselines=(), train_size=3200)
    torch.set_num_threads(os.cpu_count() or 1)
    dense, thinned = validate(wish, shown=False)["summary"]
    assert dense["mean"] > 0.8
    assert 0.3 < thinned["mean"] < dense["mean"] - 0.03
