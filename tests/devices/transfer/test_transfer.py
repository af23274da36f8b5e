import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advisor.cli import run
from advisor.devices.document import from_document, to_document
from advisor.devices.profile import Profile, StepTime, load_profile
from advisor.devices.settings import Machine
from advisor.devices.transfer.carry import transfer
from advisor.devices.transfer.design import choose
from advisor.devices.transfer.features import Scale, rows_of
from advisor.devices.transfer.here import measure_here
from advisor.devices.transfer.model import RatioModel, percent
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE
from advisor.runtime.execution import executions
from tests.devices.formula import operator
from tests.devices.synthetic import SETTINGS, all_executions, profile_of, true_ms, widths
from tests.devices.transfer.machines import other_ms, timer, times


@pytest.fixture(scope="module")
def profile(mobilenet: Network) -> Profile:
    from advisor.devices.measuring.work import options_of

    sparse = options_of(mobilenet, ("channel",))
    executed = {
        **all_executions(mobilenet, widths(mobilenet, (1.0, 0.5))),
        **all_executions(mobilenet, sparse, have=True),
    }
    return profile_of(mobilenet, executed.values())


def off(profile: Profile, made: Profile) -> np.ndarray:
    """Percent, of what was not measured on the new machine."""
    found = [m for key, m in made.measurements.items() if m.origin == "predicted" and key in profile.measurements]
    return np.array([100 * abs(m.median_ms / other_ms(m.execution) - 1) for m in found])


def test_a_handful_stands_for_all(profile: Profile) -> None:
    asked = choose(profile, 30)
    assert len(asked) == len({e.key for e in asked}) == 30
    assert choose(profile, 30) == asked
    assert {e.method for e in asked} >= {"dense", "direct"}
    assert {e.kind for e in asked} == {"conv2d", "linear"}
    assert any(e.groups > 1 for e in asked)
    known = [profile.measurements[e.key].median_ms for e in asked]
    assert known == sorted(known)
    everything = sum(m.median_ms for m in profile.measurements.values())
    assert sum(known) < 1.2 * 30 / len(profile.measurements) * everything
    assert len(choose(profile, 10**6)) == len(profile.measurements)


def test_thirty_times_beat_one_factor(profile: Profile) -> None:
    made = transfer(profile, times(choose(profile, 30)))
    found = off(profile, made)
    assert len(found) == len(profile.measurements) - 30
    assert made.error is not None
    assert found.mean() < 0.5 * made.error["one_factor_mean_percent"]
    assert found.mean() < 8
    assert found.mean() / 3 < made.error["mean_percent"] < 3 * found.mean()
    inside = [
        m.low_ms <= other_ms(m.execution) <= m.high_ms for m in made.measurements.values() if m.origin == "predicted"
    ]
    assert np.mean(inside) > 0.7


def test_what_was_measured_keeps_its_time(profile: Profile) -> None:
    given = times(choose(profile, 12))
    made = transfer(profile, given, machine=replace(profile.machine, name="a phone"), name="phone")  # type: ignore[type-var]
    assert made.origin == "calibrated"
    assert made.name == "phone"
    assert made.machine is not None
    assert made.machine.name == "a phone"
    assert "Roofline" in made.source
    for execution, ms in given.items():
        assert made.measurements[execution.key].median_ms == ms
        assert made.measurements[execution.key].origin == "measured"
    assert set(made.unmeasured) == set(profile.measurements) - {e.key for e in given}
    again = from_document(json.loads(json.dumps(to_document(made))), "x")
    assert {key: m.origin for key, m in again.measurements.items()} == {
        key: m.origin for key, m in made.measurements.items()
    }
    assert [whole.origin for whole in again.networks.values()] == ["predicted"]


def test_one_factor_where_the_machines_are_alike(profile: Profile) -> None:
    made = transfer(profile, {e: 2 * true_ms(e) for e in choose(profile, 30)})
    assert made.error is not None
    assert made.error["factor"] == pytest.approx(2.0, rel=0.02)
    assert made.error["mean_percent"] < 4
    assert off_from_two(made) < 4


def off_from_two(made: Profile) -> float:
    return float(np.mean([100 * abs(m.median_ms / (2 * true_ms(m.execution)) - 1) for m in made.measurements.values()]))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_times_give_one_factor_and_a_wide_interval(profile: Profile, count: int) -> None:
    made = transfer(profile, times(choose(profile, 30)[:count]))
    assert "smooth" not in made.source
    widths_ = [m.high_ms / m.low_ms for m in made.measurements.values() if m.origin == "predicted"]
    assert min(widths_) > (3.9 if count == 1 else 1.0)
    assert ("mean_percent" in (made.error or {})) == (count > 1)


def test_the_whole_network_goes_along(profile: Profile, mobilenet: Network) -> None:
    key = next(iter(profile.networks))
    made = transfer(profile, times(choose(profile, 30)), networks={key: mobilenet})
    whole = made.networks[key]
    true = sum(other_ms(e) * n for x in mobilenet.sparsifiable for e, n in executions(x, DENSE).items())
    assert whole.layers_ms == pytest.approx(true, rel=0.08)
    assert whole.low_ms < whole.median_ms < whole.high_ms
    blind = transfer(profile, times(choose(profile, 30))).networks[key]
    assert blind.layers_ms == pytest.approx(true, rel=0.5)


def test_a_network_in_place_goes_along_in_parts(profile: Profile) -> None:
    step = operator("relu", ((1, 8, 4, 4),), (1, 8, 4, 4))
    whole = next(iter(profile.networks.values()))
    placed = replace(
        profile,
        networks={whole.key: replace(whole, parts={"elementwise": 2.0}, interpreter_ms=1.0, saved={"x": 0.1})},
        steps={step.key: StepTime(step=step, median_ms=1.0, low_ms=0.9, high_ms=1.1, repeats=5)},
        error={"correction conv2d dense": 1.1, "correction linear dense": 1.1, "correction_error_percent": 5.0},
    )
    asked = choose(placed, 30)
    made = transfer(placed, times(asked))
    found = made.networks[whole.key]
    assert found.median_ms == pytest.approx(found.layers_ms + sum(found.parts.values()) + (found.interpreter_ms or 0))
    carried = made.steps[step.key]
    assert 1.0 < carried.median_ms < 1.6  # memory is 1.25 times slower there
    assert carried.high_ms / carried.low_ms > 1.1 / 0.9
    dense = next(e for e in asked if e.method == "dense")
    assert made.measurements[dense.key].median_ms == pytest.approx(1.1 * times(asked)[dense])  # type: ignore[operator]
    assert any("brought in place" in note for note in made.notes)


def test_the_models_own_judgement() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(400, 10))
    true = 0.3 + 0.2 * rows[:, 0] - 0.1 * np.tanh(2 * rows[:, 1])
    logs = true + 0.03 * generator.normal(size=400)
    model = RatioModel(rows[:40], logs[:40], Scale.of(rows))
    assert not model.one_factor
    middle, half = model(rows[40:])
    assert percent(logs[40:] - middle).mean() < 0.5 * percent(logs[40:] - logs[:40].mean()).mean()
    assert 0.65 < np.mean(np.abs(logs[40:] - middle) <= half) < 0.95
    flat = RatioModel(rows[:40], np.full(40, math.log(3)) + 0.03 * generator.normal(size=40), Scale.of(rows))
    assert math.exp(float(flat(rows[:1])[0][0])) == pytest.approx(3, rel=0.06)


def test_rows_are_finite(profile: Profile) -> None:
    known = list(profile.measurements.values())
    rows = rows_of([m.execution for m in known], [m.median_ms for m in known])
    assert rows.shape == (len(known), 10)
    assert np.isfinite(Scale.of(rows)(rows)).all()


def test_what_cannot_be_carried_is_refused(profile: Profile) -> None:
    with pytest.raises(ProfileError, match="holds no measured layers"):
        choose(load_profile("energy-45nm"))
    with pytest.raises(ProfileError, match="holds no measured layers"):
        transfer(load_profile("energy-45nm"), {})
    with pytest.raises(ProfileError, match="is a device profile"):
        choose(replace(profile, tables=(object(),)))  # type: ignore[arg-type]
    with pytest.raises(ProfileError, match="count=0"):
        choose(profile, 0)
    first = choose(profile, 1)[0]
    with pytest.raises(ProfileError, match="none of the 1 pieces of work"):
        transfer(profile, {replace(first, input_shape=(7, *first.input_shape[1:])): 1.0})
    with pytest.raises(ProfileError, match="got nan ms"):
        transfer(profile, {first: math.nan})


def test_measuring_here(profile: Profile) -> None:
    found, machine, settings, refused = measure_here(profile, count=40, threads=1, timer=timer)
    assert isinstance(machine, Machine)
    assert settings.threads == 1
    assert all(e.method != "gather" for e in found)
    assert all("no kernel" in line for line in refused)
    assert len(found) + len(refused) == 40
    made = transfer(profile, dict(found), machine=machine, settings=settings)
    assert made.settings == settings


def test_command_there_and_back(digits: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from advisor.devices.measuring.work import options_of

    profile = profile_of(digits, all_executions(digits, options_of(digits, ("channel",)), have=True).values())
    source, csv, out = (str(tmp_path / name) for name in ("p.json", "t.csv", "new.json"))
    profile.save(source)
    assert run(["transfer", source, "--list", "--measure", "10"]) == 0
    lines = capfd.readouterr().out.splitlines()
    filled = []
    for execution, line in zip(choose(profile, 10), lines[5:], strict=True):
        filled.append(line.removesuffix(",,,") + f"{other_ms(execution)},,,")
    Path(csv).write_text("\n".join([*lines[:5], *filled]).replace("# machine:", "# machine: a phone"))
    assert run(["transfer", source, "--measured", csv, "--threads", "4", "--out", out, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["timed"], document["device"], document["origin"]) == (10, "a phone", "calibrated")
    made = load_profile(out)
    assert made.settings == replace(SETTINGS, threads=4)
    assert run(["transfer", source]) == 2
    assert "--out FILE is missing" in capfd.readouterr().err
    assert run(["transfer", source, "--list", "--out", out]) == 2
    assert run(["transfer", source, "--measured", csv, "--device", "cpu", "--out", out]) == 2


def test_command_measures_here(digits: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = str(tmp_path / "p.json"), str(tmp_path / "here.json")
    profile_of(digits, all_executions(digits, {}).values()).save(source)
    assert run(["transfer", source, "--out", out, "--seconds", "0.2", "--threads", "1"]) == 0
    text = capfd.readouterr().out
    assert "5 times on" in text
    assert "by one factor" in text
    assert "zoo:digits_cnn" in text
    assert run(["latency", "zoo:digits_cnn", "--profile", out]) == 0
