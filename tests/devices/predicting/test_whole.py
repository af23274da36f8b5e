import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import advisor
from advisor.cli import run
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.predicting.verify import verify_latency
from advisor.devices.predicting.whole import predict_run, predicted_whole, recording_of
from advisor.devices.profile import Profile
from advisor.devices.suite.records import tables_of
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import executions, plain
from tests.devices.conftest import network_of
from tests.devices.formula import device_profile, recording, records
from tests.devices.predicting.test_verify import plan_of
from tests.devices.synthetic import all_executions, profile_of

GROUP = Option(pattern="group", density=0.25, parameters={"block": 32})
OPTIONS = {"features.8": GROUP, "features.12": GROUP}


@pytest.fixture(scope="module")
def profile() -> Profile:
    return device_profile()


@pytest.fixture
def files(tmp_path: Path, digits: Network, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with device.json and plan.json in it, which is also where we are."""
    profile.save(tmp_path / "device.json")
    plan_of(digits, OPTIONS).save(tmp_path / "plan.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    return printed.err


def test_the_run_as_deployed_has_the_layers_that_a_cost_table_has(digits: Network) -> None:
    found = [s.execution for s in recording_of(digits).steps if s.execution is not None]
    wanted = [e for layer in digits.sparsifiable for e in executions(layer, DENSE)]
    assert [(e.kind, e.input_shape, e.weight_shape) for e in found] == [
        (e.kind, e.input_shape, e.weight_shape) for e in wanted
    ]
    assert sum(s.macs for s in recording_of(digits).steps) == digits.macs
    assert "native_batch_norm" not in {s.target for s in recording_of(digits).steps}


def test_a_network_of_meta_tensors_has_the_same_steps(digits: Network) -> None:
    assert recording_of(network_of("zoo:digits_cnn")) == recording_of(digits)


def test_a_plan_s_run_has_its_sparse_layers(digits: Network, compiled: None) -> None:
    plan = plan_of(digits, OPTIONS)
    steps = recording_of(digits, plan).steps
    found = [plain(s.execution) for s in steps if s.execution is not None and s.execution.method == "direct"]
    layers = {layer.name: layer for layer in digits.sparsifiable}
    wanted = [e for name in OPTIONS for e in executions(layers[name], GROUP, method="direct")]
    assert found == [plain(e) for e in wanted]  # folding gives a layer a bias


def test_a_training_step_goes_back_through_every_layer(digits: Network) -> None:
    steps = recording_of(digits, training=True).steps
    assert sum(s.target == "convolution_backward" for s in steps) == 4
    assert any(s.target.startswith("native_batch_norm") for s in steps)


def test_a_whole_is_put_together_and_its_parts_are_all_of_it(digits: Network, profile: Profile) -> None:
    whole, run_ = predicted_whole(digits, profile), predict_run(digits, profile)
    assert whole.median_ms == run_.median_ms
    assert (whole.low_ms, whole.high_ms, whole.origin) == (run_.low_ms, run_.high_ms, run_.origin)
    assert whole.interpreter_ms is not None
    assert whole.layers_ms + sum(whole.parts.values()) + whole.interpreter_ms == pytest.approx(whole.median_ms)
    assert set(whole.parts) <= {"elementwise", "pool", "reduction", "copy"}
    assert whole.repeats == 0
    assert profile.whole(digits) == whole


def test_what_sparse_layers_take_in_is_credited(digits: Network, profile: Profile, compiled: None) -> None:
    whole = predicted_whole(digits, profile)
    assert whole.saved
    assert all(ms >= 0 for ms in whole.saved.values())
    assert set(whole.saved) <= {layer.name for layer in digits.sparsifiable}


def test_a_prediction_s_layers_and_rest_are_its_latency(digits: Network, profile: Profile) -> None:
    found = predict_latency(digits, profile)
    assert sum(layer.latency_ms for layer in found.layers) + found.rest_ms == pytest.approx(found.latency_ms)
    assert sum(found.parts.values()) == pytest.approx(found.latency_ms)
    assert found.low_ms < found.latency_ms < found.high_ms


def test_a_profile_of_one_network_knows_no_other(digits: Network) -> None:
    measured = profile_of(digits, all_executions(digits, {}).values())
    with pytest.raises(ProfileError, match=r"advisor profile --suite --out FILE$"):
        predict_run(digits, measured)


def test_latency_of_a_network_that_was_never_measured(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    document = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json")
    assert {"latency_ms", "low_ms", "high_ms", "origin", "layers"} <= set(document)
    assert document["low_ms"] < document["latency_ms"] < document["high_ms"]
    assert document["origin"] in ("predicted", "extrapolated")
    assert len(document["layers"]) == 5
    for layer in document["layers"]:
        assert {"name", "latency_ms", "origin"} <= set(layer)
        assert layer["latency_ms"] > 0
    larger = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json", "--batch", "4")
    assert larger["latency_ms"] > document["latency_ms"]


def test_latency_under_a_plan(capsys: pytest.CaptureFixture[str], files: Path, compiled: None) -> None:
    document = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json", "--plan", "plan.json")
    dense = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json")
    assert document["predicted_dense_ms"] == pytest.approx(dense["latency_ms"])
    assert document["latency_ms"] < dense["latency_ms"]
    assert [layer["name"] for layer in document["layers"]] == [layer["name"] for layer in dense["layers"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--threads", "3"), "holds 1 thread, inference; asked for 3 threads, inference"),
        (("--training",), "holds 1 thread, inference; asked for 1 thread, training"),
        (("--device", "cuda"), "device"),
    ],
)
def test_settings_that_the_profile_lacks_take_one_line(
    capsys: pytest.CaptureFixture[str], files: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in complaint(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json", *arguments)


def test_a_plan_from_a_device_profile(capsys: pytest.CaptureFixture[str], files: Path, compiled: None) -> None:
    arguments = ("plan", "zoo:digits_cnn", "--budget", "latency=60%", "--profile", "device.json", "--out", "made.json")
    answer(capsys, *arguments)
    dense = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json")
    planned = answer(capsys, "latency", "zoo:digits_cnn", "--profile", "device.json", "--plan", "made.json")
    assert planned["latency_ms"] <= 0.66 * dense["latency_ms"]  # the run as applied, beside the table's sum


def test_verifying_tells_the_machine_s_pace(capsys: pytest.CaptureFixture[str], files: Path, profile: Profile) -> None:
    """The reference layer of the suite, timed in the same rounds, against the profile's."""
    arguments = ("latency", "zoo:digits_cnn", "--profile", "device.json", "--verify", "--seconds", "0.2")
    document = answer(capsys, *arguments)
    assert document["pace"] > 0
    assert document["latency_at_pace_ms"] == pytest.approx(document["pace"] * document["latency_ms"])
    assert document["measured_ms"] > 0
    assert "pace" not in answer(capsys, *arguments[:4])
    assert run(list(arguments)) == 0
    printed = capsys.readouterr().out
    assert "predicted, at this pace" in printed
    assert "in the quiet part of the profile's session" in printed


def test_the_pace_is_the_reference_layer_s(digits: Network, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as slow as in the profile's session, networks take 2 to the power of the slope as long."""
    from advisor.devices.measuring import in_turn
    from advisor.devices.measuring.timing import Sample, summarize

    def timed(calls: dict[str, Any], **options: Any) -> dict[str, Sample]:
        assert set(calls) == {"dense", "reference"}
        assert options["primed"] == ("reference",)
        pace = profile.pace
        assert pace is not None
        return {"dense": summarize([5.0] * 6), "reference": summarize([2 * pace.reference_ms] * 6)}

    monkeypatch.setattr(in_turn, "time_interleaved", timed)
    assert profile.pace is not None
    assert verify_latency(digits, profile).pace == pytest.approx(2**profile.pace.slope)


@pytest.fixture(scope="module")
def trained() -> Profile:
    """Also training, of pieces that only go forward."""
    with patch("advisor.devices.model.learner._ROUNDS", 5):
        (table,) = tables_of(records(8, training=True))
        made = replace(device_profile(), tables=(*device_profile().tables, table), fitted={}).at(training=True)
        made.latency(next(s.execution for s in recording(0).steps if s.execution))
    return made


@pytest.mark.parametrize("planned", [False, True])
def test_in_training_a_layer_takes_forward_backward_and_update(
    digits: Network, trained: Profile, planned: bool, with_kernels: None, compiled: None
) -> None:
    plan = plan_of(digits, OPTIONS) if planned else None
    found = predict_latency(digits, trained, plan, training=True)
    assert sum(layer.latency_ms for layer in found.layers) + found.rest_ms == pytest.approx(found.latency_ms)
    assert found.rest_ms > 0
    estimator = trained.estimator
    assert estimator is not None
    steps = recording_of(digits, plan, training=True)
    for layer in found.layers:
        mine = [s for s, m in zip(steps.steps, steps.modules, strict=True) if m.startswith(layer.name)]
        assert sum(bool(s.macs) for s in mine) >= 2, "forward and backward"
        assert len([s for s in mine if s.family != "view"]) > 3
        assert layer.latency_ms == pytest.approx(sum(estimator.step(s).median_ms for s in mine))
        assert layer.low_ms < layer.latency_ms < layer.high_ms
        assert layer.method == ("direct" if planned and layer.name in OPTIONS else "dense")


def test_a_plan_for_training_counts_whole_steps(
    digits: Network, trained: Profile, with_kernels: None, compiled: None
) -> None:
    """The table's dense total is the predicted step, and what it says of the plan is what the plan's own step takes."""
    at_inference = trained.at(training=False)
    made = advisor.plan(
        digits, profile=at_inference, budgets={"training_latency": "75%"}, patterns=["group", "channel"]
    )
    line = made.costs["training_latency"]
    dense = predict_latency(digits, trained, training=True)
    assert line.dense == pytest.approx(dense.latency_ms, rel=1e-6)
    planned = predict_latency(digits, trained, made, training=True)
    assert planned.latency_ms < dense.latency_ms
    saved, really = line.dense - line.plan, dense.latency_ms - planned.latency_ms
    assert saved == pytest.approx(really, rel=0.25)  # of what counts by its upper end less is promised
    whole = trained.whole(digits)
    assert whole is not None
    assert whole.layers_ms + sum(whole.parts.values()) + (whole.interpreter_ms or 0) == pytest.approx(whole.median_ms)
    assert {"norm", "pool"} <= set(whole.parts)
    assert whole.saved == {}
