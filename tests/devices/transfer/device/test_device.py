import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor.cli import run
from advisor.devices.model.step_model import class_of
from advisor.devices.profile import Profile, load_profile
from advisor.devices.transfer.device import here
from advisor.devices.transfer.device.carry import transfer_device
from advisor.devices.transfer.device.design import Asked, choose_pieces
from advisor.devices.transfer.device.here import run_pieces
from advisor.devices.transfer.device.refit import refit
from advisor.errors import ProfileError
from tests.devices.synthetic import MACHINE
from tests.devices.transfer.device import machines
from tests.devices.transfer.device.machines import FACTORS, PYTHON, device_profile, runner, steps_of, table

NEW = replace(MACHINE, name="Planted", cores=4)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new machine, and few rounds of boosting, so that it is quick."""
    monkeypatch.setattr(here, "this_machine", lambda device: NEW)
    monkeypatch.setattr(here, "kernels", lambda device: "avx2 v3")
    monkeypatch.setattr("advisor.devices.model.learner._ROUNDS", 10)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return device_profile(table())


@pytest.fixture(scope="module")
def made(profile: Profile) -> Profile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(here, "this_machine", lambda device: NEW)
        patch.setattr(here, "kernels", lambda device: "avx2 v3")
        patch.setattr("advisor.devices.model.learner._ROUNDS", 10)
        taken = run_pieces(profile, count=12, runner=runner)
        return transfer_device(profile, taken.records, machine=taken.machine, kernels=taken.kernels, name="new")


def test_a_handful_holds_every_class(profile: Profile) -> None:
    asked = choose_pieces(profile.tables, 8)
    assert len({one.key for one in asked}) == 8
    assert asked == choose_pieces(profile.tables, 8)
    assert {class_of(s) for one in asked for s in steps_of(one.number, one.variant) if s.family != "view"} == set(
        FACTORS
    )
    whole = {(p.number, p.variant): p.whole_ms for p in profile.tables[0].pieces}
    times = [whole[one.number, one.variant] for one in asked]
    assert times == sorted(times)
    assert np.mean(times) < np.mean(list(whole.values()))


@pytest.mark.parametrize(("count", "shares"), [(30, [15, 15]), (9, [6, 3]), (5, [5]), (3, [3])])
def test_every_setting_gets_its_share(count: int, shares: list[int]) -> None:
    tables = (table(), table(threads=2))
    asked = choose_pieces(tables, count)
    got = [sum(one.threads == found.threads for one in asked) for found in tables]
    assert sum(got) == count
    assert len([n for n in got if n]) == len(shares)
    assert got[0] >= shares[-1]


def test_a_planted_factor_for_every_class_is_found(profile: Profile, made: Profile) -> None:
    (old,), (new,) = profile.tables, made.tables
    assert made.origin == "calibrated"
    assert made.machine == NEW
    assert "Roofline" in made.source
    off: dict[str, list[float]] = {name: [] for name in FACTORS}
    for before, after in zip(old.pieces, new.pieces, strict=True):
        for step, a, b in zip(before.steps, before.ms, after.ms, strict=True):
            if step.family != "view":
                off[class_of(step)].append(b / a)
    for name, ratios in off.items():
        assert np.median(ratios) == pytest.approx(FACTORS[name], rel=0.05), name  # type: ignore[index]
        assert np.quantile(np.abs(np.log(np.array(ratios) / FACTORS[name])), 0.9) < 0.15, name  # type: ignore[index]


def test_pieces_that_ran_keep_their_times_and_others_become_sums(made: Profile) -> None:
    (new,) = made.tables
    assert new.error["timed_pieces"] == 12
    assert new.pace.reference_ms == pytest.approx(0.8, rel=0.05)
    assert new.error["whole_median_percent"] < 6
    assert new.error["whole_median_percent"] < new.error["one_factor_whole_median_percent"]
    for piece in new.pieces:
        true = sum(machines.new_ms(s) for s in piece.steps if s.family != "view")
        true += machines.between_ms(piece.steps, true, PYTHON)
        assert piece.whole_ms == pytest.approx(true, rel=0.2)
    assert new.between.kernel_us + new.between.view_us + new.between.module_us > 1.2 * (3 + 1 + 4)
    assert new.between.common >= machines.BETWEEN.common
    assert all(low <= -0.1 and high >= 0.1 for low, high in new.intervals.values())


def test_it_is_a_device_profile_afterwards(made: Profile, tmp_path: Path) -> None:
    made.save(tmp_path / "new.json")
    again = load_profile(tmp_path / "new.json")
    assert again.origin == "calibrated"
    assert again.estimator is not None
    step = steps_of(3, "dense")[0]
    found = again.estimator.step(step)
    assert found.median_ms == pytest.approx(machines.new_ms(step), rel=0.3)
    assert found.low_ms < found.median_ms < found.high_ms


def test_what_lies_between_steps_is_the_old_ones_where_nothing_says_otherwise() -> None:
    pieces = [machines.piece(n, "dense") for n in range(6)]
    assert refit(machines.BETWEEN, pieces) == pytest.approx([3.0, 1.0, 4.0, 0.0, 0.02], rel=0.02, abs=1e-6)


def test_tables_that_cannot_be_carried_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = device_profile(table(), table(threads=8))
    taken = run_pieces(profile, count=6, runner=runner)
    assert {record["key"].split(":")[3] for record in taken.records} == {"1"}
    assert taken.notes == ("8 threads, inference: not carried over, this machine has 4 cores",)
    with pytest.raises(ProfileError, match="asked for 3 threads: make a profile here"):
        run_pieces(profile, threads=3, runner=runner)
    monkeypatch.setattr(here, "kernels", lambda device: "")
    taken = run_pieces(profile, count=6, runner=runner)
    assert not any(":sparse:" in record["key"] for record in taken.records)
    assert any("by sparse kernels (avx2 v3), and here there are none" in note for note in taken.notes)
    made = transfer_device(profile, taken.records, machine=NEW, kernels="", notes=taken.notes)
    assert {piece.variant for piece in made.tables[0].pieces} == {"dense"}
    assert made.settings is not None
    assert made.settings.kernels == ""
    assert len(made.tables) == 1
    assert any(note.startswith("8 threads, inference: too few pieces ran here") for note in made.notes)


def _other(one: Asked, seconds: float) -> dict[str, Any]:
    return runner(replace(one, number=one.number + 1), seconds)


@pytest.mark.parametrize(
    ("run_one", "message"),
    [
        (lambda one, seconds: {"failed": "no memory"}, "no memory"),
        (lambda one, seconds: None, "fewer than 3"),
        (_other, "runs other operators here"),
    ],
)
def test_a_machine_that_runs_something_else_is_refused(
    profile: Profile, run_one: Callable[[Asked, float], dict[str, Any] | None], message: str
) -> None:
    taken = run_pieces(profile, count=4, runner=run_one)
    with pytest.raises(ProfileError, match=message) as caught:
        transfer_device(profile, taken.records, machine=NEW, kernels="avx2 v3")
    assert "\n" not in str(caught.value)


def test_command(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source, out = str(tmp_path / "p.json"), str(tmp_path / "new.json")
    profile.save(source)
    monkeypatch.setattr(here, "suite_runner", lambda: runner)
    assert run(["transfer", source, "--out", out, "--measure", "6", "--machine", "a laptop", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["timed"], document["device"], document["origin"]) == (6, "a laptop", "calibrated")
    assert document["tables"][0]["timed_pieces"] == 6
    for option in (["--list"], ["--measured", "x.csv"], ["--device", "cuda"]):
        assert run(["transfer", source, "--out", out, *option]) == 2
        assert "is for profiles of one network" in capfd.readouterr().err
    assert run(["transfer", source]) == 2
    assert run(["transfer", source, "--out", out, "--measure", "2"]) == 2
    assert "needs 3 pieces or more" in capfd.readouterr().err


@pytest.mark.slow
def test_a_real_suite_there_and_back(tmp_path: Path) -> None:
    """This machine to itself: every factor is about one, and left-out pieces are told about as well as before."""
    from advisor.devices.suite.measure import measure_suite

    with pytest.MonkeyPatch.context() as patch:
        patch.undo()
        first = measure_suite(threads=(1,), training=False, budget_seconds=60, progress=False)
        from advisor.devices.settings import this_machine
        from advisor.runtime.methods import kernels

        patch.setattr(here, "this_machine", this_machine)
        patch.setattr(here, "kernels", kernels)
        taken = run_pieces(first, count=10, seconds=10)
        made = transfer_device(first, taken.records, machine=taken.machine, kernels=taken.kernels)
    assert made.tables[0].error["timed_pieces"] >= 8
    assert len(made.tables[0].pieces) == len(first.tables[0].pieces)
    made.save(tmp_path / "again.json")
    assert load_profile(tmp_path / "again.json").tables[0].error == made.tables[0].error
