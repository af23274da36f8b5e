"""Training runs: the same batches for everyone, masks that stay, numbers that are no numbers."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from advisor.errors import DataError, ModelError
from advisor.network import Network
from advisor.plans.plan import Plan
from advisor.runtime.sparse import Sparse
from validation.contestants import Contestant, begin, builder, check_network
from validation.data import DataSet, Request, load_data
from validation.training.evaluation import evaluate, logits_of, recalibrate
from validation.training.recipe import Recipe, batches
from validation.training.trainer import DivergedError, Trainer

DIGITS = Request(shape=(1, 8, 8), train_size=200, test_size=100)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("digits", DIGITS)


def start(spec: str, plan: Plan | None, seed: int = 0) -> nn.Module:
    return begin(Contestant(label="x", plan=plan), builder(spec, ((1, 1, 8, 8),)), seed, None)


def weight_of(layer: nn.Module) -> torch.Tensor:
    """As the dense layer stores it."""
    return layer.dense_weight() if isinstance(layer, Sparse) else layer.weight


def test_every_plan_sees_the_same_batches(data: DataSet) -> None:
    def labels(seed: int, epoch: int) -> list[int]:
        return [label for _, part in batches(data.train, Recipe(), seed=seed, epoch=epoch) for label in part.tolist()]

    assert labels(0, 0) == labels(0, 0)
    assert labels(0, 0) != labels(0, 1)
    assert labels(0, 0) != labels(1, 0)
    assert len(labels(0, 0)) == 192, "three full batches of 64"


def test_fewer_images_than_a_batch_make_one(data: DataSet) -> None:
    few = load_data("digits", Request(shape=(1, 8, 8), train_size=10, test_size=5))
    assert [len(part) for _, part in batches(few.train, Recipe(), seed=0, epoch=0)] == [10]


def test_all_plans_of_a_seed_start_from_the_same_dense_weights(spec: str, plan: Plan) -> None:
    dense, thinned, other = start(spec, None), start(spec, plan), start(spec, None, seed=1)
    assert torch.equal(dense.one.weight, thinned.one.weight)
    assert not torch.equal(dense.one.weight, other.one.weight)
    mask = plan.masks()["two"]
    kept = dense.two.weight[mask]
    grown = weight_of(thinned.two)[mask]
    assert torch.allclose(grown / kept, torch.full_like(kept, math.sqrt(mask.numel() / int(mask.sum()))))


def test_building_leaves_the_random_state_alone(spec: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    start(spec, None)
    assert torch.equal(torch.rand(3), expected)


def test_signals_keep_their_size_when_layers_thin_out(spec: str, network: Network) -> None:
    """Without batch norm a thinned network would fade; weights grow with the inputs that are gone."""
    import advisor

    x = torch.randn(64, 1, 8, 8)
    sizes = {}
    for pattern in ("channel", "unstructured", "width"):
        thinned = start(spec, advisor.plan(network, budgets={"macs": "30%"}, patterns=[pattern]))
        dense = start(spec, None)
        before, after = (module.two(module.norm(module.one(x)).relu()).std() for module in (dense, thinned))
        sizes[pattern] = float((after / before).detach())
    assert all(0.6 < size < 1.6 for size in sizes.values()), sizes


@pytest.mark.parametrize("pattern", ["channel", "group", "unstructured"])
def test_weights_that_went_stay_away(pattern: str, spec: str, network: Network, data: DataSet) -> None:
    import advisor

    plan = advisor.plan(network, budgets={"macs": "50%"}, patterns=[pattern])
    trainer = Trainer(start(spec, plan), Recipe(epochs=2, batch=32), data.train, seed=0)
    before = evaluate(trainer.module, data.train)
    for _ in range(2):
        trainer.run_epoch()
    after = evaluate(trainer.module, data.train)
    assert after.loss < before.loss
    for layer in plan.layers:
        if layer.pattern == "dense":
            continue
        weight = weight_of(trainer.module.get_submodule(layer.name))
        assert int((weight[~plan.masks()[layer.name]] != 0).sum()) == 0
        assert int((weight != 0).sum()) == int(plan.masks()[layer.name].sum())


def test_a_run_learns_and_repeats_itself(spec: str, data: DataSet) -> None:
    def trained() -> tuple[list[float], float]:
        trainer = Trainer(start(spec, None), Recipe(epochs=6, batch=8), data.train, seed=3)
        losses = [trainer.run_epoch().loss for _ in range(6)]
        return losses, evaluate(trainer.module, data.test).accuracy

    losses, accuracy = trained()
    assert losses[-1] < losses[0]
    assert accuracy > 0.25, "chance is 0.1"
    assert trained() == (losses, accuracy), "bitwise, dropout included"


def test_a_checkpoint_goes_on_bitwise(spec: str, plan: Plan, data: DataSet) -> None:
    recipe = Recipe(epochs=3, batch=32)
    whole = Trainer(start(spec, plan), recipe, data.train, seed=0)
    whole_losses = [whole.run_epoch().loss for _ in range(3)]
    first = Trainer(start(spec, plan), recipe, data.train, seed=0)
    first.run_epoch()
    second = Trainer(start(spec, plan), recipe, data.train, seed=0)
    second.load(first.state())
    assert [second.run_epoch().loss for _ in range(2)] == whole_losses[1:]
    for one, other in zip(whole.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_nan_is_told_with_its_place(spec: str, data: DataSet) -> None:
    trainer = Trainer(start(spec.replace(":build", ":explodes"), None), Recipe(batch=32), data.train, seed=0)
    with pytest.raises(DivergedError, match=r"nan in epoch 1, step 1"):
        trainer.run_epoch()


def test_evaluation_of_nan_is_wrong_everywhere(data: DataSet) -> None:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 10), math.nan)

    assert evaluate(Nothing(), data.test).accuracy == 0


def test_recalibration_measures_batch_norm_anew(spec: str, data: DataSet) -> None:
    module = start(spec, None)
    weights = [parameter.clone() for parameter in module.parameters()]
    module.norm.running_mean.fill_(50.0)
    assert recalibrate(module, data.train, Recipe(batch=50), seed=0) == 1
    pixels, _ = data.train.batch(torch.arange(200))
    expected = module.one(pixels).mean((0, 2, 3))
    assert torch.allclose(module.norm.running_mean, expected, atol=1e-4)
    assert module.norm.momentum == 0.1
    assert all(torch.equal(a, b) for a, b in zip(weights, module.parameters(), strict=True))
    assert recalibrate(nn.Linear(2, 2), data.train, Recipe(), seed=0) == 0


def test_auxiliary_heads_are_found() -> None:
    main, aux = torch.zeros(2, 10), torch.zeros(2, 10)
    assert len(logits_of((main, aux))) == 2
    with pytest.raises(DataError, match="logits"):
        logits_of(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match="dict"):
        logits_of({"out": main})


def test_networks_that_do_not_fit_the_data(spec: str, data: DataSet) -> None:
    few = builder(spec.replace(":build", ":few"), ((1, 1, 8, 8),))(0)
    with pytest.raises(DataError, match="has 5 outputs, data set 'digits' has 10 classes"):
        check_network("few", few, data)
    with pytest.raises(ModelError, match="fails on images of 1x8x8") as raised:
        check_network("wrong", nn.Linear(3, 10), data)
    assert "\n" not in str(raised.value)


def test_more_outputs_than_classes_are_noted(data: DataSet) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))
    assert "1000 outputs for 10 classes" in check_network("wide", wide, data)[0]


def test_from_trained_weights(spec: str, plan: Plan, tmp_path: Path) -> None:
    build = builder(spec, ((1, 1, 8, 8),))
    trained = build(9)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    begun = begin(Contestant(label="plan", plan=plan), build, 0, tmp_path / "trained.pt")
    mask = plan.masks()["two"]
    assert torch.equal(weight_of(begun.two)[mask], trained.two.weight[mask]), "trained weights are not rescaled"
    torch.save({"one.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"other\.pt"):
        begin(Contestant(label="plan", plan=plan), build, 0, tmp_path / "other.pt")
