import json
from dataclasses import replace
from pathlib import Path

import pytest

from advisor.cli import run
from advisor.devices.profile import Profile
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime import native
from tests.devices.conftest import network_of
from tests.devices.predicting.test_verify import plan_of
from tests.devices.synthetic import SETTINGS, all_executions, profile_of

MODEL = "zoo:digits_cnn"
GROUP = Option(pattern="group", density=0.25, parameters={"block": 32})


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(MODEL)


@pytest.fixture(scope="module")
def profile(network: Network) -> Profile:
    options = {layer.name: (GROUP,) for layer in network.sparsifiable[1:-1]}
    return profile_of(network, all_executions(network, options).values())


@pytest.fixture
def files(tmp_path: Path, network: Network, profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with p.json and plan.json in it, which is also where we are."""
    profile.save(tmp_path / "p.json")
    plan_of(network, {"features.8": GROUP, "features.12": GROUP}).save(tmp_path / "plan.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["latency", MODEL, "--profile", "p.json", "--json", *arguments]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("files")
def test_the_dense_network(capsys: pytest.CaptureFixture[str], profile: Profile, network: Network) -> None:
    found = answer(capsys)
    whole = profile.whole(network)
    assert whole is not None
    assert found["latency_ms"] == pytest.approx(whole.median_ms)
    assert found["origin"] == "measured"
    assert "measured_ms" not in found
    layers = found["layers"]
    assert isinstance(layers, list)
    assert [layer["name"] for layer in layers] == [layer.name for layer in network.sparsifiable]
    assert all({"name", "latency_ms", "origin"} <= set(layer) for layer in layers)


@pytest.mark.usefixtures("files")
def test_a_plan_and_the_real_thing_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    dense = answer(capsys)
    found = answer(capsys, "--plan", "plan.json", "--verify", "--seconds", "0.1")
    assert found["latency_ms"] < dense["latency_ms"]  # type: ignore[operator]
    assert found["low_ms"] <= found["latency_ms"] <= found["high_ms"]  # type: ignore[operator]
    assert found["measured_low_ms"] <= found["measured_ms"] <= found["measured_high_ms"]  # type: ignore[operator]
    assert found["dense_ms"] > 0  # type: ignore[operator]
    assert found["predicted_dense_ms"] == pytest.approx(dense["latency_ms"])
    assert found["measured_settings"] == found["settings"]


@pytest.mark.usefixtures("files")
def test_the_text_says_both_and_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["latency", MODEL, "--profile", "p.json", "--plan", "plan.json", "--verify", "--seconds", "0.1"]
    assert run(arguments) == 0
    said = capsys.readouterr()
    for words in ("predicted", "measured", "dense, measured in the same run", "plan / dense: predicted", "origin: "):
        assert words in said.out
    assert "cpu, batch 1, 1 thread, float32, inference" in said.out
    assert "note: the profile was made with device Roofline" in said.out
    assert "timing the real network" in said.err


@pytest.mark.usefixtures("with_kernels")
def test_layers_are_predicted_by_the_recorded_method_and_what_really_ran_stands_beside(
    capsys: pytest.CaptureFixture[str], files: Path, network: Network
) -> None:
    option = Option(pattern="channel", density=0.125)
    options = {"features.8": (DENSE, option), "features.12": (DENSE, option)}
    settings = replace(SETTINGS, kernels="test 1")
    profile_of(network, all_executions(network, options, have=True).values(), settings=settings).save(files / "p.json")
    plan = plan_of(network, {"features.8": option, "features.12": option})
    methods = {"features.8": "direct", "features.12": "dense"}
    layers = tuple(replace(layer, method=methods.get(layer.name)) for layer in plan.layers)
    replace(plan, layers=layers).save(files / "plan.json")
    found = answer(capsys, "--plan", "plan.json", "--verify", "--seconds", "0.1")
    predicted = {layer["name"]: layer["method"] for layer in found["layers"]}  # type: ignore[attr-defined]
    assert {name: predicted[name] for name in methods} == methods
    ran = found["measured_methods"]
    assert isinstance(ran, dict)
    assert sum(ran.values()) == len(plan.layers)
    assert ran.get("direct", 0) == (1 if native.available() else 0)
    assert bool(found["measured_notes"]) != native.available(), "what ran otherwise is said"
    assert run(["latency", MODEL, "--profile", "p.json", "--plan", "plan.json"]) == 0
    assert "layers run by: dense 4, direct 1" in capsys.readouterr().out


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "p.json", "--threads", "3"], "made with threads=1, asked for threads=3"),
        (["--profile", "p.json", "--training"], "made with training=False, asked for training=True"),
        (["--profile", "p.json", "--batch", "4"], "made with batch=1, asked for batch=4"),
        (["--profile", "p.json", "--input", "2x1x40x40"], "made with batch=1, asked for batch=2"),
        (["--profile", "p.json", "--device", "cuda"], "made with device=cpu, asked for device=cuda"),
        (["--profile", "energy-45nm"], "holds no times; make one with: advisor profile"),
        (["--profile", "absent.json"], "absent.json: no such file"),
        (["--profile", "plan.json"], "profile plan.json: at "),
        ([], "latency needs a profile"),
        (["--profile", "p.json", "--plan", "absent.json"], "absent.json"),
        (["--profile", "p.json", "--plan", "p.json"], "p.json"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(["latency", MODEL, *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.usefixtures("files")
def test_a_plan_of_another_network(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    plan_of(network_of("zoo:digits_cnn_wide"), {}).save(files / "other.json")
    assert run(["latency", MODEL, "--profile", "p.json", "--plan", "other.json"]) == 2
    assert "features.0 has a weight of shape (128, 1, 3, 3)" in capsys.readouterr().err
