"""The learning-rate sweep, and where its answer goes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from advisor.errors import AdvisorError
from validation.contestants import Contestant, builder
from validation.data import DataSet, Request, load_data
from validation.running.folder import open_folder
from validation.running.trials import Study
from validation.training.evaluation import loss_of
from validation.training.rates import check_training, suggested, sweep, with_rate
from validation.training.recipe import Recipe


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("digits", Request(shape=(1, 8, 8), train_size=128, test_size=40))


@pytest.fixture
def study(spec: str, data: DataSet, tmp_path: Path) -> Study:
    return Study(
        model=spec,
        contestants=(Contestant(label="dense", plan=None),),
        seeds=(0,),
        data=data,
        recipe=Recipe(epochs=1, batch=32),
        out=tmp_path / "out",
        build=builder(spec, ((1, 1, 8, 8),)),
    )


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_rates_rise_geometrically_and_the_loss_is_a_running_mean(data: DataSet) -> None:
    recipe = Recipe(batch=128, optimizer="sgd", momentum=0.0)
    found = sweep(linear(), data.train, recipe, low=1e-4, high=1e-1, steps=7)
    assert found.rates == pytest.approx([1e-4 * 10 ** (step / 2) for step in range(7)])
    # One batch of all images each step: plain gradient descent, done by hand.
    module, pixels, labels = linear(), *data.train.batch(torch.arange(128))
    mean, expected = 0.0, []
    for step, rate in enumerate(found.rates):
        loss = loss_of(module(pixels), labels)
        mean = 0.9 * mean + 0.1 * loss.item()
        expected.append(mean / (1 - 0.9 ** (step + 1)))
        module.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= rate * parameter.grad
    assert found.losses == pytest.approx(expected, rel=1e-5)
    assert found.peak == suggested(found.rates, found.losses)


def test_it_ends_where_the_loss_blows_up(data: DataSet) -> None:
    found = sweep(linear(), data.train, Recipe(batch=32, optimizer="sgd"), low=1e-4, high=1e4, steps=60)
    assert found.blown_up is not None
    assert found.rates[-1] < found.blown_up < 1e4
    assert len(found.rates) == len(found.losses) < 60
    assert found.peak < found.blown_up


def test_a_fifth_of_the_rate_of_the_least_loss() -> None:
    assert suggested([0.001, 0.01, 0.1, 1.0], [2.3, 2.0, 1.5, 1.7]) == pytest.approx(0.02)


def test_a_loss_that_never_falls_says_nothing(data: DataSet) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 10) + 0 * self.unused

    with pytest.raises(AdvisorError, match=r"falls at no learning rate.*give a number with --rate"):
        sweep(Fixed(), data.train, Recipe(batch=32), steps=5)


def test_the_sweep_is_kept_for_later_calls(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.out.mkdir()
    first, found = with_rate(study, "auto")
    assert found is not None
    assert (first.rate, first.recipe.peak_rate) == ("auto", found.peak)
    assert first.settings()["peak_rate"] == found.peak
    open_folder(first)
    monkeypatch.setattr("validation.training.rates.sweep", None)
    again, same = with_rate(study, "auto")
    assert (again.recipe, same) == (first.recipe, found)
    longer, _ = with_rate(replace(study, recipe=replace(study.recipe, batch=16)), "auto")
    with pytest.raises(AdvisorError, match="batch=32, got 16"):
        open_folder(longer)


def test_a_sweep_of_other_settings_is_done_anew(study: Study) -> None:
    study.out.mkdir()
    with_rate(study, "auto")
    before = json.loads((study.out / "rates.json").read_text())
    _, found = with_rate(replace(study, recipe=replace(study.recipe, batch=64)), "auto")
    assert found is not None
    after = json.loads((study.out / "rates.json").read_text())
    assert before["of"]["batch"] == 32
    assert after["of"]["batch"] == 64
    (study.out / "rates.json").write_text("{}")
    open_folder(with_rate(study, "0.01")[0])
    with pytest.raises(AdvisorError, match=r"rates\.json is no sweep"):
        with_rate(study, "auto")


def test_a_rate_of_ones_own(study: Study) -> None:
    given, found = with_rate(study, "0.003")
    assert (given.rate, given.recipe.peak_rate, found) == ("given", 0.003, None)
    assert with_rate(study, "fixed") == (study, None)
    for wrong in ("fast", "0", "-1", "nan", "1e9"):
        with pytest.raises(AdvisorError, match="expected fixed, auto, or a number above 0"):
            check_training(study.recipe, "cpu", rate=wrong)
    with pytest.raises(AdvisorError, match="halving=1, expected 2 or more"):
        check_training(study.recipe, "cpu", halving=1)
