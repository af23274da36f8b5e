"""The ramp of incremental training: how many connections live when, and with which values they begin."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import AdvisorError
from advisor.patterns.base import kept_of, pattern
from advisor.patterns.option import Option
from advisor.plans.schedules import incremental_schedule
from tests.plans.samples import MASKED, UNSTRUCTURED, plan_of, rewired, small
from tests.validation.methods.sparse.training import OPTIMIZERS, from_disk, mixed, network, run_of, train
from validation.methods.sparse.incremental import Growth, Incremental, IncrementalSettings, growing_weights
from validation.methods.sparse.masks import MaskedWeight
from validation.methods.sparse.modules import masked_module


def hundred(inputs=100, outputs=6):
    """One layer of which 1 % is one connection of each output."""
    return nn.Sequential(nn.Linear(4, inputs), nn.ReLU(), nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, 8))


def grown(start, every, steps, *, inputs=100):
    torch.manual_seed(0)
    net = hundred(inputs)
    network = advisor.analyze(net, torch.zeros(1, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    weights = growing_weights(net, network)
    method = Incremental(weights, optimizer, incremental_schedule(start, every), seeds={"2": 7})
    masks = [~method.weights["2"].gone]
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(3, 4)).square().sum().backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
        masks.append(~method.weights["2"].gone)
    return net, method, masks


def test_from_one_percent_the_connections_double_every_t_steps_and_hold_the_former_ones():
    _, method, masks = grown(0.01, 3, 24)
    counts = [int(mask.sum()) * 100 // mask.numel() for mask in masks]
    assert counts[::3] == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert [counts[i] == counts[i - 1] for i in range(1, 25)] == [i % 3 != 0 or i == 24 for i in range(1, 25)]
    assert all((before <= after).all() for before, after in pairwise(masks))
    for mask in masks:
        assert len(set(mask.sum(1).tolist())) == 1  # every output has as many
    assert np.mean([float(mask.double().mean()) for mask in masks[:21]]) == pytest.approx(0.1814, abs=5e-5)
    assert method.density == 1


def test_from_a_thousandth_it_is_whole_after_ten_doublings():
    _, _, masks = grown(0.001, 1, 11, inputs=1000)
    counts = [int(mask[0].sum()) for mask in masks]
    assert counts == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000]
    assert sum(counts[:10]) / 10_000 == pytest.approx(0.1023, abs=5e-5)


def test_only_what_lies_between_image_and_classifier_grows():
    _, method, _ = grown(0.01, 1, 0)
    assert list(method.weights) == ["2"]


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("kept", [1.0, 0.6, 0.2, 0.01])
def test_a_drawn_plans_mask_is_one_of_the_ramps(name, kept):
    """The keys of the documented generator order the ramp, so a density's mask is what a plan of it would draw."""
    layer, full = network().layer("point"), MASKED[name]
    units = pattern(name).connections(layer, full, seed=3)
    weight = MaskedWeight(layer, full, nn.Parameter(torch.zeros(layer.weight_shape)), units)
    units = Growth(weight, 3).at(kept)
    if kept >= full.density:
        assert (units == weight.units).all()
    elif name != "n:m":  # whose densities are those of its ratios
        thinner = Option(pattern=name, density=kept, parameters=full.parameters)
        assert (units == pattern(name).connections(layer, thinner, seed=3)).all()
    assert (units <= weight.units).all()


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_nested_and_end_in_the_plans_own(seed):
    plan = rewired(mixed(seed), "up")
    net = small()
    module = masked_module(net, plan)
    weights = growing_weights(module, network(), plan)
    assert {one.layer.name for one in weights} == {"stem.0", "grouped", "up", "point", "head"}
    growths = [Growth(one, plan.layer(one.layer.name).seed) for one in weights]
    for one, growth in zip(weights, growths, strict=True):
        ramp = [growth.at(density) for _, density in incremental_schedule(0.01, 1)]
        assert all((a <= b).all() for a, b in pairwise(ramp))
        assert (ramp[-1] == one.units).all()
        sets = pattern(one.option.pattern).quota_sets(one.layer, one.option)
        members = np.bincount(sets.ravel())
        for units, (_, density) in zip(ramp, incremental_schedule(0.01, 1), strict=True):
            wanted = [min(kept_of(density, n), int((one.units & (sets == k)).sum())) for k, n in enumerate(members)]
            assert np.bincount(sets[units], minlength=len(members)).tolist() == wanted


@pytest.mark.parametrize("new", ["initial", "zero"])
def test_what_new_connections_begin_with(new):
    torch.manual_seed(0)
    net = hundred()
    first = net[2].weight.detach().clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    network = advisor.analyze(net, torch.zeros(1, 4))
    method = Incremental(
        growing_weights(net, network), optimizer, incremental_schedule(0.1, 2), seeds={"2": 1}, new=new
    )
    one = method.weights["2"]
    for step in range(1, 8):
        before, values = one.gone.clone(), net[2].weight.detach().clone()
        optimizer.zero_grad()
        net(torch.randn(3, 4)).square().sum().backward()
        method.after_backward()
        optimizer.step()
        stepped = net[2].weight.detach().clone()
        method.after_step()
        born = before & ~one.gone
        assert bool(born.any()) == (step in (2, 4, 6))
        assert torch.equal(net[2].weight[born], first[born] if new == "initial" else torch.zeros_like(first[born]))
        assert torch.equal(net[2].weight[~before], stepped[~before])  # what lived goes on living
        assert (values[before] == 0).all()
        for state in optimizer.state[net[2].weight].values():
            if state.shape == first.shape:
                assert not state[born | one.gone].any()
                assert state[~before].any()
    assert method.density == pytest.approx(0.8)


def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_been():
    plan = mixed()

    def made():
        module = masked_module(small(), plan)
        optimizer = OPTIMIZERS["adam"](list(module.parameters()))
        weights = growing_weights(module, plan.network, plan)
        seeds = {one.name: one.seed for one in plan.layers}
        return module, optimizer, Incremental(weights, optimizer, incremental_schedule(0.05, 2), seeds=seeds)

    module, optimizer, method = made()
    whole = train(module, optimizer, range(8), [method])
    module, optimizer, method = made()
    begun = train(module, optimizer, range(3), [method])
    saved = from_disk((module.state_dict(), optimizer.state_dict(), method.state_dict()))
    module, optimizer, method = made()
    module.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    method.load_state_dict(saved[2])
    assert begun + train(module, optimizer, range(3, 8), [method]) == whole
    assert method.finish().numbers == {"density": method.density}
    masks = plan.masks()
    assert all(torch.equal(~one.gone, masks[name]) for name, one in method.weights.items())


def test_the_ramp_fits_itself_to_a_short_training():
    schedule = IncrementalSettings(start=0.01).schedule(100)
    assert schedule[-1] == (49, 1.0)  # seven doublings of seven steps
    assert IncrementalSettings(start=0.001, every=9, until=0.1).schedule(100)[-1] == (90, 1.0)


def test_masked_and_dense_layers_grow_to_what_the_plan_says():
    plan = plan_of(network(), {"up": MASKED["channel"], "head": UNSTRUCTURED})
    method = IncrementalSettings(start=0.125).attach(run_of(plan))
    assert set(method.weights) == {"grouped", "up", "point", "head"}  # the image's convolution stays whole
    assert method.density < 0.2
    for _ in range(method.schedule[-1][0]):
        method.after_step()
    masks = plan.masks()
    for name, one in method.weights.items():
        assert torch.equal(~one.gone, masks[name])
        assert bool(masks[name].all()) == (name in ("grouped", "point"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start": 0.0}, "start=0"),
        ({"start": 1.0}, "start=1"),
        ({"every": -1}, "every=-1"),
        ({"until": 0.0}, "until=0"),
        ({"new": "one"}, "new=one"),
        ({"every": 15}, "whole after 7 doublings, at step 105, but training ends at step 100"),
    ],
)
def test_what_makes_no_ramp_is_refused(settings, said):
    with pytest.raises(AdvisorError, match=said):
        IncrementalSettings(**settings).attach(run_of())


def test_a_network_without_anything_to_grow_is_refused():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 8))
    run = replace(run_of(), module=net, network=advisor.analyze(net, torch.zeros(1, 4)))
    with pytest.raises(AdvisorError, match="no layer that could grow"):
        IncrementalSettings().attach(run)
