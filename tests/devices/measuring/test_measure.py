import errno
import os
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import nn

from advisor.devices.measuring.measure import measure
from advisor.devices.measuring.session import Session
from advisor.devices.predicting.choice import fastest
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.profile import Profile, load_profile
from advisor.errors import AdvisorError, DeviceError, KernelError, ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime import native
from advisor.runtime.execution import Execution
from advisor.trace import analyze
from tests.devices.synthetic import all_executions, profile_of, widths


def some(network: Network) -> dict[str, Any]:
    found = widths(network, (1.0, 0.5))
    return {"features.8": found["features.8"]}


def tiny(network: Network, out: Path | None = None, **more: Any) -> Profile:
    # More than it takes: the first run in a process also pays for what it imports.
    settings = {"budget_seconds": 10, "options": some(network)} | more
    return measure(network, out=out, progress=False, threads=1, **settings)


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times everything with the fewest repeats, whatever the budget allows; not where the budget is the question."""
    if "budget" in request.node.name:
        return
    execution, whole = Session.execution, Session.whole
    monkeypatch.setattr(Session, "execution", lambda self, wanted, seconds: execution(self, wanted, 0.01))
    monkeypatch.setattr(Session, "whole", lambda self, seconds: whole(self, 0.05))


@pytest.mark.skipif(not native.available(), reason=native.why_not())
@pytest.mark.usefixtures("with_kernels")
def test_both_methods_of_an_option_are_measured_and_the_kernels_recorded(digits: Network, tmp_path: Path) -> None:
    options = {"features.8": (DENSE, Option(pattern="channel", density=0.25))}
    profile = tiny(digits, tmp_path / "p.json", options=options)
    assert {m.execution.method for m in profile.measurements.values()} == {"dense", "direct"}
    assert profile.settings is not None
    assert profile.settings.kernels == "test 1"
    assert load_profile(tmp_path / "p.json") == profile
    assert profile.warnings() == ()


@pytest.mark.usefixtures("with_kernels")
def test_no_time_is_taken_of_a_method_that_does_not_run(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.runtime.sparse_layer.has_kernels", lambda device: False)
    options = {"features.8": (DENSE, Option(pattern="channel", density=0.25))}
    profile = tiny(digits, options=options)
    assert profile.methods == {"dense"}
    assert any("did not run here" in note and "it would run by 'dense' here" in note for note in profile.notes)


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("error", [RuntimeError("no memory"), KernelError("no such tile")])
def test_work_that_does_not_run_here_is_left_to_prediction_and_said(
    digits: Network, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    execution = Session.execution

    def refuses(self: Session, wanted: Execution, seconds: float) -> dict[str, float | int]:
        if wanted.method == "direct":
            raise error
        return execution(self, wanted, seconds)

    def refuses_all(self: Session, choices: Any, seconds: float) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(Session, "execution", refuses)
    monkeypatch.setattr(Session, "candidates", refuses_all)
    options = {"features.8": (DENSE, Option(pattern="channel", density=0.25))}
    profile = tiny(digits, options=options)
    assert profile.methods == {"dense"}
    assert len(profile.unmeasured) == 1
    assert any("did not run here" in note and str(error) in note for note in profile.notes)
    assert fastest(digits.layer("features.8"), options["features.8"][1], profile) == "dense"


def test_a_run_with_other_kernels_does_not_go_on(
    digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advisor.devices.measuring.measure.assemble", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny(digits, tmp_path / "p.json")
    monkeypatch.setattr("advisor.runtime.methods._probe", lambda kind: ("test 1", ""))
    with pytest.raises(
        ProfileError, match="is from a run with settings kernels=, this one has settings kernels=test 1"
    ):
        tiny(digits, tmp_path / "p.json")


def interrupted(*args: object) -> NoReturn:
    raise KeyboardInterrupt


def test_everything_is_measured_and_says_how(digits: Network, tmp_path: Path) -> None:
    told: list[tuple[int, int, float | None, str]] = []
    before = torch.get_num_threads()
    profile = tiny(digits, tmp_path / "p.json", budget_seconds=20, callback=lambda *a: told.append(a))
    assert torch.get_num_threads() == before
    assert load_profile(tmp_path / "p.json") == profile
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]  # the journal is gone
    assert set(profile.measurements) == set(all_executions(digits, some(digits)))
    assert profile.unmeasured == ()
    assert all(found.repeats >= 6 for found in profile.measurements.values())
    assert profile.settings is not None
    assert profile.settings.text == "cpu, batch 1, 1 thread, float32, inference"
    whole = profile.whole(digits)
    assert whole is not None
    assert whole.eager_ms > 0
    assert [item[0] for item in told] == sorted(item[0] for item in told)
    assert told[-1][0] == told[-1][1]
    assert all(left is not None and left >= 0 for _, _, left, _ in told)
    predicted = predict_latency(digits, profile)
    assert predicted.latency_ms == pytest.approx(whole.median_ms, rel=1e-9)
    assert predicted.origin == "measured"
    assert whole.interpreter_ms is not None
    assert whole.layers_ms + sum(whole.parts.values()) + whole.interpreter_ms == pytest.approx(whole.median_ms)
    assert {"elementwise", "pool"} <= set(whole.parts)
    shown = {found.step.family: 0.0 for found in profile.steps.values()}
    assert set(shown) == set(whole.parts)
    assert all(found.step.key == key for key, found in profile.steps.items())


def test_training_is_timed_forward_and_backward(digits: Network) -> None:
    forward, both = tiny(digits, budget_seconds=3), tiny(digits, training=True, budget_seconds=3)
    assert both.settings is not None
    assert both.settings.training
    key = next(iter(forward.measurements))
    assert both.measurements[key].median_ms > 1.2 * forward.measurements[key].median_ms


def test_another_batch_is_another_network(digits: Network) -> None:
    profile = tiny(digits, batch=3)
    assert profile.settings is not None
    assert profile.settings.batch == 3
    assert profile.whole(digits) is None
    assert [whole.input_shapes for whole in profile.networks.values()] == [((3, 1, 40, 40),)]
    with pytest.raises(ProfileError, match="made with batch=3, asked for batch=1"):
        predict_latency(digits, profile)


def test_a_short_budget_is_held_and_says_what_is_missing(digits: Network) -> None:
    many = widths(digits, (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1))
    began = time.perf_counter()
    profile = measure(digits, options=many, progress=False, budget_seconds=1.5, threads=1)
    took = time.perf_counter() - began
    assert took < 1.5 * 1.1 + 1.0  # one measurement and the last look at the whole, on a busy machine
    assert profile.unmeasured
    assert set(all_executions(digits, {})) <= set(profile.measurements)  # dense work comes first
    wanted = set(all_executions(digits, many))
    assert set(profile.unmeasured) | set(profile.measurements) == wanted
    assert f"{len(profile.unmeasured)} of {len(wanted)} kinds of work were left" in profile.notes[0]


def test_time_spent_before_counts_against_the_budget(digits: Network) -> None:
    profile = tiny(digits, budget_seconds=5, started=time.perf_counter() - 60)
    assert set(profile.measurements) == set(all_executions(digits, {})), "what the dense network itself showed"
    assert len(profile.unmeasured) == 3


class Killed(BaseException):
    """As sudden as a kill: nothing handles it."""


def break_after(monkeypatch: pytest.MonkeyPatch, count: int, action: Any) -> list[str]:
    """Lets `count` executions be timed, then does `action` instead; returns the keys in the order timed."""
    timed: list[str] = []
    real = Session.execution

    def execution(self: Session, wanted: Any, seconds: float) -> Any:
        if len(timed) == count:
            action()
        timed.append(wanted.key)
        return real(self, wanted, seconds)

    monkeypatch.setattr(Session, "execution", execution)
    return timed


def test_a_killed_run_goes_on(digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill() -> NoReturn:
        raise Killed

    out = tmp_path / "p.json"
    with monkeypatch.context() as patch:
        break_after(patch, 4, kill)
        with pytest.raises(Killed):
            tiny(digits, out, budget_seconds=30)
    assert not out.exists()
    assert (tmp_path / "p.json.partial").exists()
    told: list[str] = []
    timed = break_after(monkeypatch, -1, None)
    profile = tiny(digits, out, budget_seconds=30, callback=lambda *a: told.append(a[3]))
    assert "from the interrupted run" in told
    assert set(profile.measurements) == set(all_executions(digits, some(digits)))
    assert len(timed) == len(profile.measurements) - 4  # nothing is timed twice
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_ctrl_c_stops_in_order_and_says_how_to_go_on(
    digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        break_after(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            tiny(digits, tmp_path / "p.json", budget_seconds=30)
    assert signal.getsignal(signal.SIGINT) is handler
    said = capsys.readouterr().err
    assert "interrupted: 3 measurements are kept in" in said
    assert "run the same command again to go on" in said
    tiny(digits, tmp_path / "p.json", budget_seconds=30)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_ctrl_c_once_the_profile_is_written_promises_nothing_more(
    digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = Profile.save

    def interrupted(self: Profile, path: Path) -> None:
        save(self, path)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Profile, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny(digits, tmp_path / "p.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]
    assert "are kept in" not in capsys.readouterr().err


def test_other_settings_do_not_go_on_from_a_journal(
    digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill() -> NoReturn:
        raise Killed

    with monkeypatch.context() as patch:
        break_after(patch, 1, kill)
        with pytest.raises(Killed):
            tiny(digits, tmp_path / "p.json")
    with pytest.raises(ProfileError, match="settings training=False, this one has settings training=True"):
        tiny(digits, tmp_path / "p.json", training=True)


def test_a_full_disk_keeps_the_journal(digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        break_after(patch, 2, lambda: patch.setattr(os, "fsync", full))
        with pytest.raises(ProfileError, match="No space left on device") as caught:
            tiny(digits, tmp_path / "p.json")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json.partial"]
    with monkeypatch.context() as patch:
        patch.setattr("advisor.files.os.replace", full)  # full only when the profile itself is written
        with pytest.raises(AdvisorError, match="No space left on device"):
            tiny(digits, tmp_path / "p.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json.partial"]
    tiny(digits, tmp_path / "p.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_an_old_profile_stays_until_the_end(digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "p.json"
    old = tiny(digits, out)

    def kill() -> NoReturn:
        raise Killed

    with monkeypatch.context() as patch:
        break_after(patch, 1, kill)
        with pytest.raises(Killed):
            tiny(digits, out)
    assert load_profile(out) == old
    assert tiny(digits, out).measurements != old.measurements


def test_places_that_cannot_take_a_profile(digits: Network, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"there is no folder .*absent; make it first"):
        tiny(digits, tmp_path / "absent" / "p.json")
    with pytest.raises(ProfileError, match="it is a folder"):
        tiny(digits, tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"precious")
    with pytest.raises(ProfileError, match="exists and is no profile"):
        tiny(digits, tmp_path / "weights.pt")
    assert (tmp_path / "weights.pt").read_bytes() == b"precious"


def test_nothing_to_measure() -> None:
    network = analyze(nn.Sequential(nn.ReLU()), (torch.zeros(1, 4),), name="relu")
    with pytest.raises(ProfileError, match="no convolution or linear layer"):
        measure(network, options={}, progress=False)
    with pytest.raises(ProfileError, match="expected more than 0"):
        measure(network, options={}, progress=False, budget_seconds=0)


def test_other_numbers_than_those_that_layers_are_timed_in_are_refused(digits: Network) -> None:
    double = analyze(nn.Sequential(nn.Linear(8, 4)).double(), torch.zeros(1, 8, dtype=torch.float64), name="double")
    with pytest.raises(ProfileError, match=r"weights of float64, expected float32.*convert it"):
        measure(double, options={}, progress=False)
    with pytest.raises(ProfileError, match="made with dtype=float32, asked for dtype=float64"):
        predict_latency(double, profile_of(digits, all_executions(digits, {}).values()))


def test_no_cuda_is_one_line(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        tiny(digits, device="cuda")


def test_work_that_does_not_run_here_is_named_and_predicted(
    digits: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory() -> NoReturn:
        raise torch.OutOfMemoryError("too little memory\nreally")

    dense = len(all_executions(digits, {}))
    with monkeypatch.context() as patch:
        timed = break_after(patch, dense, lambda: None)
        real = Session.execution

        def execution(self: Session, wanted: Any, seconds: float) -> Any:
            if len(timed) == dense:
                timed.append("refused")
                no_memory()
            return real(self, wanted, seconds)

        patch.setattr(Session, "execution", execution)
        profile = tiny(digits, tmp_path / "p.json", budget_seconds=30)
    assert len(profile.unmeasured) == 1
    assert "did not run here, left to prediction" in profile.notes[0]
    assert profile.notes[0].endswith("too little memory really")
    with monkeypatch.context() as patch:
        break_after(patch, 0, no_memory)
        with pytest.raises(ProfileError, match="does not run on this device"):
            tiny(digits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("training", [False, True])
def test_a_gpu_is_measured_the_same_way(digits: Network, tmp_path: Path, training: bool) -> None:
    profile = tiny(digits, tmp_path / "p.json", device="cuda", budget_seconds=20, training=training, batch=4)
    assert profile.settings is not None
    assert profile.settings.device == "cuda"
    assert set(profile.measurements)
    assert profile.warnings() == ()
    assert load_profile(tmp_path / "p.json") == profile
