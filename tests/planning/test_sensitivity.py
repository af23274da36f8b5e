"""Estimated losses: shapes with known optima, and the network's own weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.models import load_model
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.allocation import erk, uniform
from advisor.planning.sensitivity import SENSITIVITIES, kept_share, losses, register, weight_of
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable

FINE = tuple(np.geomspace(1, 0.01, 400)[1:])


def fine_options(network: Network) -> dict[str, tuple[Option, ...]]:
    return {
        layer.name: (DENSE, *(Option(pattern="unstructured", density=float(d)) for d in FINE))
        for layer in network.sparsifiable
    }


@pytest.mark.parametrize(("name", "allocation"), [("erk", erk), ("uniform", uniform)])
@pytest.mark.parametrize("share", [0.3, 0.1])
def test_the_best_plan_under_a_parameter_budget_is_the_allocation(
    resnet18: Network, name: str, allocation: object, share: float
) -> None:
    # min Σ s(−ln d) under Σ n d ≤ B has the closed form of `allocation.fill`; on a fine grid the planner meets it.
    options = fine_options(resnet18)
    found = losses(resnet18, options, name)
    layers = resnet18.sparsifiable
    table = CostTable(
        layers=tuple(layer.name for layer in layers),
        options=tuple(options[layer.name] for layer in layers),
        costs={
            "params": tuple(
                np.array([layer.weights * kept_share(layer, o) for o in options[layer.name]]) for layer in layers
            )
        },
        loss=tuple(found[layer.name] for layer in layers),
    )
    solution = solve(table, {"params": share * sum(layer.weights for layer in layers)}, gap=1e-5)
    chosen = np.array([table.options[i][k].density for i, k in enumerate(solution.choice)])
    exact = allocation([layer.weight_shape for layer in layers], share)  # type: ignore[operator]
    assert np.abs(np.log(chosen / exact)).max() < 0.05
    best = sum(found[layer.name][-1] / -np.log(FINE[-1]) * -np.log(d) for layer, d in zip(layers, exact, strict=True))
    assert solution.objective == pytest.approx(best, rel=2e-3)


def test_scores_sum_to_one_and_dense_costs_nothing(digits: Network) -> None:
    options = {layer.name: (DENSE, Option(pattern="unstructured", density=0.5)) for layer in digits.sparsifiable}
    for name in ("erk", "uniform"):
        found = losses(digits, options, name)
        assert all(column[0] == 0 for column in found.values())
        per_log = sum(
            float(found[layer.name][1]) / -np.log(kept_share(layer, options[layer.name][1]))
            for layer in digits.sparsifiable
        )
        assert per_log == pytest.approx(1.0)


def test_magnitude_is_the_share_of_squared_weight_removed() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]]))
        model[1].weight.copy_(torch.tensor([[3.0, 4.0]]))
    network = advisor.analyze(model, (1, 4))
    half = Option(pattern="unstructured", density=0.5)
    channel = Option(pattern="channel", density=0.25)
    found = losses(network, {"0": (DENSE, half, channel), "1": (DENSE, half)}, "magnitude")
    # squares: 1 4 9 16 | 0 0 0 1 of the first layer (31), 9 16 of the second (25)
    assert found["0"].tolist() == pytest.approx([0.0, 1 / 56, 14 / 56])
    assert found["1"].tolist() == pytest.approx([0.0, 9 / 56])


def narrow(inputs: int, outputs: int, of: tuple[int, int]) -> Option:
    sides = {"in": inputs / of[0], "out": outputs / of[1], "rounding": "ceil"}
    share = inputs * outputs / (of[0] * of[1])
    return Option(pattern="width", density=share, parameters=sides | {"in_channels": inputs, "out_channels": outputs})


def test_magnitude_of_width_is_what_coupled_layers_lose_together() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[1].weight.copy_(torch.tensor([[5.0, 1.0], [5.0, 1.0]]))
    network = advisor.analyze(model, (1, 2))
    options = {"0": (DENSE, narrow(2, 1, (2, 2))), "1": (DENSE, narrow(1, 2, (2, 2)))}
    found = losses(network, options, "magnitude")
    # The second channel has the larger filter, so it stays, although the next layer alone would keep the first.
    assert found["0"].tolist() == pytest.approx([0.0, 5 / 82])
    assert found["1"].tolist() == pytest.approx([0.0, 50 / 82])
    with pytest.raises(PlanError, match="cannot be narrowed"):
        losses(network, {"1": (narrow(1, 1, (2, 2)),)}, "magnitude")


@pytest.mark.parametrize("build", ["torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:densenet121"])
def test_magnitude_of_width_is_that_of_the_plans_own_masks(build: str) -> None:
    loaded = load_model(build, device="cpu", input_text="1x3x64x64", seed=0)
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=build)
    plan = advisor.plan(
        network, budgets={"macs": "40%"}, patterns=["width"], sensitivity="magnitude", selection="magnitude"
    )
    masks, removed, total = plan.masks(), 0.0, 0.0
    for layer in network.sparsifiable:
        squares = np.square(weight_of(network, layer), dtype=np.float64)
        removed += float(squares[~masks[layer.name].numpy()].sum())
        total += float(squares.sum())
    assert plan.objective == pytest.approx(removed / total, rel=1e-9)


def test_magnitude_without_weights_is_refused(resnet18: Network) -> None:
    options = {layer.name: (DENSE,) for layer in resnet18.sparsifiable}
    with pytest.raises(PlanError, match=r"built without memory, so conv1.weight has no values.*--weights FILE"):
        losses(resnet18, options, "magnitude")


def test_exchange_rates_scale_a_patterns_losses(digits: Network) -> None:
    options = {
        "features.4": (DENSE, Option(pattern="unstructured", density=0.5), Option(pattern="channel", density=0.5))
    }
    plain = losses(digits, options, "erk")["features.4"]
    rated = losses(digits, options, "erk", {"channel": 1.5})["features.4"]
    assert rated.tolist() == [plain[0], plain[1], 1.5 * plain[2]]


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({"chanel": 1.0}, "unknown pattern 'chanel'"),
        ({"channel": 0.0}, "positive"),
        ({"channel": float("nan")}, "positive"),
    ],
)
def test_wrong_rates_are_refused(digits: Network, rates: dict[str, float], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        losses(digits, {"classifier": (DENSE,)}, "erk", rates)


def test_unknown_sensitivity_names_the_closest(digits: Network) -> None:
    with pytest.raises(PlanError, match=r"unknown sensitivity 'erck'; did you mean 'erk'"):
        losses(digits, {"classifier": (DENSE,)}, "erck")


def test_a_name_is_registered_once() -> None:
    before = dict(SENSITIVITIES)
    with pytest.raises(Exception, match="registered twice"):
        register("erk", needs="nothing")(lambda network, options, given: {})
    assert before == SENSITIVITIES
