"""Response curves: what is known beforehand comes out again, shapes hold whatever runs say, and files are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import advisor
from advisor.errors import PlanError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.menu.options import menu
from advisor.planning.sensitivity import Given, losses
from advisor.planning.sensitivity.trained import family, learn, parts
from advisor.planning.sensitivity.trained_curves import Curves, Prior, Runs, curve
from advisor.planning.sensitivity.trained_data import Responses, Run, load_responses, shapes_of
from advisor.planning.sensitivity.trained_fit import best_fit, fit

LAYERS, FAMILIES = 6, 2
SCORES = np.linspace(-0.5, 0.5, LAYERS)


def truth(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(L, P) true coefficients: layers scatter, the second family costs half."""
    return np.exp(-2 + SCORES + rng.normal(0, 0.8, LAYERS))[:, None] * np.array([1.0, 0.5])


def drawn(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    shares = np.ones((count, LAYERS, FAMILIES))
    for plan in range(count):
        for layer in range(LAYERS):
            shares[plan, layer, rng.integers(FAMILIES)] = rng.choice([1.0, 0.5, 0.25, 0.125, 0.06])
    return shares


def measured(noise: float, plans: int = 30, exponent: float = 0.0, seed: int = 0) -> tuple[Runs, Any, Any]:
    rng = np.random.default_rng(seed)
    coefficients, shares = truth(rng), drawn(rng, plans)
    loss = np.einsum("nlp,lp->n", curve(shares, exponent), coefficients)
    luck = np.repeat([0.3, 0.5], plans)  # each seed has a level of its own
    runs = Runs(
        shares=np.concatenate([shares, shares]),
        loss=np.tile(loss, 2) + luck + noise * rng.normal(size=2 * plans),
        setting=np.zeros(2 * plans, np.int64),
        block=np.repeat(np.arange(2), plans),
    )
    return runs, coefficients, rng


def test_coefficients_come_out_as_they_went_in() -> None:
    runs, coefficients, _ = measured(noise=0.002)
    found = best_fit(runs, Prior(scores=SCORES))
    assert found.prior.exponent == 0.0
    np.testing.assert_allclose(found.coefficients(), coefficients, rtol=0.15)
    assert found.noise == pytest.approx(0.002, rel=0.5)


def test_the_curvature_is_found() -> None:
    runs, _, _ = measured(noise=0.005, exponent=0.5)
    assert best_fit(runs, Prior(scores=SCORES)).prior.exponent == 0.5


def test_intervals_hold_what_is_true() -> None:
    inside = []
    for seed in range(8):
        runs, coefficients, rng = measured(noise=0.05, seed=seed)
        found = fit(runs, Prior(scores=SCORES))
        shares = drawn(rng, 40)
        true = np.einsum("nlp,lp->n", curve(shares, 0.0), coefficients)
        several = np.array([found.predict(shares, theta) for theta in found.draws(300, seed)])
        low, high = np.percentile(several, [2.5, 97.5], axis=0)
        inside += list((low <= true) & (true <= high))
    assert np.mean(inside) > 0.88  # 95 % of 320 correlated ones


def test_without_signal_the_prior_stays() -> None:
    """All plans alike: no layer or family can be told from another."""
    shares = np.full((10, LAYERS, FAMILIES), 0.5)
    rng = np.random.default_rng(1)
    runs = Runs(
        shares=shares, loss=1 + 0.01 * rng.normal(size=10), setting=np.zeros(10, np.int64), block=np.arange(10) // 5
    )
    found = fit(runs, Prior(scores=SCORES)).coefficients()
    np.testing.assert_allclose(found / found[0], np.exp(SCORES - SCORES[0])[:, None] * np.ones(2), rtol=1e-6)


def test_settings_have_their_own_scale() -> None:
    runs, coefficients, _ = measured(noise=0.002)
    half = len(runs.loss) // 2
    other = runs.block  # the second seed trained elsewhere, where all costs three times as much
    tripled = np.where(other == 1, 3 * runs.loss, runs.loss)
    found = best_fit(Runs(shares=runs.shares, loss=tripled, setting=other, block=other), Prior(scores=SCORES))
    ratios = found.coefficients() / coefficients
    assert half == 30
    assert ratios.std() / ratios.mean() < 0.1


def test_curves_fall_and_are_convex_whatever_the_runs_say() -> None:
    rng = np.random.default_rng(2)
    shares = drawn(rng, 20)
    rising = -np.einsum("nlp->n", curve(shares, 0.0))  # the sparser the better
    found = best_fit(
        Runs(shares=shares, loss=rising, setting=np.zeros(20, np.int64), block=np.zeros(20, np.int64)),
        Prior(scores=SCORES),
    )
    density = np.linspace(0.02, 1, 50)
    for exponent in (-0.5, 0.0, 0.5):
        values = curve(density, exponent)
        assert values[-1] == 0
        assert (np.diff(values) < 0).all()
        assert (np.diff(values, 2) > -1e-12).all()
    assert (found.coefficients() > 0).all()


def test_no_runs_are_refused() -> None:
    empty = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="no runs"):
        fit(Runs(shares=np.ones((0, 2, 1)), loss=np.zeros(0), setting=empty, block=empty), Prior(scores=np.zeros(2)))


@pytest.fixture(scope="module")
def responses(digits: Network) -> Responses:
    """Runs of the demo's network in which features.8 is dear and width costs half of channel."""
    choices = menu(digits, ("channel", "width"))
    rng = np.random.default_rng(3)
    plans: dict[str, dict[str, Option]] = {"dense": {}}
    runs = []
    price = {"features.4": 0.02, "features.8": 0.2, "features.12": 0.02}
    layers = {layer.name: layer for layer in digits.sparsifiable}
    for number in range(24):
        pattern = ("channel", "width")[number % 2]
        plans[f"p{number}"] = {
            name: (options := [o for o in choices.options[name] if o.pattern == pattern])[rng.integers(len(options))]
            for name in price
        }
    for key, plan in plans.items():
        loss = 0.4
        for name, option in plan.items():
            for one, share in parts(layers[name], option).items():
                loss += price[name] * -np.log(share) * (0.5 if one == "width" else 1.0)
        runs += [
            Run(plan=key, settings="s", seed=seed, loss=loss + 0.1 * seed + 0.002 * rng.normal(), accuracy=0.9)
            for seed in (0, 1)
        ]
    return Responses(network=shapes_of(digits), settings={"s": {"epochs": 2}}, plans=plans, runs=tuple(runs))


def test_exchange_rates_are_learnt(digits: Network, responses: Responses) -> None:
    found = learn(digits, responses).exchange()
    assert found["channel"] == (1.0, 1.0, 1.0)
    rate, low, high = found["width"]
    assert low < rate < high
    assert rate == pytest.approx(0.5, rel=0.35)


def test_the_planner_spares_the_dear_layer(digits: Network, responses: Responses) -> None:
    plan = advisor.plan(
        digits, budgets={"macs": "40%"}, patterns=["channel"], sensitivity="trained", responses=responses
    )
    kept = {layer.name: layer.density for layer in plan.layers}
    assert kept["features.8"] > kept["features.4"]
    assert any("24" in note or "50 runs of 25 plans" in note for note in plan.notes)
    assert any("width 0." in note for note in plan.notes)


def test_losses_are_zero_for_dense_and_fall_with_the_density(digits: Network, responses: Responses) -> None:
    options = menu(digits, ("channel", "group", "width")).options
    found = losses(digits, options, "trained", given=Given(responses=responses))
    for name, choices in options.items():
        channel = [loss for loss, o in zip(found[name], choices, strict=True) if o.pattern in ("dense", "channel")]
        assert channel[0] == 0
        assert channel == sorted(channel)
        assert np.isfinite(found[name]).all()


def test_the_rise_has_an_interval(digits: Network, responses: Responses) -> None:
    learnt = learn(digits, responses)
    option = Option(pattern="channel", density=0.25)
    mean, low, high = learnt.rise(digits, {"features.8": option})
    assert low < mean < high
    assert mean == pytest.approx(0.2 * np.log(4), rel=0.15)


def test_families() -> None:
    assert family(Option(pattern="group", density=0.5, parameters={"block": 16})) == "group block=16"
    assert family(Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4})) == "n:m m=4"
    assert family(Option(pattern="channel", density=0.5)) == "channel"


def test_parts_of_a_combined_option_multiply_to_what_is_kept(digits: Network) -> None:
    layers = {layer.name: layer for layer in digits.sparsifiable}
    options = menu(digits, ("width+channel",)).options["features.8"]
    combined = next(option for option in options if option.pattern == "width+channel")
    found = parts(layers["features.8"], combined)
    assert set(found) == {"width", "channel"}
    assert found["width"] * found["channel"] == pytest.approx(combined.density, rel=0.3)
    assert parts(layers["features.8"], DENSE) == {}


def test_a_file_comes_back_as_it_was(responses: Responses, tmp_path: Path) -> None:
    responses.save(tmp_path / "responses.json")
    assert load_responses(tmp_path / "responses.json").to_json() == responses.to_json()


def test_a_run_counts_once(responses: Responses) -> None:
    again = responses.joined(responses)
    assert len(again.runs) == len(responses.runs)


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.pop(key)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d.update(schema="other"), "schema is 'other'"),
        (_without("runs"), "'runs' is no list"),
        (_without("network"), "'network' is no object"),
        (lambda d: d["runs"][3].update(plan="nobody"), "run 3 is of plan 'nobody'"),
        (lambda d: d["runs"][3].update(settings="x"), "run 3 has settings 'x'"),
        (lambda d: d["runs"][3].update(loss="low"), "run 3 has loss low"),
        (lambda d: d["runs"][3].update(loss=-1), "run 3 has loss -1"),
        (lambda d: d["runs"][3].update(seed=True), "run 3 has seed True"),
        (lambda d: d["plans"]["p0"].update(nowhere={}), "'nowhere' is no layer"),
        (lambda d: d["plans"]["p0"]["features.4"].update(density=2), "density 2"),
        (lambda d: d["plans"]["p0"]["features.4"].pop("pattern"), "has no pattern"),
        (lambda d: d["network"].update({"features.4": []}), "weight shape []"),
        (lambda d: d["settings"].update(s=3), "settings 's' are no object"),
    ],
)
def test_a_spoilt_file_is_refused(
    spoil: Callable[[dict[str, Any]], None], said: str, responses: Responses, tmp_path: Path
) -> None:
    document = responses.to_json()
    spoil(document)
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(PlanError) as caught:
        load_responses(tmp_path / "r.json")
    assert said in str(caught.value)
    assert "r.json" in str(caught.value)


def test_another_networks_runs_are_refused(residual: Network, responses: Responses) -> None:
    with pytest.raises(PlanError, match="another network"):
        learn(residual, responses)
    with pytest.raises(PlanError, match="another network"):
        responses.joined(Responses(network=shapes_of(residual)))


def test_trained_without_runs_says_how_to_make_them(digits: Network, responses: Responses) -> None:
    with pytest.raises(PlanError, match="--design N"):
        advisor.plan(digits, budgets={"macs": "50%"}, sensitivity="trained")
    few = Responses(
        network=responses.network, settings=responses.settings, plans=responses.plans, runs=responses.runs[:3]
    )
    with pytest.raises(PlanError, match="3 runs of"):
        advisor.plan(digits, budgets={"macs": "50%"}, sensitivity="trained", responses=few)


def test_curves_tell_their_size() -> None:
    runs, _, _ = measured(noise=0.01, plans=8)
    found = fit(runs, Prior(scores=SCORES))
    assert isinstance(found, Curves)
    assert found.coefficients().shape == (LAYERS, FAMILIES)
    assert found.draws(5).shape[0] == 5


def test_runs_decide_the_default(digits: Network, responses: Responses) -> None:
    budgets = {"macs": "50%"}
    assert advisor.plan(digits, budgets=budgets, patterns=["channel"]).sensitivity == "erk"
    assert advisor.plan(digits, budgets=budgets, patterns=["channel"], responses=responses).sensitivity == "trained"
    named = advisor.plan(digits, budgets=budgets, patterns=["channel"], sensitivity="uniform", responses=responses)
    assert named.sensitivity == "uniform"


def test_a_baseline_without_the_runs_is_judged_by_shapes(digits: Network, responses: Responses) -> None:
    from advisor.planning.baselines import baselines

    plan = advisor.plan(digits, budgets={"macs": "50%"}, patterns=["channel"], responses=responses)
    found = baselines(digits, plan, kinds=("uniform",))["uniform"]
    assert found.sensitivity == "uniform"
    assert any("needs the runs" in note for note in found.notes)
