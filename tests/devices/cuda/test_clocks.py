import json
import subprocess
from dataclasses import replace

import pytest
import torch

from advisor.devices.cuda.clocks import ClockState, clock_notes, clock_state, parse
from advisor.errors import DeviceError
from tests.devices.cuda.conftest import needs_gpu

LINE = "NVIDIA H100 80GB HBM3, P0, 1980, 2619, 1980, 2619, 700.00, 118.53, Enabled, 34, 0\n"
GOOD = parse(LINE)


def test_a_line_of_the_driver() -> None:
    assert (
        ClockState(
            name="NVIDIA H100 80GB HBM3",
            state="P0",
            sm_mhz=1980,
            memory_mhz=2619,
            most_sm_mhz=1980,
            most_memory_mhz=2619,
            power_limit_w=700,
            power_w=118.53,
            persistence=True,
            celsius=34,
            busy_percent=0,
        )
        == GOOD
    )
    assert GOOD.text == "P0, SM 1980 of 1980 MHz, memory 2619 MHz, 119 of 700 W, 34 °C, persistence on"
    json.dumps(GOOD.to_json(), allow_nan=False)


def test_what_a_driver_does_not_say_is_none() -> None:
    found = parse("GPU, [N/A], [Not Supported], 810 MHz, [Unknown Error], N/A, [N/A], , Weird, x, 5 %")
    assert found == ClockState(name="GPU", memory_mhz=810, busy_percent=5)
    assert found.text == "memory 810 MHz"
    assert ClockState(name="GPU").text == "unknown"


@pytest.mark.parametrize("text", ["", "\n", "GPU, P0", "No devices were found"])
def test_another_answer_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="expected 11"):
        parse(text)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (GOOD, ""),
        (replace(GOOD, sm_mhz=1500.0), "went from 1980 to 1500 MHz"),
        (replace(GOOD, sm_mhz=1500.0), "stood at 1500 of 1980 MHz"),
        (replace(GOOD, power_w=699.0), "699 of 700 W"),
        (replace(GOOD, celsius=60.0), "from 34 to 60"),
    ],
)
def test_notes(after: ClockState, words: str) -> None:
    found = " | ".join(clock_notes(GOOD, after))
    assert words in found if words else found == ""


def test_notes_on_the_beginning() -> None:
    before = replace(GOOD, persistence=False, busy_percent=40.0)
    assert len(clock_notes(before, GOOD)) == 2
    assert "not known" in clock_notes(None, GOOD)[0]


def test_no_driver_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert clock_state() is None

    def broken(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 9, "NVIDIA-SMI has failed", "")

    monkeypatch.setattr(subprocess, "run", broken)
    assert clock_state("cuda:1") is None


def test_the_device_is_named_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, LINE, "")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert clock_state("cuda:1") == GOOD
    assert asked[0][-1] == "--id=7"


@pytest.mark.gpu
@needs_gpu
def test_a_real_gpu() -> None:
    state = clock_state("cuda")
    if state is None:
        pytest.skip("nvidia-smi is not here")
    assert state.name == torch.cuda.get_device_name()
