import pytest
import torch

from advisor.devices.steps.record import record_steps
from advisor.devices.suite.designs import kinds, piece
from advisor.devices.suite.thin import thinned

SMALL = (38, 58, 60, 61, 94, 113)


def keys(number: int) -> list[str]:
    drawn = piece(number)
    return [step.key for step in record_steps(drawn.module, (drawn.input,)).steps]


@pytest.mark.parametrize("number", SMALL)
def test_the_same_number_is_the_same_network(number: int) -> None:
    one, two = piece(number), piece(number)
    assert keys(number) == keys(number)
    assert torch.equal(one.input, two.input)
    assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True))


def test_other_numbers_are_other_networks() -> None:
    found = [" ".join(keys(number)) for number in SMALL]
    assert len(set(found)) == len(found)
    assert keys(10) != keys(58) != keys(94)  # all of one kind


def test_drawing_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    piece(60)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_kind_comes_in_turn_and_does_a_bounded_amount_of_work() -> None:
    count = len(kinds())
    numbers = range(4 * count, 5 * count)
    seen = []
    for number in numbers:
        drawn = piece(number)
        seen.append(drawn.kind)
        if number % 2:
            macs = sum(step.macs for step in record_steps(drawn.module.to("meta"), (drawn.input,)).steps)
            assert 5e6 <= macs <= 6e9, (number, macs)
        assert not drawn.module.training
        assert drawn.input.shape[1:2]
        assert drawn.input.shape[0] >= 1
    assert seen == list(kinds())


def test_with_norms_a_piece_has_the_same_layers() -> None:
    deployed, trained = piece(61), piece(61, norm=True)
    shapes = [
        [tuple(m.weight.shape) for m in drawn.module.modules() if isinstance(m, torch.nn.Conv2d)]
        for drawn in (deployed, trained)
    ]
    assert shapes[0] == shapes[1]
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in trained.module.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in deployed.module.modules())


def test_a_thinned_piece_is_a_copy_that_reads_fewer_connections(compiled: None) -> None:
    drawn = piece(61)
    before = {name: value.clone() for name, value in drawn.module.state_dict().items()}
    one, two = (thinned(drawn.module, drawn.input[:1], 61) for _ in range(2))
    assert one is not None
    assert two is not None
    assert all(torch.equal(value, before[name]) for name, value in drawn.module.state_dict().items())
    macs = [sum(s.macs for s in record_steps(m, (drawn.input[:1],)).steps) for m in (drawn.module, one, two)]
    assert macs[1] < macs[0]
    assert macs[1] == macs[2]
    with torch.inference_mode():
        assert one(drawn.input[:1]).shape == drawn.module(drawn.input[:1]).shape


def test_a_piece_without_wide_layers_is_not_thinned() -> None:
    assert thinned(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 8, 8), 0) is None
