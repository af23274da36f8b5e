"""Steps of the deployed network under the clock: which layer each is, and that their times add up."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advisor.devices.inplace import rounds
from advisor.devices.inplace.collect import Time, dense_times, merged
from advisor.devices.inplace.deployed import Deployed, deployed
from advisor.devices.inplace.rounds import in_rounds
from advisor.devices.measuring.subject import inference_ready, real_inputs, real_module
from advisor.devices.measuring.timing import summarize
from advisor.network import Network
from advisor.patterns.option import DENSE
from advisor.runtime.execution import executions
from advisor.trace import analyze


class Twice(nn.Module):
    """A layer called twice on other shapes, one that a batch norm is folded into, and attention's own projections."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.nn.functional.max_pool2d(self.conv(x), 2)).relu()
        found: Tensor = self.last(self.norm(self.other(x)).mean((2, 3)))
        return found


@pytest.fixture(scope="module")
def network() -> Network:
    return analyze(Twice(), torch.zeros(1, 4, 8, 8), name="twice")


@pytest.fixture(scope="module")
def dense(network: Network) -> Deployed:
    return deployed(network, inference_ready(network, real_module(network, "cpu")), real_inputs(network, "cpu"))


def test_every_call_of_every_layer_is_found(dense: Deployed) -> None:
    places = dense.places()
    assert {name: len(found) for name, found in places.items()} == {"conv": 2, "other": 1, "last": 1}
    first, second = (dense.steps[index] for index in places["conv"])
    assert first.inputs[0] == (1, 4, 8, 8)
    assert second.inputs[0] == (1, 4, 4, 4)


def test_layers_are_known_by_their_own_shapes_and_the_rest_by_its_kind(network: Network, dense: Deployed) -> None:
    times = [Time(median_ms=i + 1.0, low_ms=i + 0.5, high_ms=i + 2.0) for i in range(len(dense.steps))]
    found = dense_times(network, dense, times, repeats=7)
    wanted = {e.key for layer in network.sparsifiable for e in executions(layer, DENSE)}
    assert set(found.layers) == wanted, "the folded bias is no part of the name"
    assert found.seen == {"conv", "other", "last"}
    assert set(found.parts) == {"elementwise", "pool", "reduction"}
    shown = [i for i, step in enumerate(dense.steps) if step.family != "view"]
    assert sum(found.parts.values()) + sum(m.median_ms for m in found.layers.values()) == pytest.approx(
        sum(times[i].median_ms for i in shown)
    )


def test_equal_work_at_two_places_takes_their_mean() -> None:
    both = merged([[Time(median_ms=1.0, low_ms=0.9, high_ms=1.1)], [Time(median_ms=3.0, low_ms=2.5, high_ms=3.1)]])
    assert both == [Time(median_ms=2.0, low_ms=0.9, high_ms=3.1)]


def test_rounds_give_times_that_add_up_to_the_whole(dense: Deployed) -> None:
    found = in_rounds(dense, {}, reference=lambda: None, seconds=0.05)
    assert len(found.steps) == len(dense.steps)
    assert found.taken["whole"].repeats >= 6
    assert found.sum_ms == pytest.approx(sum(step.median_ms for step in found.steps))
    for step, time in zip(dense.steps, found.steps, strict=True):
        assert (time.median_ms == 0) == (step.family == "view")
        assert time.low_ms <= time.median_ms <= time.high_ms


def test_a_burst_in_other_steps_each_time_is_in_the_sum() -> None:
    """Each round one of four steps takes four times as long: no median sees it, the whole does."""
    ms = np.ones((8, 4)) + 3 * np.eye(4)[np.arange(8) % 4]
    whole = summarize([7.0 * 1.1] * 8)  # 10 % more than all steps: the interpreter
    found = rounds._steps(ms, whole)
    assert sum(time.median_ms for time in found) == pytest.approx(7.0)
    assert [time.median_ms for time in found] == pytest.approx([7.0 / 4] * 4)
