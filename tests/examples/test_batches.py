"""Data in all forms that users have, and what is no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from advisor.errors import DataError
from advisor.examples.batches import Calibration, calibration, loss_of, output_of


def pair(count: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, generator=generator), torch.arange(count) % 3


def joined(found: Calibration) -> Tensor:
    return torch.cat([batch.args[0] for batch in found.batches])


@pytest.mark.parametrize(
    "make",
    [
        lambda: pair(),
        lambda: TensorDataset(*pair()),
        lambda: DataLoader(TensorDataset(*pair()), batch_size=4),
        lambda: [(pair()[0][:6], pair()[1][:6]), [pair()[0][6:], pair()[1][6:]]],
        lambda: ((x, y) for x, y in [pair()]),
        lambda: [((pair()[0],), pair()[1])],
    ],
)
def test_every_form_gives_the_same_examples(make: Callable[[], Any]) -> None:
    found = calibration(make())
    assert found.examples == 10
    assert torch.equal(joined(found), pair()[0])
    assert torch.equal(torch.cat([batch.targets for batch in found.batches]), pair()[1])
    assert calibration(found) is found


def test_only_as_many_as_asked_are_read() -> None:
    read = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(100):
            read.append(number)
            yield pair(4)

    found = calibration(batches(), examples=10)
    assert [batch.size for batch in found.batches] == [4, 4, 2]
    assert read == [0, 1, 2]
    assert sum(1 for _ in found.singles()) == 10


def test_a_shuffling_loader_is_fixed_by_the_seed_alone() -> None:
    def shuffled(seed: int) -> Tensor:
        return joined(calibration(DataLoader(TensorDataset(*pair()), batch_size=4, shuffle=True), seed=seed))

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = shuffled(0)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, shuffled(0))
    assert not torch.equal(first, shuffled(1))


def test_keyword_arguments_and_several_inputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
            return {"logits": x * scale}

    x, y = pair(4)
    found = calibration([({"x": x, "scale": torch.ones(4, 1)}, y)]).batches[0]
    assert torch.equal(output_of(Two(), found), x)
    assert output_of(Two(), found.part(1, 3)).shape == (2, 4)
    assert found.to(torch.device("cpu"), torch.float64).kwargs["x"].dtype == torch.float64


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (3, "got int; expected batches"),
        ("digits", "got str; expected batches"),
        (torch.zeros(3), "got Tensor; expected batches"),
        ([], "holds no examples"),
        (iter(()), "holds no examples"),
        ([torch.zeros(3, 4)], "batch 0: got a tensor of shape"),
        ([(torch.zeros(3, 4), torch.zeros(2))], "3 inputs and targets of shape"),
        ([(torch.zeros(3, 4), None)], "its targets are NoneType"),
        ([(torch.zeros(()), torch.zeros(1))], "without examples along a first axis"),
        ([pair(), (torch.full((2, 4), float("nan")), torch.zeros(2))], "batch 1: holds NaN"),
        ([(torch.full((2, 4), float("inf")), torch.zeros(2))], "batch 0: holds NaN or infinity"),
        ((torch.zeros(3, 4), torch.zeros(2)), "as many targets as inputs"),
        ((1 / 0 for _ in range(2)), "ZeroDivisionError"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(data: Any, says: str) -> None:
    with pytest.raises(DataError) as error:
        calibration(data, what="--data x")
    assert says in str(error.value)
    assert str(error.value).startswith("--data x")
    assert "\n" not in str(error.value)


def test_examples_must_be_some() -> None:
    with pytest.raises(DataError, match="examples=0; expected 1 or more"):
        calibration(pair(), examples=0)


def test_outputs_and_losses_that_do_not_fit_are_refused_in_one_line() -> None:
    batch = calibration(pair()).batches[0]
    with pytest.raises(DataError, match=r"the network fails on the data \(a tensor of shape \(10, 4\)\)"):
        output_of(nn.Linear(3, 3), batch)
    with pytest.raises(DataError, match="no tensor that a loss could take"):
        output_of(nn.Identity(), calibration([(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2))]).batches[0])
    with pytest.raises(DataError, match="targets run from 0 to 2, the network has 2 outputs"):
        loss_of(torch.zeros(10, 2), batch, F.cross_entropy)
    with pytest.raises(DataError, match="the loss fails on outputs of shape"):
        loss_of(torch.zeros(7, 3), batch, F.cross_entropy)
    with pytest.raises(DataError, match="expected one number"):
        loss_of(torch.zeros(10, 3), batch, lambda output, targets: output)
    with pytest.raises(DataError, match="the loss on the data is nan"):
        loss_of(torch.full((10, 3), float("nan")), batch, F.cross_entropy)
    assert loss_of(torch.zeros(10, 3), batch, F.cross_entropy) == pytest.approx(1.0986, abs=1e-4)
