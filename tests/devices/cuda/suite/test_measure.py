import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advisor.cli import run as command
from advisor.devices.cuda import run as gpu_run
from advisor.devices.cuda.clocks import ClockState
from advisor.devices.cuda.run import GpuOptions
from advisor.devices.cuda.suite import measure, timing
from advisor.devices.cuda.suite.pieces import GpuPiece, gpu_piece, layers_of, thinner
from advisor.devices.cuda.suite.records import gpu_problem, layer_key, layer_record, piece_key, piece_record
from advisor.devices.gpu.facts import Facts
from advisor.devices.profile import load_profile
from advisor.devices.steps.record import record_steps
from advisor.errors import DeviceError, ProfileError
from tests.devices.cuda.conftest import H100, linear, needs_gpu

FACTS = Facts(device="here", sm_count=4, boost_mhz=1000, fp32_tflops=0.1, bandwidth_gb_s=20, l2_mb=8)


@pytest.fixture
def on_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite with the CPU in place of a GPU: small pieces, and a graph that is the call itself."""
    state = ClockState(name="here", state="P0", sm_mhz=1000)
    monkeypatch.setattr(gpu_run, "facts_of", lambda device: H100)
    monkeypatch.setattr(gpu_run, "clock_state", lambda device: state)
    monkeypatch.setattr(measure, "clock_state", lambda device: state)
    monkeypatch.setattr(measure, "check_device", lambda device: "cpu")
    monkeypatch.setattr(measure, "measured_facts", lambda device, state: FACTS)
    monkeypatch.setattr(measure, "_FEWEST", 24)
    monkeypatch.setattr(measure, "gpu_piece", small_piece)
    monkeypatch.setattr(timing, "capture", lambda call, device: call)
    monkeypatch.setattr(timing, "_SECONDS", 0.0)
    monkeypatch.setattr(timing, "_LAYER_MS", 0.0)


def small_piece(number: int) -> GpuPiece:
    """Three layers of tens of channels on a small image."""
    a, b, c = 16 + 2 * number, 32 * (1 + number % 2), 16 + 3 * number
    module = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, c, 1), nn.ReLU(), nn.Conv2d(c, 8, 1))
    image = torch.randn(1, a, 6, 6)
    recording = record_steps(module, (image,))
    return GpuPiece(number=number, kind="abcd"[number % 4], module=module, input=image, recording=recording)


@pytest.mark.usefixtures("on_paper")
def test_the_whole_way_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    made = measure.measure_gpu_suite(device="cpu", budget_seconds=0.1, out=out, progress=False)
    profile = load_profile(str(out))
    assert profile.estimator is not None
    assert profile.settings.number == "fp32"
    assert profile.settings.one_batch is None
    assert made["error"]["count"] == 24
    assert not Path(f"{out}.partial").exists()
    assert json.loads(out.read_text()) == made


@pytest.mark.usefixtures("on_paper")
def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def stop(key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        taken.append(key)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return work()

    real = measure._Taker.take

    def take(self: Any, key: str, work: Callable[[], dict[str, Any]]) -> None:
        real(self, key, lambda: stop(key, work))

    monkeypatch.setattr(measure._Taker, "take", take)
    out = tmp_path / "here.json"
    for _ in range(2):
        monkeypatch.setattr(measure, "_PIECES", 1 + len(taken))
        with pytest.raises((KeyboardInterrupt, ProfileError)):
            measure.measure_gpu_suite(device="cpu", budget_seconds=5, out=out, progress=False)
    lines = [json.loads(line) for line in Path(f"{out}.partial").read_text().splitlines()][1:]
    keys = [line["key"] for line in lines]
    assert len(keys) == len(set(keys)) > 2
    assert keys[:2] == taken[:2], "what the first run took was not taken again"
    assert taken.count(keys[0]) == 1


def test_pieces_grow_and_stay_the_same() -> None:
    found = [gpu_piece(number) for number in range(6)]
    assert any(p.input.shape[0] > 16 for p in found)
    again = gpu_piece(3)
    assert torch.equal(again.input, found[3].input)
    assert again.recording.steps == found[3].recording.steps
    for drawn in found:
        assert all(e.method == "dense" for e in layers_of(drawn))
        assert sum(step.macs for step in drawn.recording.steps) < 2.1e11


def test_thinner_layers_fit_their_kernels() -> None:
    dense = linear(inputs=256, outputs=96)
    seen = {(t.method, t.block) for n in range(40) if (t := thinner(dense, n)) is not None}
    assert {method for method, _ in seen} == {"direct", "gather"}
    assert {block for _, block in seen} == {16, 32}
    for n in range(10):
        thin = thinner(dense, n)
        assert thin is not None
        assert 0 < thin.macs <= 0.51 * dense.macs
    assert thinner(linear(inputs=256, outputs=10), 0) is None
    assert thinner(linear(inputs=8, outputs=64), 0) is None


def test_records_say_what_is_wrong_with_them() -> None:
    drawn, layer = gpu_piece(0), linear()
    good = {"key": piece_key(0), "seconds": 1.0, **piece_record(drawn, {"eager_ms": 2.0, "graph_ms": 1.0})}
    alone = {"key": layer_key(layer), "seconds": 1.0, **layer_record(layer, 0.5)}
    good, alone = json.loads(json.dumps(good)), json.loads(json.dumps(alone))
    assert gpu_problem(good) == gpu_problem(alone) == ""
    assert gpu_problem({"key": piece_key(1), "failed": "no memory", "seconds": 1.0}) == ""
    assert "graph_ms=None" in gpu_problem(good | {"graph_ms": None})
    assert "expected a number above 0" in gpu_problem(alone | {"ms": -1})
    assert "other work" in gpu_problem(alone | {"key": "gpu:layer:x"})
    assert "describes no work" in gpu_problem(good | {"steps": [[["x"], 1]]})
    assert "no kind that is known" in gpu_problem({"key": "gpu:x", "seconds": 1.0})


def test_what_a_suite_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "p.json")
    if not torch.cuda.is_available():
        assert command(["profile", "--suite", "--device", "cuda", "--out", out]) == 2
        assert "cuda" in capsys.readouterr().err
    assert command(["profile", "zoo:digits_cnn", "--suite", "--out", out]) == 2
    assert "--suite with MODEL=zoo:digits_cnn" in capsys.readouterr().err


@pytest.mark.usefixtures("on_paper")
def test_options_that_a_suite_has_not(tmp_path: Path) -> None:
    for option in ("flush_l2", "cuda_graphs"):
        with pytest.raises(DeviceError, match="--suite with --"):
            measure.measure_gpu_suite(device="cpu", gpu=GpuOptions(**{option: True}), out=tmp_path / "p.json")
    with pytest.raises(ProfileError, match="budget_seconds=0"):
        measure.measure_gpu_suite(device="cpu", budget_seconds=0, out=tmp_path / "p.json")


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_FEWEST", 60)
    out = str(tmp_path / "gpu.json")
    asked = ["--device", "cuda", "--dtype", "float16", "--channels-last", "--budget-seconds", "5"]
    assert command(["profile", "--suite", *asked, "--out", out]) == 0
    profile = load_profile(out)
    assert profile.settings.number == "fp16"
    assert profile.settings.channels_last
    assert command(["latency", "torchvision:resnet18", "--profile", out, "--batch", "8", "--verify"]) == 0
