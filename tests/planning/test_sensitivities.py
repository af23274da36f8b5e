"""The contract of every sensitivity, and probing beside what the network really does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.examples import Given
from advisor.examples.batches import calibration
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.menu.options import menu
from advisor.planning.sensitivity import SENSITIVITIES, estimate, kept_share, losses, losses_by_worth
from advisor.saliency import scores_of
from tests.saliency.networks import chain, labelled, mixed

NAMES = sorted(set(SENSITIVITIES) - {"trained"})  # that one learns from runs; see its own tests
PATTERNS = ("channel", "group", "n:m", "block", "unstructured", "width", "width+channel")


@pytest.fixture(scope="module")
def network() -> Network:
    return mixed()


@pytest.fixture(scope="module")
def options(network: Network) -> dict[str, tuple[Option, ...]]:
    return dict(menu(network, PATTERNS, include_ends=True).options)


@pytest.mark.parametrize("name", NAMES)
def test_the_contract(name: str, network: Network, options: dict[str, tuple[Option, ...]]) -> None:
    given = labelled(2, 6, 6, parts=(8, 8))
    assert network.module is not None
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    modes = [part.training for part in network.module.modules()]
    torch.manual_seed(4)
    state = torch.get_rng_state()
    found = estimate(network, options, name, given=given)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in network.module.state_dict().items())
    assert modes == [part.training for part in network.module.modules()]
    again = losses(network, options, name, given=Given(calibration=given.calibration, seed=given.seed))
    for layer in network.sparsifiable:
        column, choices = found.losses[layer.name], options[layer.name]
        assert column.shape == (len(choices),)
        assert np.isfinite(column).all()
        assert (column >= 0).all()
        assert np.array_equal(column, again[layer.name])
        assert all(loss == 0 for loss, option in zip(column, choices, strict=True) if option.pattern == "dense")
        families: dict[tuple[object, ...], list[tuple[float, float]]] = {}
        for loss, option in zip(column, choices, strict=True):
            if option.pattern in ("channel", "group", "block", "unstructured"):
                key = (option.pattern, *sorted(option.parameters.items()))
                families.setdefault(key, []).append((kept_share(layer, option), float(loss)))
        for points in families.values():
            ordered = [loss for _, loss in sorted(points)]
            assert all(b <= a + 1e-12 for a, b in pairwise(ordered)), (layer.name, points)
    assert (found.note == "") == (SENSITIVITIES[name].needs == "nothing")
    assert found.seconds >= 0


@pytest.mark.parametrize("name", [name for name in NAMES if SENSITIVITIES[name].reads_data])
def test_missing_data_is_refused_in_one_line(name: str, network: Network) -> None:
    with pytest.raises(PlanError, match=f"sensitivity '{name}' needs labelled data; give batches"):
        losses(network, {"stem": (DENSE,)}, name)


def test_losses_by_worth_are_what_the_masks_of_a_plan_remove(network: Network) -> None:
    given = labelled(2, 6, 6)
    scores = scores_of(network, "fisher", given)
    plan = advisor.plan(
        network,
        budgets={"params": "50%"},
        patterns=["unstructured", "width", "width+block"],  # none of them needs repair
        sensitivity="fisher",
        selection="fisher",
        include_ends=True,
        data=given.calibration,
    )
    masks = plan.masks()
    removed = sum(float(scores[name][~mask.numpy()].sum()) for name, mask in masks.items())
    total = sum(float(values.sum()) for values in scores.values())
    assert plan.objective == pytest.approx(removed / total, rel=1e-6)


def test_signed_scores_are_summed_before_their_sign_is_looked_at() -> None:
    network = advisor.analyze(nn.Sequential(nn.Conv1d(2, 1, 2, bias=False)), (1, 2, 4))
    scores = {"0": np.array([[[3.0, -5.0], [2.0, -1.0]]])}
    half = Option(pattern="channel", density=0.5)
    found = losses_by_worth(network, {"0": (DENSE, half, single(0.25))}, scores, signed=True)["0"]
    # Connections are worth -2 and 1, so the first goes for nothing; of single weights 3 stays, and 2 is lost, of 5.
    assert found.tolist() == pytest.approx([0, 0, 2 / 5])


def single(density: float) -> Option:
    return Option(pattern="unstructured", density=density)


def test_under_a_parameter_budget_the_best_plan_is_lamps_own_pruning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16, bias=False), nn.Linear(16, 12, bias=False), nn.Linear(12, 8, bias=False))
    network = advisor.analyze(model, (1, 20))
    scores = scores_of(network, "lamp", Given())
    flat = np.sort(np.concatenate([values.ravel() for values in scores.values()]))
    budget = 200
    limit = flat[-budget]
    kept = {name: int((values >= limit).sum()) for name, values in scores.items()}
    grid = {
        layer.name: (
            DENSE,
            *(Option(pattern="unstructured", density=k / layer.weights) for k in range(1, layer.weights)),
        )
        for layer in network.sparsifiable
    }
    found = losses(network, grid, "lamp")
    best = sum(float(found[name][kept[name]]) for name in grid)
    # Moving one weight from any layer to any other never helps.
    for gives in grid:
        for takes in grid:
            if gives != takes:
                moved = dict(kept)
                moved[gives] -= 1
                moved[takes] += 1
                assert sum(float(found[name][moved[name]]) for name in grid) >= best - 1e-12


def one_layer_loss(model: nn.Module, name: str, mask: np.ndarray, x: torch.Tensor, y: torch.Tensor) -> float:
    weight = model.get_parameter(name)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(torch.from_numpy(mask))
        loss = float(F.cross_entropy(model(x), y))
        weight.copy_(before)
    return loss


def test_probing_is_what_the_network_does_with_one_layer_thinned_out() -> None:
    model = chain(6, 8, 8, 3).float()
    x, y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    network = advisor.analyze(model, (2, 6))
    quarter = Option(pattern="unstructured", density=0.25)
    found = losses(network, {"2": (DENSE, quarter)}, "probe", given=Given(calibration=calibration((x, y))))["2"]
    weight = model[2].weight.detach().numpy()
    limit = np.sort(np.abs(weight), axis=None)[-16]
    dense = float(F.cross_entropy(model(x), y).detach())
    exact = one_layer_loss(model, "2.weight", (np.abs(weight) >= limit).astype(np.float32), x, y) - dense
    assert exact > 0.01
    assert found.tolist() == pytest.approx([0.0, exact], abs=1e-6)


def test_a_width_groups_cost_is_counted_once(network: Network) -> None:
    from advisor.examples.subject import subject
    from advisor.planning.narrowing import Narrowing
    from advisor.runtime.narrow import narrow_to

    given = labelled(2, 6, 6, parts=(16,))
    assert given.calibration is not None
    choices = dict(menu(network, ["width"], include_ends=True, levels=(1.0, 0.5)).options)
    found = losses(network, choices, "probe", given=given)
    group = network.coupling.of("up")[1]
    assert group is not None
    # All layers around this group at half its channels, everything else whole.
    total = 0.0
    for name, options_ in choices.items():
        sides = network.coupling.of(name)
        wanted = {"in": 0.5 if sides[0] == group else 1.0, "out": 0.5 if sides[1] == group else 1.0}
        if group in sides:
            index = next(
                k
                for k, o in enumerate(options_)
                if o.pattern == "width" and all(o.parameters[s] == v for s, v in wanted.items())
            )
            total += float(found[name][index])
    looked = subject(network)
    looked.measure_norms(given.calibration)
    dense = looked.mean_loss(given.calibration)
    flags = Narrowing(network, scores_of(network, "magnitude", given)).classes(group, 0.5, "ceil")
    module = narrow_to(looked.module, network, network.coupling, flags)
    batch = given.calibration.batches[0]
    with torch.no_grad():
        rise = float(F.cross_entropy(module(*batch.args), batch.targets)) - dense
    assert total == pytest.approx(max(rise, 0.0), abs=1e-5)


@pytest.mark.parametrize("selection", ["taylor", "fisher"])
def test_a_plan_by_data_keeps_its_connections_in_its_file(
    selection: str, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given = labelled(2, 6, 6)
    plan = advisor.plan(
        network,
        budgets={"macs": "50%"},
        patterns=["channel"],
        sensitivity="snip",
        selection=selection,
        data=given.calibration,
    )
    assert any(note.startswith("losses (snip) come from gradients on 8 examples, in ") for note in plan.notes)
    chosen = [layer for layer in plan.layers if layer.is_chosen]
    assert chosen
    assert {layer.selection for layer in chosen} == {selection}
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    plan.save(path)
    loaded, masks = advisor.load_plan(path), plan.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in loaded.masks(network.module).items())


@pytest.mark.parametrize("selection", ["taylor", "fisher"])
def test_selections_by_data_without_data_are_refused(selection: str, network: Network) -> None:
    with pytest.raises(PlanError, match=f"selection '{selection}' needs labelled data"):
        advisor.plan(network, budgets={"macs": "50%"}, selection=selection)


def test_baselines_say_where_the_plans_data_is_missing(network: Network) -> None:
    from advisor.planning.baselines import baselines

    given = labelled(2, 6, 6)
    plan = advisor.plan(
        network,
        budgets={"macs": "60%"},
        patterns=["channel"],
        sensitivity="snip",
        selection="taylor",
        data=given.calibration,
    )
    without = baselines(network, plan, kinds=["uniform"])["uniform"]
    notes = " ".join(without.notes)
    assert "estimated by uniform: snip needs the data" in notes
    assert "chosen by magnitude: those by taylor need the data" in notes
    within = baselines(network, plan, kinds=["uniform"], given=given)["uniform"]
    assert within.sensitivity == "snip"
    assert {layer.selection for layer in within.layers if layer.is_chosen} == {"taylor"}
    assert within.objective >= plan.objective - 1e-9


def test_a_network_that_fails_on_the_data_is_refused_in_one_line(network: Network) -> None:
    from advisor.errors import DataError

    build: Callable[[], Given] = lambda: labelled(3, 6, 6)  # noqa: E731  # three channels, the network takes two
    for name in ("snip", "probe"):
        with pytest.raises(DataError, match="the network fails on the data"):
            losses(network, {layer.name: (DENSE,) for layer in network.sparsifiable}, name, given=build())
