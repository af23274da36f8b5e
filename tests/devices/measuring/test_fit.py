import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from advisor.cli import run
from advisor.devices.measuring.fit import Fit, LayerFit, check_fit, judge
from advisor.devices.measuring.fit_pieces import build, piece_references
from advisor.devices.measuring.references import references
from advisor.devices.measuring.timing import Sample, summarize
from advisor.devices.model.sums import Counts
from advisor.devices.profile import Profile, load_profile
from advisor.devices.suite.table import PieceTimes
from advisor.errors import DeviceError, ProfileError
from advisor.network import Network
from advisor.runtime.execution import Execution
from tests.devices.formula import operator
from tests.devices.synthetic import SETTINGS, all_executions, profile_of, true_ms, widths


def at(factors: Mapping[str, float] | float, refused: str = ""):
    """A timer on a machine that takes `factor` times a layer's true time, and refuses the method `refused`."""

    def timed(work: Mapping[str, Execution], seconds: float) -> dict[str, Sample | str]:
        found: dict[str, Sample | str] = {}
        for key, execution in work.items():
            factor = factors if isinstance(factors, float) else factors.get(execution.kind, 1.0)
            times = [factor * true_ms(execution) * (1 + 0.01 * (i % 3 - 1)) for i in range(30)]
            found[key] = "no kernel" if execution.method == refused else summarize(times)
        return found

    return timed


@pytest.fixture
def profile(resnet18: Network) -> Profile:
    options = widths(resnet18)
    from advisor.devices.measuring.work import options_of

    sparse = options_of(resnet18, ("channel",))
    executed = {**all_executions(resnet18, options), **all_executions(resnet18, sparse, have=True)}
    return profile_of(resnet18, executed.values())


def test_the_references_meet_different_limits(profile: Profile) -> None:
    found = references(profile, most_ms=100)
    assert list(found) == ["compute-bound", "memory-bound", "small", "sparse"]
    intensity = {role: m.execution.macs / m.execution.bytes_moved for role, m in found.items()}
    assert intensity["compute-bound"] > 10 * intensity["memory-bound"]
    assert found["memory-bound"].execution.kind == "linear"
    assert found["small"].median_ms < found["compute-bound"].median_ms
    assert found["sparse"].execution.method == "direct"
    assert len({m.execution.key for m in found.values()}) == 4
    assert references(profile, most_ms=100) == found


def test_a_short_check_takes_short_layers(profile: Profile) -> None:
    assert all(m.median_ms <= 1.0 for m in references(profile, most_ms=1.0).values())
    only = references(profile, most_ms=1e-6)
    assert [m.median_ms for m in only.values()] == [min(m.median_ms for m in profile.measurements.values())]


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        (1.0, "fits"),
        (1.04, "fits"),
        (1.6, "scaled"),
        (0.5, "scaled"),
        ({"conv2d": 1.0, "linear": 2.0}, "does not fit"),
    ],
)
def test_verdicts(profile: Profile, factors: Mapping[str, float] | float, verdict: str) -> None:
    fit = check_fit(profile, timer=at(factors))
    assert fit.verdict == verdict
    assert fit.to_json()["fits"] == (verdict == "fits")
    if isinstance(factors, float):
        assert fit.scale == pytest.approx(factors, rel=0.05)
        assert all(layer.low < layer.ratio < layer.high for layer in fit.layers)  # type: ignore[operator]
    json.dumps(fit.to_json(), allow_nan=False)


def test_a_layer_that_does_not_run_is_named(profile: Profile) -> None:
    fit = check_fit(profile, timer=at(1.0, refused="direct"))
    assert fit.verdict == "does not fit"
    assert "no kernel" in fit.advice
    assert [layer.role for layer in fit.layers if layer.problem] == ["sparse"]
    assert fit.scale == pytest.approx(1.0, rel=0.05)


def test_one_layer_alone_is_not_called_a_factor() -> None:
    layer = LayerFit(key="x", role="small", profile_ms=1.0, now_ms=2.0, ratio=2.0, low=1.9, high=2.1)
    assert judge((layer,)) == ("does not fit", 2.0)
    assert judge((layer, replace(layer, key="y"))) == ("scaled", pytest.approx(2.0))
    # A wide interval that reaches the expected ratio is no reason to call a profile old.
    assert judge((replace(layer, low=0.8),)) == ("fits", 2.0)


def test_a_profile_made_in_place_is_compared_in_place(profile: Profile) -> None:
    whole = next(iter(profile.networks.values()))
    placed = replace(
        profile,
        networks={whole.key: replace(whole, interpreter_ms=1.0)},
        error={"correction conv2d dense": 1.25, "correction_error_percent": 4.0, "correction linear dense": 1.25},
    )
    fit = check_fit(placed, timer=at(0.8))
    assert fit.verdict == "fits"
    assert all(layer.factor == 1.25 for layer in fit.layers)
    plain = check_fit(profile, timer=at(0.8))
    assert plain.verdict == "scaled"
    blind = check_fit(replace(placed, error=None), timer=at(0.8))
    assert blind.verdict == "fits"  # nothing is known about the factor, so nothing is claimed
    assert blind.layers[0].low < fit.layers[0].low  # type: ignore[operator]


def test_static_differences_are_said(profile: Profile) -> None:
    made = replace(profile, settings=replace(SETTINGS, threads=4096))
    fit = check_fit(made, timer=at(1.0))
    assert any("4096 threads" in line for line in fit.differences)
    assert any("device Roofline" in line for line in fit.differences)
    assert "look at the differences" in fit.advice


def test_what_cannot_be_checked_is_refused(profile: Profile) -> None:
    with pytest.raises(ProfileError, match=r"energy-45nm.*holds no measured layers"):
        check_fit(load_profile("energy-45nm"))
    with pytest.raises(ProfileError, match="device=cpu, asked for device=cuda"):
        check_fit(profile, device="cuda")
    with pytest.raises(ProfileError, match="seconds=0"):
        check_fit(profile, seconds=0)
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            check_fit(replace(profile, settings=replace(SETTINGS, device="cuda")))


def test_real_layers_run_in_place_of_a_timer(digits: Network) -> None:
    made = profile_of(digits, all_executions(digits, {}).values())
    fit = check_fit(made, seconds=0.2)
    assert isinstance(fit, Fit)
    assert all(layer.now_ms is not None and layer.now_ms > 0 for layer in fit.layers)
    assert check_fit(replace(made, settings=replace(SETTINGS, training=True)), seconds=0.2).scale is not None


def test_a_device_profile_runs_pieces_of_its_suite_again(profile: Profile) -> None:
    step = replace(operator("conv2d", ((1, 8, 4, 4),), (1, 8, 4, 4)), macs=10_000)
    pieces = tuple(
        PieceTimes(
            number=number,
            variant=variant,
            steps=(replace(step, macs=10_000 * (number + 1)),),
            ms=np.array([1.0]),
            whole_ms=0.5 + number / 100,
            counts=Counts.of_steps((step,), 1),
        )
        for number in range(6)
        for variant in ("dense", "sparse")
    )
    table = SimpleNamespace(threads=1, training=False, pieces=pieces)
    made = replace(profile, measurements={}, networks={}, tables=(table,))  # type: ignore[arg-type]
    chosen, training = piece_references(made, most_ms=100)
    assert list(chosen) == ["compute-bound", "memory-bound", "small", "sparse"]
    assert chosen["compute-bound"].number == 5
    assert chosen["memory-bound"].number < 3
    assert not training
    assert build(chosen["small"], training=False)() is not None
    other = SimpleNamespace(threads=2, training=False, pieces=pieces)
    with pytest.raises(ProfileError, match="no pieces of its own settings"):
        piece_references(replace(made, tables=(other,)), most_ms=100)  # type: ignore[arg-type]


def test_a_busy_machine_is_said(profile: Profile) -> None:
    fit = replace(check_fit(profile, timer=at({"linear": 3.0})), waited=0.5)
    assert fit.verdict == "does not fit"
    assert "others had the core for 50% of the time" in fit.advice
    assert "quiet machine" not in replace(fit, waited=0.0).advice


def test_command(digits: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.json"
    profile_of(digits, all_executions(digits, {}).values()).save(file)
    assert run(["devices", "--check", str(file), "--seconds", "0.1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] in ("fits", "scaled", "does not fit")
    assert len(document["layers"]) == 3
    assert run(["devices", "--check", str(file), "--seconds", "0.1"]) == 0
    text = capsys.readouterr().out
    assert "compute-bound" in text
    assert "ratio" in text
    assert run(["devices", "--check", "energy-45nm"]) == 2
    assert "holds no measured layers" in capsys.readouterr().err
    assert run(["devices", "--device", "cpu"]) == 2
    assert run(["devices", str(file), "--check", str(file)]) == 2
