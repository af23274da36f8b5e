from types import SimpleNamespace

import pytest
import torch
from torch import nn

from advisor.devices.cuda.flush import FlushingClock, L2Flush
from advisor.devices.cuda.graphs import GraphTiming, capture, time_graph
from advisor.devices.cuda.kernels import count_kernels, kernel_names
from advisor.devices.measuring.timing import Sample, summarize
from advisor.errors import KernelError
from tests.devices.cuda.conftest import needs_gpu


def sample(ms: float) -> Sample:
    return summarize([ms] * 9)


def test_launch_cost_is_the_difference() -> None:
    timing = GraphTiming(eager=sample(1.0), graph=sample(0.4), kernels=60)
    assert timing.launch_ms == pytest.approx(0.6)
    assert timing.launch_us_per_kernel == pytest.approx(10.0)
    assert timing.launch_bound
    assert timing.to_json()["graph_ms"] == 0.4


def test_what_the_device_hides_costs_nothing() -> None:
    timing = GraphTiming(eager=sample(5.0), graph=sample(5.1), kernels=None)
    assert timing.launch_ms == 0.0
    assert timing.launch_us_per_kernel is None
    assert not timing.launch_bound


def test_without_a_graph_it_says_so() -> None:
    timing = GraphTiming(eager=sample(5.0), graph=None, kernels=3, problem="it waits for the device")
    assert timing.launch_ms is None
    assert timing.to_json()["problem"] == "it waits for the device"


def event(name: str, device: str, note: bool = False) -> SimpleNamespace:
    return SimpleNamespace(name=name, device_type=SimpleNamespace(name=device), is_user_annotation=note)


def test_kernels_are_counted_and_copies_are_not() -> None:
    events = [
        event("aten::conv2d", "CPU"),
        event("sgemm", "CUDA"),
        event("sgemm", "CUDA"),
        event("Memcpy HtoD (Pageable -> Device)", "CUDA"),
        event("Memset (Device)", "CUDA"),
        event("step", "CUDA", note=True),
        event("relu", "CUDA"),
    ]
    assert kernel_names(events) == {"sgemm": 2, "relu": 1}


def _network() -> tuple[nn.Module, torch.Tensor]:
    layers = [layer for _ in range(10) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers).cuda().eval(), torch.randn(8, 64, device="cuda")


@pytest.mark.gpu
@needs_gpu
def test_a_small_network_is_bound_by_launches() -> None:
    module, x = _network()

    def call() -> object:
        with torch.inference_mode():
            return module(x)

    timing = time_graph(call, "cuda", max_seconds=0.3)
    assert timing.graph is not None
    assert timing.launch_ms is not None
    assert timing.kernels is None or timing.kernels >= 10
    flushed = time_graph(call, "cuda", clock=FlushingClock(_clock(), L2Flush("cuda")), max_seconds=0.3)
    assert flushed.eager.median_ms > 0


def _clock():  # type: ignore[no-untyped-def]
    from advisor.devices.measuring.clocks import clock_for

    return clock_for("cuda")


@pytest.mark.gpu
@needs_gpu
def test_a_replay_computes_the_same() -> None:
    module, x = _network()
    with torch.inference_mode():
        out = torch.empty(8, 64, device="cuda")
        replay = capture(lambda: out.copy_(module(x)))
        x.fill_(0.5)
        replay()
        torch.testing.assert_close(out, module(x))
    assert count_kernels(lambda: module(x)) != 0


@pytest.mark.gpu
@needs_gpu
def test_what_waits_for_the_device_is_no_graph() -> None:
    x = torch.ones(4, device="cuda")
    with pytest.raises(KernelError, match="no CUDA graph"):
        capture(lambda: float(x.sum()))
    assert float(x.sum()) == 4
