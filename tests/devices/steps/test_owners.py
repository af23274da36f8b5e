from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from advisor.devices.steps.record import record_steps
from tests.devices.steps.networks import both


class Twice(nn.Module):
    """A layer that runs twice, one inside another module, a function in no module, and a weight that nobody updates."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.fixed, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.fixed.requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        x = self.body(self.body(x)) * 2.0
        return self.head(self.fixed(x).mean((2, 3)))


def by_module(module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    recording = record_steps(module.train(), inputs, training=True, optimizer=True)
    for step, name in zip(recording.steps, recording.modules, strict=True):
        if step.family != "view":
            found[name].append(step.target)
    return found


def test_steps_forward_and_back_and_the_update_belong_to_their_module() -> None:
    found = by_module(Twice(), (torch.randn(2, 4, 5, 5),))
    conv = found["body.0"]
    assert conv[:2] == ["convolution"] * 2
    assert conv.count("convolution_backward") == 2
    # A second gradient of one weight is added to the first; then momentum and update, of weight and bias.
    assert conv[-6:] == ["mul", "add", "add"] * 2
    assert conv.count("add") == 4 + 2
    assert found["body.1"].count("native_batch_norm_backward") == 2
    assert found["body.2"].count("threshold_backward") == 2
    assert found["fixed"] == ["convolution", "convolution_backward"], "it passes a gradient on and stays as it is"
    assert found["head"][0] == "addmm"
    assert found["head"].count("mm") == 2
    assert found["head"][-6:] == ["mul", "add", "add"] * 2
    assert "mul" in found[""]
    assert not {"convolution_backward", "mm", "addmm"} & set(found[""])


def test_a_module_that_is_run_for_real_says_the_same() -> None:
    fake, real = both(Twice(), (torch.randn(2, 4, 5, 5),), training=True, optimizer=True)
    assert fake.modules == real.modules


def test_at_inference_only_the_forward_pass_counts() -> None:
    recording = record_steps(Twice().eval(), (torch.randn(2, 4, 5, 5),))
    assert set(recording.modules) == {"", "body.0", "body.1", "body.2", "fixed", "head"}
    assert not any(step.backward for step in recording.steps)
