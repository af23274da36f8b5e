"""Masks on dense weights are kept exactly, and train as the kept values alone do."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.patterns.base import pattern
from advisor.planning.baselines import baselines
from tests.plans.samples import MASKED, plan_of, rewired, small
from tests.validation.methods.sparse.training import OPTIMIZERS, batch, everywhere, mixed, narrowed, network, train
from validation.contestants import rescaled
from validation.methods.sparse.masks import Masked, masked_weights
from validation.methods.sparse.modules import masked_module, with_connections


def masked(plan, optimizer, seed=0, **changes):
    module = masked_module(small(seed), plan, **changes)
    made = OPTIMIZERS[optimizer](list(module.parameters()))
    return module, made, Masked(masked_weights(module, plan), made)


@pytest.mark.parametrize(
    ("name", "optimizer"), list(zip(MASKED, ["adam", "adamw", "sgd", "rmsprop", "adam"], strict=True))
)
def test_a_frozen_mask_trains_as_the_packed_plan_does(name, optimizer):
    plan = everywhere(name)
    module, made, method = masked(plan, optimizer)
    losses = train(module, made, range(12), [method])
    packed = plan.apply(small())
    others = train(packed, OPTIMIZERS[optimizer](list(packed.parameters())), range(12))
    assert losses == pytest.approx(others, rel=0, abs=1e-6)
    assert abs(losses[0] - losses[-1]) > 1e-3
    assert losses[0] != losses[1]


def test_the_same_with_repaired_connections_and_with_rescaled_weights():
    plan = rewired(mixed(), "up")
    module, made, method = masked(plan, "sgd", rescale=True)
    packed = plan.apply(small())
    rescaled(packed, plan)
    losses = train(module, made, range(6), [method])
    assert losses == pytest.approx(train(packed, OPTIMIZERS["sgd"](list(packed.parameters())), range(6)), abs=1e-6)


@pytest.mark.parametrize("name", ["channel", "unstructured"])
def test_width_stays_narrow_and_what_is_masked_in_it_trains_alike(name):
    dense, plan = small(), narrowed(name)
    assert {layer.pattern for layer in plan.layers} >= {"width", f"width+{name}"}
    module = masked_module(dense, plan)
    assert module is not dense
    assert sum(p.numel() for p in module.parameters()) < sum(p.numel() for p in dense.parameters())
    made = OPTIMIZERS["adam"](list(module.parameters()))
    method = Masked(masked_weights(module, plan), made)
    packed = plan.apply(dense)
    losses = train(module, made, range(6), [method])
    assert losses == pytest.approx(train(packed, OPTIMIZERS["adam"](list(packed.parameters())), range(6)), abs=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_reaches_a_masked_weight(optimizer):
    plan = mixed()
    module, made, method = masked(plan, optimizer)
    gone = {name: ~mask for name, mask in plan.masks().items()}
    train(module, made, range(5), [method])
    checked = 0
    for layer in plan.layers:
        weight = module.get_parameter(layer.weight)
        held = [weight.detach(), weight.grad, *made.state[weight].values()]
        for tensor in held:
            if tensor.shape == weight.shape and layer.is_masked:
                assert not tensor[gone[layer.name]].any()
                assert tensor[~gone[layer.name]].any()
                checked += 1
        assert torch.equal(method.weights[layer.name].gone, gone[layer.name]) if layer.is_masked else True
    assert checked >= 3 * 5


class Mixing(torch.optim.SGD):
    """Spreads every update over the whole tensor, as optimisers that orthogonalise or precondition do."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(0.01 * p.grad.mean() + 0.01)


def test_optimisers_that_mix_elements_and_weights_that_are_not_finite():
    plan = mixed()
    module = masked_module(small(), plan)
    method = Masked(masked_weights(module, plan), made := Mixing(module.parameters(), lr=0.1))
    train(module, made, range(3), [method])
    for layer in plan.layers:
        assert not module.get_parameter(layer.weight).detach()[~plan.masks()[layer.name]].any()
    weight, one = module.head.weight, method.weights["head"]
    with torch.no_grad():
        weight[one.gone] = float("inf")
    method.after_step()
    assert not weight.detach()[one.gone].any()


def test_the_dense_gradient_is_there_until_the_masks_take_it():
    plan = mixed()
    module, _, method = masked(plan, "sgd")
    inputs, wanted = batch(0)
    ((module(inputs) - wanted) ** 2).mean().backward()
    one = method.weights["head"]
    assert one.parameter.grad[one.gone].abs().min() > 0
    method.after_backward()
    assert not one.parameter.grad[one.gone].any()


def test_the_state_comes_back():
    plan = mixed()
    module, made, method = masked(plan, "adam")
    method.move(method.weights["head"], np.roll(method.weights["head"].units, 1, axis=1))
    train(module, made, range(2), [method])
    _, _, other = masked(plan, "adam", seed=3)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.steps == 2
    for name, one in method.weights.items():
        assert (other.weights[name].units == one.units).all()
        assert torch.equal(other.weights[name].gone, one.gone)
    live = sum(int((~one.gone).sum()) for one in method.weights.values())
    total = sum(one.gone.numel() for one in method.weights.values())
    assert other.density == method.density == pytest.approx(live / total)


def test_a_module_under_a_plan_is_refused():
    plan = mixed()
    with pytest.raises(PlanError, match=r"no parameter 'stem.0.weight'|expected \(8, 4, 3, 3\).*masked_module"):
        masked_weights(plan.apply(small()), plan)
    with pytest.raises(PlanError, match="belongs to another network"):
        masked_module(nn.Linear(3, 3), plan)


def test_a_plan_with_found_connections_is_saved_and_comes_back(tmp_path):
    plan = rewired(mixed(), "up")
    units = {"up": np.roll(masked(plan, "sgd")[2].weights["up"].units, 1, axis=1)}
    found = with_connections(plan, units, note="moved")
    assert found.layer("up").selection == "trained"
    assert not found.layer("up").rewired
    assert found.layer("head") == plan.layer("head")
    assert found.notes[-1] == "moved"
    found.save(tmp_path / "plan.json")
    again = advisor.load_plan(tmp_path / "plan.json")
    assert all(torch.equal(mask, again.masks()[name]) for name, mask in found.masks().items())
    assert not torch.equal(found.masks()["up"], plan.masks()["up"])


def test_rows_that_a_repair_emptied_stay_empty():
    plan = plan_of(network(), {"up": MASKED["channel"]})
    layers = tuple(dataclasses.replace(one, dropped=(2, 5)) if one.name == "up" else one for one in plan.layers)
    plan = dataclasses.replace(plan, layers=layers)
    _, _, method = masked(plan, "sgd")
    units = method.weights["up"].units
    assert not units[[2, 5]].any()
    found = with_connections(plan, {"up": units})
    assert found.layer("up").dropped == (2, 5)
    assert torch.equal(found.masks()["up"], plan.masks()["up"])


def test_baselines_of_such_a_plan_draw_their_connections():
    """Nobody can find connections by training before a training; drawn ones are what stands against them."""
    plan = advisor.plan(network(), budgets={"params": "70%"}, patterns=["channel"])
    (name, planned), *_ = [(one.name, one) for one in plan.layers if one.is_masked]
    units = pattern("channel").connections(*planned.thinned, seed=99)
    found = with_connections(plan, {name: units})
    (baseline,) = baselines(network(), found, kinds=["uniform"]).values()
    assert {one.selection for one in baseline.layers} == {"random"}
    assert any("found while training" in note for note in baseline.notes)
