"""SNIP, Taylor, Fisher and GraSP against gradients and Hessians that are written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import advisor
from advisor.examples import Given
from advisor.examples.batches import calibration
from advisor.saliency import scores_of
from tests.saliency.networks import attends, chain, labelled, mixed

SIZES = (4, 5, 3)


def loss_of_weights(model: nn.Sequential, temperature: float = 1.0) -> Callable[..., Tensor]:
    """(flat weights of all linear layers, inputs, targets) → mean loss."""
    linears = [m for m in model if isinstance(m, nn.Linear)]

    def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        begin = 0
        for number, layer in enumerate(linears):
            count = layer.weight.numel()
            x = F.linear(x, flat[begin : begin + count].reshape(layer.weight.shape), layer.bias.detach())
            x = torch.tanh(x) if number < len(linears) - 1 else x
            begin += count
        return F.cross_entropy(x / temperature, y)

    return loss


def hessian(loss: Callable[..., Tensor], flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.hessian(lambda weights: loss(weights, x, y), flat)
    return found


def setting() -> tuple[nn.Sequential, Given, Tensor, list[tuple[Tensor, Tensor]]]:
    model = chain(*SIZES)
    given = labelled(4)
    assert given.calibration is not None
    flat = torch.cat([m.weight.detach().ravel() for m in model if isinstance(m, nn.Linear)])
    batches = [(batch.args[0].double(), batch.targets) for batch in given.calibration.batches]
    return model, given, flat, batches


def flat_scores(model: nn.Module, given: Given, name: str) -> np.ndarray:
    network = advisor.analyze(model, (2, 4))
    found = scores_of(network, name, given)
    return np.concatenate([found[layer.name].ravel() for layer in network.sparsifiable])


def test_snip_is_gradient_times_weight_of_the_mean_loss() -> None:
    model, given, flat, batches = setting()
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    g = torch.func.grad(loss_of_weights(model))(flat, x, y)
    exact = (g * flat).abs()
    assert flat_scores(model, given, "snip") == pytest.approx((exact / exact.sum()).numpy(), rel=1e-6)


def test_taylor_squares_the_change_of_each_batch() -> None:
    model, given, flat, batches = setting()
    loss = loss_of_weights(model)
    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    for x, y in batches:
        g, h = torch.func.grad(loss)(flat, x, y), hessian(loss, flat, x, y)
        first += len(x) / 8 * (g * flat).square()
        second += len(x) / 8 * (g * flat - flat * (h @ flat) / 2).square()
    assert flat_scores(model, given, "taylor1") == pytest.approx(first.numpy(), rel=1e-6)
    assert flat_scores(model, given, "taylor2") == pytest.approx(second.numpy(), rel=1e-6)


def test_fisher_is_the_mean_square_of_single_examples() -> None:
    model, given, flat, batches = setting()
    gradient = torch.func.vmap(torch.func.grad(loss_of_weights(model)), in_dims=(None, 0, 0))
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    squares = gradient(flat, x[:, None], y[:, None]).square().mean(0)
    assert flat_scores(model, given, "fisher") == pytest.approx((squares * flat.square() / 2).numpy(), rel=1e-6)


def test_grasp_is_weight_times_hessian_gradient_at_the_authors_temperature() -> None:
    model, given, flat, batches = setting()
    loss = loss_of_weights(model, temperature=200.0)
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    g, h = torch.func.grad(loss)(flat, x, y), hessian(loss, flat, x, y)
    assert flat_scores(model, given, "grasp") == pytest.approx((flat * (h @ g)).numpy(), rel=1e-6)


def test_grasp_scores_are_what_the_squared_gradient_loses() -> None:
    # d|g|²/dw · w = 2 w (H g), so half the drop of |g|² per relative shrinking of a weight is its score.
    model, given, flat, batches = setting()
    loss = loss_of_weights(model, temperature=200.0)
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])

    def norm(values: Tensor) -> float:
        return float(torch.func.grad(loss)(values, x, y).square().sum())

    scores = flat_scores(model, given, "grasp")
    place = int(np.argmax(np.abs(scores)))
    step = torch.zeros_like(flat)
    step[place] = 1e-4 * flat[place]
    assert (norm(flat + step) - norm(flat - step)) / (4 * 1e-4) == pytest.approx(scores[place], rel=1e-4)


def test_batch_norm_without_statistics_uses_the_batchs_and_trained_ones_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
    given = labelled(4, parts=(16,))
    assert given.calibration is not None
    batch = given.calibration.batches[0]

    def snip(training: bool) -> np.ndarray:
        model.zero_grad()
        model.train(training)
        F.cross_entropy(model(batch.args[0].double()), batch.targets).backward()
        parts = [(m.weight.grad * m.weight).abs().detach().ravel() for m in (model[0], model[3])]
        return (torch.cat(parts) / torch.cat(parts).sum()).numpy()

    state = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = flat_scores(model, given, "snip")
    assert fresh == pytest.approx(snip(training=True), rel=1e-6)  # this pass also moves the statistics
    assert not torch.equal(state["1.running_mean"], model.state_dict()["1.running_mean"])
    trained = flat_scores(model, Given(calibration=given.calibration), "snip")
    assert trained == pytest.approx(snip(training=False), rel=1e-6)
    assert trained != pytest.approx(fresh, rel=1e-2)


@pytest.mark.parametrize("name", ["snip", "taylor1", "taylor2", "fisher", "grasp"])
@pytest.mark.parametrize("build", [mixed, attends])
def test_every_layer_is_scored_and_the_network_stays_as_it_was(name: str, build: Callable[[], object]) -> None:
    network = build()
    module = network.module  # type: ignore[attr-defined]
    given = labelled(2, 6, 6) if build is mixed else labelled(5, 4)
    module.train()
    frozen = next(module.parameters())
    frozen.requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    torch.manual_seed(11)
    state = torch.get_rng_state()
    found = scores_of(network, name, given)  # type: ignore[arg-type]
    again = scores_of(network, name, Given(calibration=given.calibration, seed=3))  # type: ignore[arg-type]
    assert torch.equal(state, torch.get_rng_state())
    for layer in network.sparsifiable:  # type: ignore[attr-defined]
        assert found[layer.name].shape == layer.weight_shape
        assert np.isfinite(found[layer.name]).all()
        assert np.array_equal(found[layer.name], again[layer.name])
        assert found[layer.name].any()
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not frozen.requires_grad
    assert all(part.training for part in module.modules())


def test_a_dead_layer_is_worth_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    given = labelled(4)
    network = advisor.analyze(model, (2, 4))
    for name in ("snip", "taylor1", "taylor2", "fisher", "grasp"):
        found = scores_of(network, name, given)
        assert not found["0"].any()
        assert np.isfinite(found["2"]).all()


def test_a_loss_of_ones_own_is_used() -> None:
    model = chain(4, 5, 2)
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(6, 4, generator=generator), torch.randn(6, 2, generator=generator))
    given = Given(calibration=calibration(data, loss=F.mse_loss))
    F.mse_loss(model(data[0].double()), data[1].double()).backward()
    exact = torch.cat([(m.weight.grad * m.weight).abs().detach().ravel() for m in (model[0], model[2])])
    assert flat_scores(model, given, "snip") == pytest.approx((exact / exact.sum()).numpy(), rel=1e-6)
