"""SET and RigL: which connections go, which come, and that the plan stays legal."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from advisor.errors import AdvisorError, PlanError
from advisor.patterns.base import pattern
from tests.plans.samples import MASKED, plan_of, small
from tests.validation.methods.sparse.training import (
    OPTIMIZERS,
    batch,
    everywhere,
    from_disk,
    mixed,
    narrowed,
    network,
    run_of,
    train,
)
from validation.methods.sparse.gradient_growth import RigL, RigLSettings
from validation.methods.sparse.masks import MaskedSettings
from validation.methods.sparse.modules import masked_module
from validation.methods.sparse.random_growth import SET, SETSettings


def rigl(plan, *, optimizer="adam", net=None, **settings):
    module = masked_module(net or small(), plan)
    made = OPTIMIZERS[optimizer](list(module.parameters()))
    return module, made, RigL(module, plan, made, **({"every": 2, "end": 8, "drop": 0.5} | settings))


def evolving(plan, **settings):
    module = masked_module(small(), plan)
    made = OPTIMIZERS["sgd"](list(module.parameters()))
    return module, made, SET(module, plan, made, **({"every": 2, "steps": 8, "drop": 0.5} | settings))


def quotas(one, units):
    sets = pattern(one.option.pattern).quota_sets(one.layer, one.option)
    return np.bincount(sets[units], minlength=int(sets.max()) + 1).tolist()


@pytest.mark.parametrize("make", [rigl, evolving])
@pytest.mark.parametrize("name", MASKED)
def test_the_plan_stays_legal_and_computes_what_was_trained(make, name):
    plan = everywhere(name)
    module, made, method = make(plan)
    first = {key: one.units.copy() for key, one in method.weights.items()}
    losses = train(module, made, range(9), [method])
    assert all(map(math.isfinite, losses))
    outcome = method.finish()
    assert outcome.numbers["mask_updates"] == 3  # steps 2, 4 and 6
    assert outcome.numbers["new_connections"] > 0
    moved = 0
    for key, one in method.weights.items():
        assert quotas(one, one.units) == quotas(one, first[key])
        moved += int((one.units & ~first[key]).sum())
        assert one.units.sum() == first[key].sum()
    assert moved == outcome.numbers["new_connections"]
    inputs, _ = batch(99)
    again = outcome.plan.apply(module.eval())
    torch.testing.assert_close(again.eval()(inputs), module(inputs), rtol=0, atol=1e-10)
    baked = outcome.plan.apply(module, for_inference=True)
    torch.testing.assert_close(baked(inputs), module(inputs), rtol=0, atol=1e-10)


def test_within_width():
    plan = narrowed("channel")
    module, made, method = rigl(plan)
    train(module, made, range(6), [method])
    found = method.finish()
    assert found.numbers["new_connections"] > 0
    inputs, _ = batch(9)
    baked = found.plan.apply(module.eval(), for_inference=True)
    torch.testing.assert_close(baked(inputs), module(inputs), rtol=0, atol=1e-10)
    with pytest.raises(PlanError, match="other connections"):
        plan.apply(module, for_inference=True)


def test_rigl_drops_the_weakest_and_grows_the_steepest_channel_pairs():
    """By hand: of one output's pairs with 3x3 taps the smallest L1 norm goes, and the largest L1 gradient comes."""
    plan = everywhere("channel")
    module, _, method = rigl(plan, optimizer="sgd", drop=0.3)
    one = method.weights["stem.0"]
    inputs, wanted = batch(1)
    ((module(inputs) - wanted) ** 2).mean().backward()
    weight, steep = (t.detach().abs().sum((2, 3)).numpy() for t in (one.parameter, one.parameter.grad))
    units = one.units.copy()
    live = sorted(weight[units])
    count = int(0.3 * len(live))
    assert count >= 3
    dropped = units & (weight <= live[count - 1])
    wanted_units = units & ~dropped
    for row in range(len(units)):
        free = np.flatnonzero(~wanted_units[row])
        best = free[np.argsort(-steep[row, free], kind="stable")][: int(dropped[row].sum())]
        wanted_units[row, best] = True
    values = one.parameter.detach().clone()
    method.update(0.3)
    assert (one.units == wanted_units).all()
    born = torch.from_numpy(wanted_units & ~units)
    assert born.any()
    assert not one.parameter[born].any()
    stayed = torch.from_numpy(wanted_units & units)
    assert torch.equal(one.parameter[stayed], values[stayed])


def test_the_optimiser_forgets_what_went_and_what_came():
    plan = mixed()
    module, made, method = rigl(plan, every=100, end=200)
    train(module, made, range(3), [method])
    old = {name: one.gone.clone() for name, one in method.weights.items()}
    inputs, wanted = batch(3)
    ((module(inputs) - wanted) ** 2).mean().backward()  # dense gradients: no mask has been laid on them
    method.update(0.5)
    moved = 0
    for name, one in method.weights.items():
        changed = old[name] ^ one.gone
        moved += bool(changed.any())
        for state in made.state[one.parameter].values():
            if state.shape == changed.shape:
                assert not state[changed].any()
                assert state[~one.gone & ~changed].any()
        assert not one.parameter.detach()[one.gone].any()
    assert moved >= 4


def test_the_share_falls_by_half_a_cosine_until_the_end():
    _, _, method = rigl(mixed(), every=1, end=8, drop=0.4)
    assert method.share(0) == 0.4
    assert method.share(4) == pytest.approx(0.2)
    assert method.share(8) == pytest.approx(0.0)
    assert [method.share(t) for t in range(9)] == pytest.approx(
        [0.2 * (1 + math.cos(math.pi * t / 8)) for t in range(9)]
    )
    _, _, constant = rigl(mixed(), drop=0.4, anneal=False)
    assert constant.share(7) == 0.4


def test_updates_come_when_they_should():
    module, made, method = rigl(mixed(), every=3, end=7)
    found = []
    for step in range(12):
        train(module, made, [step], [method])
        found.append(method.updates)
    assert found == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]  # before the steps number 3 and 6, counted from 0
    module, made, method = evolving(mixed(), every=3, steps=9)
    found = []
    for step in range(9):
        train(module, made, [step], [method])
        found.append(method.updates)
    assert found == [0, 0, 1, 1, 1, 2, 2, 2, 2]  # none after the last step


def test_an_update_waits_for_finite_gradients():
    module, made, method = rigl(mixed(), every=3, end=7)
    train(module, made, range(3), [method])
    for broken in (True, True, False):
        inputs, wanted = batch(5)
        ((module(inputs) - wanted) ** 2).mean().backward()
        if broken:
            module.up.weight.grad[0, 0, 0, 0] = float("inf")
        method.after_backward()
        assert method.updates == (not broken)
        method.steps += 1
        made.zero_grad()


def test_random_growth_is_the_seeds_and_no_ones_else():
    def grown(seed):
        module, made, method = evolving(mixed(), seed=seed)
        torch.manual_seed(seed * 7 + 1)
        train(module, made, range(4), [method])
        return {name: one.units for name, one in method.weights.items()}

    one, same, other = grown(0), grown(0), grown(1)
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


@pytest.mark.parametrize("make", [rigl, evolving])
def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_been(make):
    plan = mixed()
    module, made, method = make(plan)
    whole = train(module, made, range(8), [method])
    module, made, method = make(plan)
    begun = train(module, made, range(5), [method])
    saved = from_disk((module.state_dict(), made.state_dict(), method.state_dict()))
    module, made, method = make(plan)
    module.load_state_dict(saved[0])
    made.load_state_dict(saved[1])
    method.load_state_dict(saved[2])
    assert begun + train(module, made, range(5, 8), [method]) == whole
    assert method.finish().numbers["mask_updates"] == 3


def test_rows_that_a_repair_emptied_stay_empty():
    plan = plan_of(network(), {"up": MASKED["channel"]})
    layers = tuple(dataclasses.replace(one, dropped=(2, 5)) if one.name == "up" else one for one in plan.layers)
    plan = dataclasses.replace(plan, layers=layers)
    for make in (rigl, evolving):
        module, made, method = make(plan)
        train(module, made, range(7), [method])
        assert not method.weights["up"].units[[2, 5]].any()
        found = method.finish().plan
        inputs, _ = batch(3)
        torch.testing.assert_close(found.apply(module.eval())(inputs), module(inputs), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (RigLSettings, {"drop": 0.0}, "rigl: drop=0"),
        (RigLSettings, {"drop": 1.5}, "rigl: drop=1.5"),
        (RigLSettings, {"every": 0}, "rigl: every=0"),
        (RigLSettings, {"until": 1.5}, "rigl: until=1.5"),
        (RigLSettings, {"every": 75}, "rigl: no connection would ever move.*before step 75"),
        (SETSettings, {"drop": 1.0}, "set: drop=1"),
        (SETSettings, {"every": -2}, "set: every=-2"),
        (SETSettings, {"every": 100}, "set: no connection would ever move"),
    ],
)
def test_settings_that_move_nothing_are_refused(kind, settings, said):
    with pytest.raises(AdvisorError, match=said):
        kind(**settings).attach(run_of(mixed()))


@pytest.mark.parametrize(("make", "name"), [(rigl, "RigL"), (evolving, "SET")])
@pytest.mark.parametrize(("settings", "said"), [({"drop": 1.0}, "drop=1"), ({"every": 0}, "every=0")])
def test_classes_refuse_them_too(make, name, settings, said):
    with pytest.raises(AdvisorError, match=f"{name}: {said}"):
        make(mixed(), **settings)


@pytest.mark.parametrize("settings", [RigLSettings(every=10), SETSettings(), MaskedSettings()])
def test_a_plan_is_needed(settings):
    with pytest.raises(PlanError, match=f"{settings.name}@plan"):
        settings.module(small(), None, rescale=True)
    with pytest.raises(PlanError, match=f"{settings.name}@plan"):
        settings.attach(run_of())


def test_settings_attach_what_they_say():
    method = SETSettings().attach(run_of(mixed()))
    assert (method.every, method.total, method.drop, method.seed) == (25, 100, 0.3, 5)
    method = RigLSettings(every=10).attach(run_of(mixed()))
    assert (method.every, method.end, method.drop) == (10, 75, 0.3)
