"""What is written down of a layer in training is what it does in one."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advisor.devices.model.training_of import training_steps_of
from advisor.devices.steps.record import record_steps
from advisor.devices.steps.step import Step
from advisor.runtime.execution import Execution
from advisor.runtime.standalone import build


class Between(nn.Module):
    """The layer within a network: what comes before it learns, and what follows hands a gradient back."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Parameter(torch.ones(shape)), layer, nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layer(x * self.before))


def recorded(execution: Execution) -> list[Step]:
    layer, inputs = build(execution)
    module = Between(layer, tuple(inputs.shape)).train()
    found = record_steps(module, (inputs,), training=True, optimizer=True)
    pairs = zip(found.steps, found.modules, strict=True)
    return [step for step, name in pairs if name.startswith("layer") and step.family != "view"]


CONV: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
LAYERS = {
    "conv": Execution(
        kind="conv2d", method="dense", input_shape=(2, 8, 10, 10), weight_shape=(12, 8, 3, 3), bias=True, **CONV
    ),
    "strided, in groups": Execution(
        kind="conv2d", method="dense", input_shape=(2, 8, 10, 9), weight_shape=(16, 2, 3, 3), groups=4, stride=(2, 2),
        padding=(1, 1), dilation=(1, 1),
    ),
    "transposed": Execution(
        kind="conv_transpose2d", method="dense", input_shape=(2, 8, 5, 5), weight_shape=(8, 6, 3, 3), stride=(2, 2),
        padding=(1, 1), dilation=(1, 1), output_padding=(1, 1), bias=True,
    ),
    "1d": Execution(
        kind="conv1d", method="dense", input_shape=(2, 8, 10), weight_shape=(12, 8, 3), stride=(1,), padding=(1,),
        dilation=(1,),
    ),
    "linear": Execution(kind="linear", method="dense", input_shape=(3, 20), weight_shape=(6, 20), bias=True),
    "linear, no bias": Execution(kind="linear", method="dense", input_shape=(3, 20), weight_shape=(6, 20)),
    "linear, one row": Execution(kind="linear", method="dense", input_shape=(1, 20), weight_shape=(6, 20), bias=True),
    "packed": Execution(
        kind="conv2d", method="packed", input_shape=(2, 8, 10, 10), weight_shape=(12, 8, 3, 3), kept=270, block=9,
        **CONV,
    ),
    "packed, single values": Execution(
        kind="linear", method="packed", input_shape=(3, 20), weight_shape=(6, 20), kept=31, bias=True
    ),
    "direct": Execution(
        kind="conv2d", method="direct", input_shape=(2, 8, 10, 10), weight_shape=(16, 8, 3, 3), kept=12, block=8,
        bias=True, **CONV,
    ),
    "direct, single outputs": Execution(
        kind="conv2d", method="direct", input_shape=(2, 8, 10, 10), weight_shape=(12, 8, 3, 3), kept=24, block=1,
        **CONV,
    ),
    "direct linear": Execution(
        kind="linear", method="direct", input_shape=(3, 20), weight_shape=(16, 20), kept=14, block=8, bias=True
    ),
    "direct linear, no bias": Execution(
        kind="linear", method="direct", input_shape=(3, 20), weight_shape=(16, 20), kept=50, block=1
    ),
}  # fmt: skip


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", LAYERS)
def test_the_steps_are_those_of_a_run(name: str) -> None:
    found, wanted = Counter(training_steps_of(LAYERS[name])), Counter(recorded(LAYERS[name]))
    assert [s.key for s in (found - wanted)] == [s.key for s in (wanted - found)]
    assert found == wanted
