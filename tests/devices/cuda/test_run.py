import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.cli import run as command
from advisor.devices.cuda import run as gpu_run
from advisor.devices.cuda.clocks import ClockState
from advisor.devices.cuda.flush import FlushingClock
from advisor.devices.cuda.run import GpuOptions, GpuRun, gpu_options
from advisor.devices.document import from_document, to_document
from advisor.devices.measuring.assemble import assemble
from advisor.devices.measuring.measure import measure
from advisor.devices.measuring.session import Session
from advisor.devices.measuring.work import in_order, options_of, reference_of, tasks_of
from advisor.errors import DeviceError, ProfileError
from advisor.network import Network
from tests.devices.cuda.conftest import H100, V100, conv, needs_gpu
from tests.devices.synthetic import MACHINE, SETTINGS, all_executions, profile_of

GRAPH = {"graph_ms": 2.0, "launch_ms": 1.0, "kernels": 7, "problem": ""}


@pytest.fixture(autouse=True)
def _a_gpu_on_paper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the tensors, which lie on the CPU."""
    if "gpu" not in request.keywords:
        monkeypatch.setattr(gpu_run, "facts_of", lambda device: H100)
        monkeypatch.setattr(gpu_run, "clock_state", lambda device: ClockState(name="H100", state="P0", sm_mhz=1980))
        monkeypatch.setattr(gpu_run, "time_graph", lambda call, device, **more: FakeTiming())


class FakeTiming:
    def to_json(self) -> dict[str, Any]:
        return dict(GRAPH)


def test_options_for_gpus_are_refused_on_the_cpu() -> None:
    plain: dict[str, Any] = {"dtype": None, "channels_last": False, "flush_l2": False, "cuda_graphs": False}
    assert gpu_options("cpu", **plain) is None
    assert gpu_options("cuda:1", **plain) == GpuOptions()
    assert gpu_options("cuda", **plain | {"dtype": "float16", "flush_l2": True}) == GpuOptions(
        number="fp16", flush_l2=True
    )
    for option, value in (("dtype", "float16"), ("channels_last", True), ("flush_l2", True), ("cuda_graphs", True)):
        with pytest.raises(DeviceError, match=f"^--{option.replace('_', '-')}.* is for GPUs, got --device cpu"):
            gpu_options("cpu", **plain | {option: value})
    with pytest.raises(DeviceError, match="unknown dtype 'float8'"):
        gpu_options("cuda", **plain | {"dtype": "float8"})


@pytest.mark.parametrize("option", [["--dtype", "tf32"], ["--channels-last"], ["--flush-l2"], ["--cuda-graphs"]])
def test_the_command_refuses_them_in_one_line(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["profile", "zoo:digits_cnn", "--out", str(tmp_path / "p.json"), *option]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert f"{option[0]}" in found.err
    assert "is for GPUs" in found.err
    assert found.err.count("\n") == 1


def test_measure_refuses_them_on_the_cpu(digits: Network) -> None:
    with pytest.raises(DeviceError, match="GPU options were given for device cpu"):
        measure(digits, gpu=GpuOptions(number="fp16"), progress=False)


def test_a_number_format_that_the_gpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "facts_of", lambda device: V100)
    with pytest.raises(DeviceError, match=r"number format bf16: Tesla V100 has compute capability 7\.0"):
        GpuRun(GpuOptions(number="bf16"), "cuda")


@pytest.mark.parametrize("number", ["", "fp32", "bf16"])
@pytest.mark.parametrize("training", [False, True])
def test_layers_run_in_the_form(number: str, training: bool) -> None:
    before = torch.backends.cudnn.conv.fp32_precision
    seen: list[tuple[torch.dtype, bool]] = []
    with GpuRun(GpuOptions(number=number, channels_last=True), "cpu") as form:
        module, inputs = conv().build()
        module.register_forward_hook(
            lambda made, given, out: seen.append((out.dtype, out.is_contiguous(memory_format=torch.channels_last)))
        )
        form.layer(module, inputs, training=training)()
    wanted = torch.bfloat16 if number == "bf16" else torch.float32
    assert seen[-1] == (wanted, True)
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_the_cold_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(gpu_run, "L2Flush", lambda device: lambda: flushed.append(1))
    with GpuRun(GpuOptions(flush_l2=True), "cpu") as form:
        clock = form.clock()
        assert isinstance(clock, FlushingClock)
        assert form.clock() is clock
        clock(lambda: None)
    assert flushed == [1]


def test_a_session_times_in_the_form_and_tells_launches_apart(digits: Network) -> None:
    tasks = in_order(tasks_of(digits, {}, training=True))
    reference = reference_of(tasks, "cpu").execution
    with (
        GpuRun(GpuOptions(number="bf16", cuda_graphs=True), "cpu") as form,
        Session(digits, reference, device="cpu", training=True, seed=0, gpu=form) as session,
    ):
        first, last = session.whole(0.0), session.whole(0.0)
        layers = [
            {"key": t.execution.key, "execution": all_fields(t.execution), **session.execution(t.execution, 0.0)}
            for t in tasks[:3]
        ]
    assert first["graph"] == GRAPH
    assert "graph" not in last
    records = [{"key": "whole:start", **first}, {"key": "whole:end", **last}, *layers]
    made = assemble(
        "x", digits, replace(SETTINGS, training=True), MACHINE, tasks, [r | {"seconds": 1.0} for r in records]
    )
    (whole,) = made.networks.values()
    assert (whole.graph_ms, whole.launch_ms, whole.launches) == (2.0, 1.0, 7)
    again = from_document(json.loads(json.dumps(to_document(made))), "x")
    assert again == made


def all_fields(execution: Any) -> dict[str, Any]:
    from advisor.devices.document import execution_document

    return json.loads(json.dumps(execution_document(execution)))  # type: ignore[no-any-return]


def test_notes_say_the_clocks_and_what_has_no_kernel(digits: Network) -> None:
    options = options_of(digits, ("n:m", "channel"), include_ends=True)
    notes = GpuRun(GpuOptions(number="fp16"), "cuda").notes(digits, options)
    assert notes[0] == "clocks: P0, SM 1980 MHz before, P0, SM 1980 MHz after"
    (channel,) = [note for note in notes if note.startswith("pattern channel")]
    assert "no kernel on NVIDIA H100 for" in channel
    assert "tensor cores take 16 outputs at a time" in channel
    assert len([note for note in notes if note.startswith("pattern n:m")]) <= 1


def test_settings_in_the_form(digits: Network) -> None:
    plain = profile_of(digits, all_executions(digits, {}).values())
    assert "number" not in to_document(plain)["settings"]
    settings = replace(SETTINGS, device="cuda", dtype="float16", number="fp16", channels_last=True, flush_l2=True)
    assert settings.text == "cuda, batch 1, 1 thread, float16, inference, channels last, cold L2"
    assert "float32 without TF32" in replace(settings, dtype="float32", number="fp32").text
    assert "float32 as TF32" in replace(settings, dtype="float32", number="tf32").text
    made = replace(plain, settings=settings)
    assert from_document(json.loads(json.dumps(to_document(made))), "x").settings == settings
    made.check(dtype="float32", number="fp16", channels_last=True, flush_l2=True)
    plain.check(number="", channels_last=False, flush_l2=False)
    for asked in ({"number": ""}, {"channels_last": False}, {"flush_l2": False}, {"dtype": "bfloat16"}):
        with pytest.raises(ProfileError, match=f"made with {next(iter(asked))}="):
            made.check(**asked)  # type: ignore[arg-type]


@pytest.mark.gpu
@needs_gpu
def test_a_profile_on_the_gpu_in_a_form(tmp_path: Path) -> None:
    out = str(tmp_path / "gpu.json")
    asked = ["--device", "cuda", "--dtype", "float16", "--channels-last", "--flush-l2", "--cuda-graphs"]
    assert command(["profile", "zoo:digits_cnn", "--budget-seconds", "5", "--out", out, *asked]) == 0
    document = json.loads(Path(out).read_text())
    assert document["settings"]["number"] == "fp16"
    assert document["networks"][0]["graph_ms"] > 0
    assert document["networks"][0]["launches"] > 0
    assert any("clocks" in note for note in document["notes"])
