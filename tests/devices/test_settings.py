from dataclasses import replace
from pathlib import Path

import pytest
import torch

from advisor.devices import settings
from advisor.devices.settings import check_device, cpu_info, cpu_threads, machine_differences, this_machine
from advisor.errors import DeviceError
from tests.devices.synthetic import MACHINE, SETTINGS

CPUINFO = """processor : 0
model name : Imaginary CPU @ 3 GHz
flags : fpu sse4_2 avx2 avx512f avx512_vnni amx_tile constant_tsc

processor : 1
model name : Imaginary CPU @ 3 GHz
flags : fpu sse4_2 avx2 avx512f avx512_vnni amx_tile constant_tsc
"""


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu'; expected cpu, cuda or cuda:INDEX"),
        ("cpu:1", "unknown device"),
        ("cuda:x", "unknown device"),
        ("", "unknown device"),
    ],
)
def test_devices_that_are_none(device: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        check_device(device)


def test_cuda_without_cuda_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no CUDA device; run on a machine with an NVIDIA GPU") as caught:
        check_device("cuda")
    assert "\n" not in str(caught.value)


def test_a_cuda_index_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == "cuda:1"
    with pytest.raises(DeviceError, match="2 CUDA devices, 0 to 1"):
        check_device("cuda:2")


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with cpu_threads(1) as in_force:
        assert in_force == torch.get_num_threads() == 1
    with pytest.raises(KeyError), cpu_threads(1):
        raise KeyError
    with pytest.raises(DeviceError), cpu_threads(0):
        pass
    assert torch.get_num_threads() == before


def test_only_flags_that_speak_of_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(settings, "Path", lambda text: tmp_path / "cpuinfo")
    assert cpu_info() == ("Imaginary CPU @ 3 GHz", ("amx_tile", "avx2", "avx512_vnni", "avx512f", "sse4_2"))


def test_no_cpuinfo_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "Path", lambda text: tmp_path / "absent")
    name, flags = cpu_info()
    assert isinstance(name, str)
    assert flags == ()


def test_this_machine_does_not_differ_from_itself() -> None:
    here = this_machine()
    assert here.torch == str(torch.__version__)
    assert here.cores >= 1
    assert machine_differences(here, here) == ()


def test_differences_are_named() -> None:
    there = replace(MACHINE, name="Other", torch="2.0", flags=("avx512f",))
    text = " ".join(machine_differences(MACHINE, there))
    assert "device Roofline, here it is Other" in text
    assert "torch 2.14.1, here it is 2.0" in text
    assert "without avx2 and with avx512f" in text


def test_settings_in_words() -> None:
    assert SETTINGS.text == "cpu, batch 1, 1 thread, float32, inference"
    assert replace(SETTINGS, threads=2, training=True).text == "cpu, batch 1, 2 threads, float32, training"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_its_capability_and_where_tf32_is_allowed() -> None:
    here = this_machine("cuda")
    assert any(flag.startswith("sm_") for flag in here.flags)
    assert ("tf32-convolution" in here.flags) == torch.backends.cudnn.allow_tf32
    assert "CUDA" in here.system


def test_where_tf32_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        assert "tf32-convolution" in settings._tensor_float()
        torch.backends.cudnn.allow_tf32 = False
        assert "tf32-convolution" not in settings._tensor_float()
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("ieee", False), ("none", False)])
def test_tf32_by_the_newer_setting_where_torch_refuses_the_older(
    monkeypatch: pytest.MonkeyPatch, precision: str, allowed: bool
) -> None:
    class Torn:
        """What torch from 2.9 on does once a user set `fp32_precision` alone."""

        fp32_precision = precision

        @property
        def allow_tf32(self) -> bool:
            raise RuntimeError("mix of the legacy and new APIs")

        @property
        def conv(self) -> "Torn":
            return self

    monkeypatch.setattr(torch.backends, "cudnn", Torn())
    monkeypatch.setattr(torch.backends.cuda, "matmul", Torn())
    assert settings._tensor_float() == (("tf32-convolution", "tf32-matmul") if allowed else ())
