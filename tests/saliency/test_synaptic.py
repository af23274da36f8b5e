"""SynFlow: conservation, batch norm, very deep networks, and the authors' rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.examples import Given
from advisor.saliency import scores_of
from advisor.saliency.synaptic import LAST, ROUNDS
from tests.saliency.networks import attends, chain, mixed


def scores(model: nn.Module, shape: tuple[int, ...], name: str = "synflow") -> dict[str, np.ndarray]:
    return scores_of(advisor.analyze(model, shape), name, Given())


def test_every_layers_scores_sum_to_the_flow() -> None:
    model = chain(4, 7, 5, 3, bias=False, activation=nn.ReLU)
    found = scores(model, (1, 4))
    weights = [m.weight.detach().abs() for m in model if isinstance(m, nn.Linear)]
    flow = float((weights[2] @ weights[1] @ weights[0] @ torch.ones(4, dtype=torch.float64)).sum())
    assert [float(values.sum()) for values in found.values()] == pytest.approx([flow] * 3)
    # One weight's score is the sum over all paths through it.
    path = weights[2].sum(0) @ weights[1][:, 2] * weights[0][2, 1]
    assert found["0"][2, 1] == pytest.approx(float(path))


def test_flow_is_conserved_through_batch_norm_biases_and_branches_that_only_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, groups=2),
        nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 2),
    )  # fmt: skip
    model.train()
    model(torch.randn(8, 2, 8, 8))
    found = [float(values.sum()) for values in scores(model.eval(), (1, 2, 8, 8)).values()]
    assert len(found) == 4
    assert found == pytest.approx([found[0]] * 4)


def test_signals_do_not_saturate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU6(), nn.Linear(64, 64, bias=False), nn.ReLU6())
    for layer in (model[0], model[2]):
        nn.init.constant_(layer.weight, 1.0)  # a signal of 64 after one layer
    plain = nn.Sequential(model[0], nn.ReLU(), model[2], nn.ReLU())
    found, exact = scores(model, (1, 64)), scores(plain, (1, 64))
    assert all(np.allclose(found[name], exact[name]) and found[name].all() for name in found)


def test_deep_networks_do_not_overflow() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(160)]
    for layer in layers:
        nn.init.constant_(layer.weight, 2.0)
    found = scores(nn.Sequential(*layers), (1, 64))  # 128^160 is more than float64 holds
    assert all(np.isfinite(values).all() and values.all() for values in found.values())
    assert found["0"].sum() == pytest.approx(found["159"].sum())


def test_the_rounds_are_those_of_the_authors() -> None:
    model = chain(6, 12, 12, 4, bias=False, activation=nn.ReLU)
    worth = np.concatenate([values.ravel() for values in scores(model, (1, 6), "synflow100").values()])
    weights = [m.weight.detach().abs().clone() for m in model if isinstance(m, nn.Linear)]
    masks = [torch.ones_like(w) for w in weights]
    for step in range(1, 61):
        leaves = [(w * m).requires_grad_() for w, m in zip(weights, masks, strict=True)]
        (leaves[2] @ leaves[1] @ leaves[0] @ torch.ones(6, dtype=torch.float64)).sum().backward()
        found = [leaf.grad * leaf.detach() for leaf in leaves]  # type: ignore[operator]
        flat = torch.cat([f.ravel() for f in found])
        keep = round(len(flat) * LAST ** (step / ROUNDS))
        limit = flat.sort(descending=True).values[keep]
        masks = [(f > limit).double() for f in found]
    kept = torch.cat([m.ravel() for m in masks]).bool().numpy()
    order = np.argsort(-worth, kind="stable")[: int(kept.sum())]
    assert set(order.tolist()) == set(np.flatnonzero(kept).tolist())


@pytest.mark.parametrize("name", ["synflow", "synflow100"])
def test_every_layer_is_scored_and_the_network_stays_as_it_was(name: str) -> None:
    for network in (mixed(), attends()):
        assert network.module is not None
        before = {key: value.clone() for key, value in network.module.state_dict().items()}
        found = scores_of(network, name, Given())
        assert all(found[layer.name].shape == layer.weight_shape for layer in network.sparsifiable)
        assert all(np.isfinite(values).all() and (values >= 0).all() for values in found.values())
        assert all(torch.equal(before[key], value) for key, value in network.module.state_dict().items())
        assert next(network.module.parameters()).dtype == torch.float32


def test_no_flow_is_said() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(PlanError, match="nothing flows"):
        scores(model, (1, 4))
    nn.init.constant_(model[0].weight, float("inf"))
    with pytest.raises(PlanError, match="more than float64 holds"):
        scores(model, (1, 4))
