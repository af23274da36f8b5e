from typing import Any

import torch
from torch import Tensor, nn

from advisor.devices.steps.families import family_of
from advisor.devices.steps.record import record_steps
from advisor.devices.steps.step import FAMILIES, Step
from tests.devices.steps.networks import steps_of


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Tensor) -> Any:
        return self.function(*x)


def only(function: Any, *inputs: Tensor) -> Step:
    (step,) = steps_of(Calls(function), *inputs)
    return step


def test_views_move_nothing_and_have_no_numbers() -> None:
    for view in (
        lambda x: x.view(6, 4),
        lambda x: x.permute(1, 0, 2),
        lambda x: x[:, 1:, 0],
        lambda x: x.unsqueeze(0),
        lambda x: x.expand(2, 3, 4),
        lambda x: x.split(1),
        lambda x: x.reshape(24),
    ):
        for step in steps_of(Calls(view), torch.zeros(2, 3, 4)):
            assert step.family == "view", step
            assert (step.read_bytes, step.written_bytes, step.parameters) == (0, 0, ())


def test_a_reshape_that_copies_is_no_view() -> None:
    found = steps_of(Calls(lambda x: x.transpose(1, 2).reshape(2, 12)), torch.zeros(2, 3, 4))
    assert next(s.family for s in found) == "view"
    assert sum(s.written_bytes for s in found) == 4 * 24


def test_an_expanded_tensor_has_the_bytes_of_its_memory() -> None:
    step = only(lambda x, y: x + y, torch.zeros(1, 3, 1).expand(5, 3, 7), torch.zeros(5, 3, 7))
    assert (step.read_bytes, step.written_bytes) == (4 * (3 + 105), 4 * 105)
    assert step.layouts == "ec"


def test_empty_tensors_have_no_bytes() -> None:
    step = only(lambda x: x + 1, torch.zeros(0, 4))
    assert step.bytes_moved == 0
    assert step.macs == 0


def test_layouts_tell_how_an_input_lies() -> None:
    last = torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    step = only(lambda *x: torch.cat(x), torch.zeros(2, 3, 4, 5), last, torch.zeros(2, 3, 5, 4).transpose(2, 3))
    assert step.layouts == "cls"
    assert step.family == "copy"
    assert step.read_bytes == step.written_bytes == 3 * 4 * 120


def test_in_place_and_the_same_elsewhere_have_one_name() -> None:
    inside, outside = only(lambda x: x.add_(1), torch.zeros(3)), only(lambda x: x.add(1), torch.zeros(3))
    assert inside.target == outside.target == "add"
    assert inside.in_place
    assert not outside.in_place
    assert inside.family == outside.family == "elementwise"
    assert inside.key != outside.key


def test_other_numbers_are_other_steps() -> None:
    pool = lambda k: nn.AvgPool2d(k, 1)  # noqa: E731
    x = torch.zeros(1, 1, 6, 6)
    keys = {steps_of(pool(k), x)[-1].key for k in (2, 3)}
    assert len(keys) == 2


def test_types_are_named() -> None:
    step = only(lambda x: x * 2, torch.zeros(4, dtype=torch.float64))
    assert (step.dtype, step.bytes_moved) == ("float64", 64)


def test_every_family_is_known_and_names_stand_once() -> None:
    from advisor.devices.steps.families import _NAMES

    names = [name for held in _NAMES.values() for name in held.split()]
    assert len(names) == len(set(names))
    assert set(_NAMES) <= set(FAMILIES)
    assert family_of("conv2d") == "layer"
    assert family_of("conv2d", view=True) == "view"
    assert family_of("never heard of") == "other"


def test_an_optimiser_s_step_is_seen() -> None:
    net = nn.Linear(4, 4).train()
    without = record_steps(net, (torch.zeros(2, 4),), training=True).steps
    steps = record_steps(net, (torch.zeros(2, 4),), training=True, optimizer=True).steps
    assert steps[: len(without)] == without
    rule = steps[len(without) :]
    assert {s.target for s in rule if s.family != "view"} == {"mul", "add"}  # momentum, then the weight
    assert all(s.in_place and s.bytes_moved > 0 for s in rule if s.family != "view")
