"""The rules for convolutions' scratch against what the allocator hands out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advisor.devices.memory import predict_memory
from advisor.devices.memory.convolutions import BACKWARD_CODE_BYTES, FORWARD_CODE_BYTES
from advisor.devices.memory.steps import Step

from .allocator import allocated_peak

KNOWN = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX2"
pytestmark = pytest.mark.skipif(not KNOWN, reason="the rules were read off oneDNN on a CPU with AVX2")

# channels, size, outputs, kernel, stride, groups, batch
SHAPES = {
    "image": (3, 64, 32, 7, 2, 1, 1),
    "plain": (32, 28, 64, 3, 1, 1, 1),
    "plain, batch": (32, 28, 64, 3, 1, 1, 4),
    "odd channels": (30, 28, 70, 3, 1, 1, 1),
    "pointwise": (64, 28, 64, 1, 1, 1, 1),
    "pointwise, strided": (128, 28, 64, 1, 2, 1, 1),
    "depthwise": (58, 28, 58, 3, 1, 58, 1),
    "depthwise, strided": (48, 28, 48, 3, 2, 48, 1),
    "grouped": (64, 28, 64, 3, 1, 4, 1),
    "small: torch's own": (6, 28, 32, 3, 1, 1, 1),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    assert torch.get_num_threads() == 1, "tests run with one thread"


@pytest.mark.parametrize("name", SHAPES)
def test_forward_is_what_the_allocator_gave(name: str) -> None:
    channels, size, outputs, kernel, stride, groups, batch = SHAPES[name]
    layer = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups)
    x = torch.randn(batch, channels, size, size)
    step = Step(layer, (x,), training=False, optimizer=None, device="cpu")
    step()
    found = predict_memory(layer, (x,))
    code = FORWARD_CODE_BYTES if _compiled(name) else 0
    predicted = found.activations_bytes + found.workspace_bytes - code
    assert predicted == pytest.approx(allocated_peak(step), abs=2048)  # padded biases and alignment


@pytest.mark.parametrize("name", SHAPES)
def test_backward_is_what_the_allocator_gave(name: str) -> None:
    channels, size, outputs, kernel, stride, groups, batch = SHAPES[name]
    layer = nn.Sequential(
        nn.Identity(), nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    )
    x = torch.randn(batch, channels, size, size, requires_grad=True)
    step = Step(layer, (x,), training=True, optimizer=None, device="cpu")
    step()
    x.grad = None
    for parameter in layer.parameters():
        parameter.grad = None
    found = predict_memory(layer, (x,), training=True, optimizer=None)
    code = FORWARD_CODE_BYTES + BACKWARD_CODE_BYTES if _compiled(name) else 0
    tensors = found.activations_bytes + found.gradients_bytes
    assert tensors + found.workspace_bytes - code == pytest.approx(allocated_peak(step), rel=0.01)


def _compiled(name: str) -> bool:
    """Whether oneDNN runs it; torch's own convolutions compile nothing."""
    return name not in ("pointwise", "small: torch's own")


def test_more_threads_go_another_way() -> None:
    layer, x = nn.Conv2d(64, 64, 1), torch.zeros(1, 64, 56, 56)
    one = predict_memory(layer, (x,), threads=1)
    two = predict_memory(layer, (x,), threads=2)
    assert one.workspace_bytes == 0
    assert two.workspace_bytes > x.nbytes  # oneDNN, with its copies
    assert torch.get_num_threads() == 1


def test_what_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.devices.memory.convolutions.backend_of", lambda *_: "Novel")
    found = predict_memory(nn.Conv2d(3, 8, 3), (torch.zeros(1, 3, 56, 56),))
    assert found.notes == ("not counted: the scratch of convolutions by Novel in torch.float32",)
