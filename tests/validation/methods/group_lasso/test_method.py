"""The splitting: its gradient, its steps, what it does to a training, and the network that is left."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import advisor
from advisor.errors import AdvisorError, PlanError
from advisor.models import load_model
from advisor.network import Network
from advisor.plans.document import read_plan
from tests.validation.methods.runs import run_of
from validation.methods.filters.restore import restored
from validation.methods.group_lasso.groups import grouped_weights
from validation.methods.group_lasso.method import GroupLassoSettings, SparseGroupLasso, balanced_beta
from validation.methods.group_lasso.penalties import PENALTIES, make_penalty
from validation.methods.registry import parse_methods


class Small(nn.Module):
    """Padded and unpadded convolutions, batch norm, a residual addition, and neurons behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.three = nn.Conv2d(8, 8, 3, padding=1)
        self.hidden = nn.Linear(8 * 9, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.two(self.one(x).relu())).relu()
        x = nn.functional.max_pool2d((x + self.three(x)).relu(), 2)
        found: Tensor = self.head(self.hidden(x.flatten(1)).relu())
        return found


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small().double()


def analysed(module: nn.Module) -> Network:
    return advisor.analyze(module, (torch.zeros(1, 1, 6, 6, dtype=torch.float64),))


def lasso(trained: nn.Module, penalty: str = "l0", *, strength: float = 0.1, beta: float = 2.5, **more: Any) -> Any:
    settings = {"train_size": 50, "every": 2} | more
    return SparseGroupLasso(grouped_weights(trained), make_penalty(penalty), strength=strength, beta=beta, **settings)


def thresholded(module: nn.Module, method: SparseGroupLasso) -> nn.Module:
    """A copy with what V has at zero at zero, in evaluation mode."""
    found = copy.deepcopy(module)
    for one in method.weights:
        weight = found.get_submodule(one.name).weight
        weight.data[method.copies[one.name] == 0] = 0
    return found.eval()


def steps(module: nn.Module, method: SparseGroupLasso, count: int, first: int = 0) -> torch.optim.Optimizer:
    """Trains on noise, an epoch being two steps."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for step in range(first, first + count):
        torch.manual_seed(step)
        x, labels = torch.randn(8, 1, 6, 6, dtype=torch.float64), torch.randint(4, (8,))
        optimizer.zero_grad()
        (nn.functional.cross_entropy(module(x), labels) + method.penalty()).backward()
        optimizer.step()
        method.after_step()
        if step % 2:
            method.after_epoch()
    return optimizer


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_gradient_is_the_published_one(penalty: str) -> None:
    module = small()
    method = lasso(module, penalty)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.01 * torch.randn_like(p))  # V stays where it was
    method.penalty().backward()
    for one in method.weights:
        w, v = one.parameter.detach(), method.copies[one.name]
        slices = w.movedim(one.axis, 0)
        norms = torch.stack([part.norm() for part in slices]).view(-1, *(1,) * (w.dim() - 1))
        direction = (slices / norms).movedim(0, one.axis)
        expected = (0.1 * math.sqrt(one.size) * direction + 2.5 * (w - v)) / 50
        assert torch.allclose(one.parameter.grad, expected, rtol=1e-12, atol=1e-15)
    assert module.norm.weight.grad is None
    assert module.head.bias.grad is None


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_step_of_v_never_raises_the_objective(penalty: str) -> None:
    module = small()
    method = lasso(module, penalty, strength=0.02, beta=1.0)
    torch.manual_seed(1)
    for _ in range(5):
        with torch.no_grad():
            for one in method.weights:
                one.parameter.add_(0.1 * torch.randn_like(one.parameter))
        before = method.objective()
        method.split()
        after = method.objective()
        assert after <= before + 1e-15
        method.split()
        assert method.objective() == after
        for one in method.weights:  # and no other V near it is better
            best = method.copies[one.name]
            method.copies[one.name] = best + 1e-3 * torch.randn_like(best)
            assert method.objective() >= after
            method.copies[one.name] = best


def test_v_begins_as_prox_of_w() -> None:
    module = small()
    method = lasso(module, "l0", strength=0.1, beta=20.0)  # the threshold is 0.1
    for one in method.weights:
        w = one.parameter.detach()
        assert torch.equal(method.copies[one.name], torch.where(w.abs() > 0.1, w, 0.0))


def test_beta_grows_and_the_threshold_falls() -> None:
    module = small()
    method = lasso(module, every=2)
    found = [method.after_epoch()["beta"] for _ in range(8)]
    assert found == pytest.approx([2.5 * 1.25 ** ((epoch + 1) // 2) for epoch in range(8)])
    thresholds = [math.sqrt(2 * 0.1 / (2.5 * 1.25**k)) for k in range(5)]
    assert thresholds == pytest.approx([0.2828, 0.2530, 0.2263, 0.2024, 0.1810], abs=5e-5)


def test_groups_die_where_they_do_not_earn_their_keep() -> None:
    free, pressed = small(), small()
    nothing, method = lasso(free, strength=1e-12, beta=1e-9), lasso(pressed, strength=2.0, beta=200.0, growth=1.0)
    steps(free, nothing, 60)
    steps(pressed, method, 60)
    norms = [sum(float(one.norms(one.parameter.detach()).sum()) for one in m.weights) for m in (method, nothing)]
    assert norms[0] < 0.8 * norms[1]
    pressed_numbers, free_numbers = method.finish().numbers, nothing.finish().numbers
    assert pressed_numbers["weight_density"] < 0.5 * free_numbers["weight_density"]
    assert pressed_numbers["groups"] == free_numbers["groups"] == 6 + 8 + 8 + 72 + 12


def test_a_killed_training_goes_on_as_if_nothing_had_happened() -> None:
    whole, first = small(), small()
    one, two = lasso(whole, "scad", every=1), lasso(first, "scad", every=1)
    steps(whole, one, 8)
    steps(first, two, 4)
    stream = io.BytesIO()
    torch.save({"module": first.state_dict(), "method": two.state_dict()}, stream)
    stream.seek(0)
    state = torch.load(stream, weights_only=True)
    second = small(seed=9)
    three = lasso(second, "scad", every=1)
    second.load_state_dict(state["module"])
    three.load_state_dict(state["method"])
    steps(second, three, 4, first=4)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
    assert (three.beta, three.epoch) == (one.beta, one.epoch)
    assert all(torch.equal(one.copies[name], three.copies[name]) for name in one.copies)


def test_what_is_left_computes_what_the_thresholded_network_computes(tmp_path: Path) -> None:
    module = small()
    steps(module, lasso(module, strength=1e-9), 4)  # batch norm's statistics, biases that are not zero
    network = analysed(module)
    with torch.no_grad():
        for weight, groups in ((module.one.weight, (1, 4)), (module.two.weight, (0,))):
            weight[list(groups)] = 1e-3  # dead filters, whose constants padded layers read
        module.hidden.weight[:, 9 * 3 : 9 * 4] = 1e-3  # dead neurons: all pixels of a channel
        module.head.weight[:, [2, 5, 6]] = 1e-3  # dead neurons: outputs of the layer before
    method = lasso(module, strength=0.1, beta=320.0, network=network, module=module)  # the threshold is 0.025
    dense, x = thresholded(module, method), torch.randn(5, 1, 6, 6, dtype=torch.float64)
    outcome = method.finish()
    assert outcome.plan is not None
    assert method.removed is not None
    narrow = module.eval()  # the very module has become narrower
    assert torch.allclose(narrow(x), dense(x), rtol=0, atol=1e-12)
    assert method.removed.removed["one"] == (1, 4)
    assert method.removed.removed["hidden"] == (2, 5, 6)
    kept = {layer.name: layer.option.label for layer in outcome.plan.layers}
    assert all("unstructured" in label for label in kept.values()), kept

    masks = outcome.plan.masks(dense)
    for layer in outcome.plan.layers:
        assert bool((dense.get_parameter(layer.weight)[masks[layer.name]] != 0).all())
        assert int(masks[layer.name].sum()) == int(narrow.get_parameter(_inside(narrow, layer.name)).count_nonzero())
    # Zeros that are masked and channels that are gone are counted off, to the last one.
    params = sum(p.numel() for p in outcome.plan.apply(dense).parameters())
    assert params == outcome.plan.costs["params"].plan
    assert outcome.plan.costs["macs"].plan < network.macs
    outcome.plan.save(tmp_path / "found.json")
    again = read_plan(tmp_path / "found.json")
    assert all(torch.equal(again.masks(dense)[name], mask) for name, mask in masks.items())
    for name, content in outcome.files.items():
        (tmp_path / name).write_bytes(content)
    built = restored(read_plan(tmp_path / "narrowed.json"), small(3), load_file(tmp_path / "narrowed.safetensors"))
    assert torch.equal(built.eval()(x), narrow(x))


def _inside(narrow: nn.Module, layer: str) -> str:
    """The name of a layer's weight, which a bias map may follow in a sequence."""
    return f"{layer}.0.weight" if isinstance(narrow.get_submodule(layer), nn.Sequential) else f"{layer}.weight"


def test_a_network_that_died_keeps_one_weight_a_layer() -> None:
    module = small()
    network = analysed(module)
    method = lasso(module, strength=100.0, beta=1.0, network=network, module=module)
    dense, x = thresholded(module, method), torch.randn(3, 1, 6, 6, dtype=torch.float64)
    outcome = method.finish()
    assert outcome.numbers["alive_groups"] == outcome.numbers["weight_density"] == 0
    assert outcome.plan is not None
    assert torch.equal(module.eval()(x), dense(x))
    assert [layer.thinned[1].density for layer in outcome.plan.layers if layer.name == "one"] == [1 / 9]
    outcome.plan.apply(dense)


def test_wide_blocks_lose_filters_behind_batch_norm() -> None:
    from advisor.zoo.wide_resnet import WideResNet

    torch.manual_seed(0)
    module = WideResNet(10, 1, 4).double()
    module(torch.randn(4, 3, 8, 8, dtype=torch.float64))  # statistics
    network = advisor.analyze(module, (torch.zeros(1, 3, 8, 8, dtype=torch.float64),))
    conv = module.stages[1][0].conv1
    with torch.no_grad():
        conv.weight[3:20] = 0
        module.stages[1][0].bn2.bias.fill_(0.5)  # a dead filter is 0.5 and more after its norm
    method = lasso(module, strength=1e-9, beta=1.0, network=network, module=module)
    assert [one.name for one in method.weights] == [f"stages.{stage}.0.conv1" for stage in range(3)]
    dense, x = thresholded(module, method), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    method.finish()
    assert method.removed is not None
    assert method.removed.removed == {"stages.1.0.conv1": tuple(range(3, 20))}
    assert torch.allclose(module.eval()(x), dense(x), rtol=0, atol=1e-11)
    assert module.stages[1][0].conv1.weight.shape == (15, 16, 3, 3)


class Branching(Small):
    """Takes a way that its numbers choose: nothing in it is sure to be constant."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return torch.where(x > 0, x, x.argmax(1, keepdim=True).to(x.dtype))


def test_where_nothing_is_sure_to_be_dead_the_plan_is_a_mask() -> None:
    torch.manual_seed(0)
    module = Branching().double()
    network = analysed(module)
    with torch.no_grad():
        module.one.weight[2] = 0
    method = lasso(module, strength=0.001, beta=1.0, network=network, module=module)
    dense, x = thresholded(module, method), torch.randn(3, 1, 6, 6, dtype=torch.float64)
    outcome = method.finish()
    assert method.removed is None
    assert "dead groups stay in the network" in outcome.notes[1]
    assert outcome.plan is not None
    assert {layer.pattern for layer in outcome.plan.layers} == {"unstructured"}
    assert torch.equal(module.eval()(x), dense(x))
    assert torch.allclose(outcome.plan.apply(module).eval()(x), dense(x), rtol=0, atol=1e-12)


def test_settings_become_the_method() -> None:
    (applied,) = parse_methods(("group-lasso:penalty=scad,shape=3,strength=0.1,beta=2.5,layers=one|h*",))
    (settings,) = applied.settings
    assert applied.label == "dense+group-lasso"
    module = small()
    run = run_of(module, analysed(module), epochs=12, steps_per_epoch=3, train_size=40)
    method = settings.attach(run)
    assert isinstance(method, SparseGroupLasso)
    assert [one.name for one in method.weights] == ["one", "hidden", "head"]
    assert (method.strength, method.beta, method.every, method.train_size) == (0.1, 2.5, 3, 40)
    assert settings.module(module, None, rescale=True) is None


def test_without_a_beta_half_of_the_weights_survive_the_first_threshold() -> None:
    weights = grouped_weights(small())
    beta = balanced_beta(weights, 0.02)
    method = SparseGroupLasso(weights, make_penalty("l0"), strength=0.02, beta=beta, train_size=50)
    kept = sum(int(v.count_nonzero()) for v in method.copies.values())
    assert kept == sum(one.parameter.numel() for one in weights) // 2
    with torch.no_grad():
        for one in weights:
            one.parameter.zero_()
    with pytest.raises(AdvisorError, match="all weights of its layers are zero; give beta"):
        balanced_beta(weights, 0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("penalty=l3", "unknown penalty 'l3'"),
        ("strength=0", "strength=0, expected above 0"),
        ("beta=-1", "beta=-1, expected 0 or more"),
        ("growth=0.5", "growth=0.5, expected 1 or more"),
        ("every=-1", "every=-1, expected 0 or more"),
        ("lambda=1", "no setting 'lambda'"),
        ("shape=3", "no shape parameter"),
    ],
)
def test_settings_that_are_none(text: str, said: str) -> None:
    with pytest.raises(AdvisorError, match=said):
        parse_methods((f"group-lasso:{text}",))


def test_plans_are_refused() -> None:
    module = small()
    plan = advisor.plan(analysed(module), budgets={"macs": "60%"}, patterns=("channel",))
    with pytest.raises(PlanError, match="group-lasso@dense"):
        GroupLassoSettings().module(module, plan, rescale=False)


def test_lenet_trains_and_shrinks() -> None:
    """A handful of steps on noise: shapes, memory format and precision of a real network."""
    torch.manual_seed(0)
    module = load_model("zoo:lenet5", device="cpu", seed=0).module.to(memory_format=torch.channels_last)
    network = advisor.analyze(module, (torch.zeros(1, 1, 28, 28),))
    method = lasso(module, strength=1.0, beta=2000.0, network=network, module=module)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    x, labels = torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    for _ in range(10):
        optimizer.zero_grad()
        (nn.functional.cross_entropy(module(x), labels) + method.penalty()).backward()
        optimizer.step()
        method.after_step()
    dense = thresholded(module, method)
    outcome = method.finish()
    assert outcome.plan is not None
    assert outcome.numbers["groups"] == 1_370
    assert 0 < outcome.numbers["weight_density"] < 1
    assert torch.allclose(module.eval()(x), dense(x), rtol=0, atol=1e-5)
    assert outcome.plan.costs["params"].plan < network.params
