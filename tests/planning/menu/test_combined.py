"""Plans with layers that are narrowed and sparse: costs, losses, couplings and optima."""

from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.devices.measuring.work import options_of, tasks_of
from advisor.devices.predicting.compose import predict_options
from advisor.errors import BudgetError, PatternError, PlanError
from advisor.network import Network
from advisor.patterns.narrowed import combined, is_combined, thinned, width_option
from advisor.patterns.option import DENSE, Option
from advisor.planning.baselines import baselines
from advisor.planning.build import build_table
from advisor.planning.menu.combine import COMBINED_DENSITIES, COMBINED_LEVELS, combined_options, joined
from advisor.planning.menu.options import Menu, menu, with_width
from advisor.planning.sensitivity import kept_share, losses
from advisor.planning.sensitivity.rates import loss_parts, with_narrowing
from advisor.planning.solving.solve import solve
from advisor.plans.plan import Plan
from tests.devices.synthetic import all_executions, profile_of
from tests.planning.tables import brute_force
from validation.reporting.exchange import losses_by_pattern, way_of

BOTH = ("width+channel",)


class Chain(nn.Module):
    """Three convolutions of four to eight channels in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.b = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.c = nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.c(self.b(self.a(x).relu()).relu())
        return out


@pytest.fixture(scope="module")
def chain() -> Network:
    torch.manual_seed(0)
    return advisor.analyze(Chain(), (1, 2, 5, 5), name="chain")


def check_costs(plan: Plan, network: Network) -> None:
    """Params are those that the applied module holds, MACs those of the kept weights, and memory that of both."""
    module = network.module
    assert module is not None
    applied = plan.apply(module)
    found = {key: line.plan for key, line in plan.costs.items()}
    assert found["params"] == sum(p.numel() for p in applied.parameters())
    masks = plan.masks(module)
    macs = network.macs
    for layer in network.sparsifiable:
        macs -= layer.macs - layer.macs * int(masks[layer.name].sum()) // layer.weights
    assert found["macs"] == macs
    for line in plan.costs.values():
        assert line.budget is None or line.plan <= line.budget


def test_by_hand(chain: Network) -> None:
    """5 x 5 positions; the middle layer at half of both sides with half of the inputs that are left."""
    choices = menu(chain, BOTH)
    label = "width+channel d=0.125 in=0.5 in_channels=4 out=0.5 out_channels=4 rounding=ceil within=0.5"
    built = build_table(chain, choices)
    row = built.table.layers.index("b")
    at = [option.label for option in choices.options["b"]].index(label)
    assert built.table.costs["params"][row][at] == 4 * 2 * 9
    assert built.table.costs["macs"][row][at] == 4 * 2 * 9 * 25
    assert built.table.costs["weight_memory"][row][at] == 4 * 2 * 9 * 4 + 4 * 2 * 2  # uint16 for each connection
    assert choices.requires["b"][at] == ((0, 2), (1, 2))  # 1, 0.75, 0.5 of both groups
    scores = {"a": 2 + 8 + 6, "b": 8 + 8 + 6, "c": 8 + 4 + 6}
    assert built.table.loss[row][at] == pytest.approx(scores["b"] / sum(scores.values()) * log(8))


def test_the_menu_holds_both_alone_and_together(residual: Network) -> None:
    both, apart = menu(residual, BOTH), menu(residual, ("channel", "width"))
    narrow = menu(residual, ("width",))
    for name, options in both.options.items():
        pairs = set(zip([option.label for option in options], both.requires[name], strict=True))
        assert len(pairs) == len(options)
        assert {option.label for option in apart.options[name]} <= {option.label for option in options}
        assert {option.label for option in narrow.options[name]} <= {option.label for option in options}
    inner = [option for option in both.options["inner"] if is_combined(option)]
    assert {option.parameters["within"] for option in inner} == set(COMBINED_DENSITIES)
    levels = {(option.parameters["in"], option.parameters["out"]) for option in inner}
    assert levels == {pair for pair in product(COMBINED_LEVELS, repeat=2) if pair != (1.0, 1.0)}
    # The ends are narrowed on their inner sides, and no connection of theirs goes.
    assert {option.pattern for option in both.options["stem"]} == {"dense", "width"}
    assert {option.pattern for option in both.options["classifier"]} == {"dense", "width"}
    grouped = [option for option in both.options["grouped"] if is_combined(option)]
    assert grouped
    assert all(option.parameters["in"] == option.parameters["out"] for option in grouped)


def test_blocks_divide_what_is_left(residual: Network) -> None:
    options = menu(residual, ("width+group",)).options["inner"]
    blocks = [(o.parameters["out_channels"], o.parameters["block"]) for o in options if is_combined(o)]
    assert blocks
    assert all(outputs % block == 0 for outputs, block in blocks)


@pytest.mark.parametrize(
    ("patterns", "budgets"),
    [
        (("width+channel",), {"macs": "4%"}),
        (("width+channel",), {"params": "5%", "peak_memory": "40%"}),
        (("width+group",), {"macs": "6%", "energy": "30%"}),
        (("width+unstructured", "width+n:m"), {"weight_memory": "8%"}),
        (("width+block", "channel"), {"params": "4%"}),
    ],
)
@pytest.mark.parametrize("name", ["digits", "residual"])
def test_costs_are_those_of_the_module(
    name: str, patterns: tuple[str, ...], budgets: dict[str, str], request: pytest.FixtureRequest
) -> None:
    network: Network = request.getfixturevalue(name)
    plan = advisor.plan(network, budgets=budgets, patterns=patterns, exchange={"width": 1.3}, gap=0.01)
    assert any(is_combined(layer.option) for layer in plan.layers)
    check_costs(plan, network)


def test_memory_is_that_of_narrowed_activations_and_stored_connections(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"peak_memory": "45%", "params": "10%"}, patterns=BOTH)
    assert any(is_combined(layer.option) for layer in plan.layers)
    narrow = {layer.name: width_option(layer.option) for layer in plan.layers}
    from advisor.runtime.narrow import levels_from_options
    from advisor.runtime.narrow import narrow as narrowed

    assert residual.module is not None
    levels = levels_from_options(residual, narrow)
    other = advisor.analyze(narrowed(residual.module, residual, levels), residual.input_shapes[0])
    saved = 0
    for layer in plan.layers:
        smaller, inner = thinned(residual.layer(layer.name), layer.option)
        if inner != DENSE:
            from advisor.patterns.base import pattern

            saved += smaller.weights * 4 - pattern(inner.pattern).storage_bytes(smaller, inner)
    found = {key: line.plan for key, line in plan.costs.items()}
    assert found["weight_memory"] == other.weight_bytes - saved
    assert found["peak_memory"] == found["weight_memory"] + other.peak_activation_bytes


def test_at_least_as_good_as_each_alone(residual: Network) -> None:
    for share in ("30%", "8%"):
        found = {
            name: advisor.plan(residual, budgets={"macs": share}, patterns=names, gap=0.0).objective
            for name, names in {"both": BOTH, "apart": ("channel", "width"), "width": ("width",)}.items()
        }
        assert found["both"] <= min(found["apart"], found["width"]) + 1e-9


def tiny(chain: Network) -> Menu:
    """Both groups at two levels, half and a quarter of the connections in each form: small enough to try everything."""
    masked = {
        "a": (DENSE,),
        "b": (DENSE, Option(pattern="channel", density=0.5), Option(pattern="channel", density=0.25)),
        "c": (DENSE, Option(pattern="channel", density=0.25)),
    }
    made = with_width(chain, masked, rounding="ceil", levels=(1.0, 0.5))
    assert made.width is not None
    more = combined_options(
        chain, made.width, ("channel",), leave=frozenset("a"), levels=(1.0, 0.5), densities=(0.5, 0.25)
    )
    options, requires = joined(made.options, made.requires, more)
    return Menu(options=options, requires=requires, width=made.width)


@pytest.mark.parametrize("share", [0.9, 0.6, 0.45, 0.3, 0.25, 0.2, 0.15, 0.1])
@pytest.mark.parametrize("rates", [{}, {"width": 0.5}, {"width": 1.7}])
def test_the_optimum_is_that_of_trying_everything(chain: Network, share: float, rates: dict[str, float]) -> None:
    choices = tiny(chain)
    assert any(is_combined(option) for option in choices.options["c"])
    table = build_table(chain, choices, exchange=rates).table
    for keys in (("macs",), ("params", "peak_memory")):
        limits = {key: share * table.total(key, table.dense) for key in keys}
        if "peak_memory" in limits:
            limits["peak_memory"] = max(share, 0.7) * table.total("peak_memory", table.dense)
        best = brute_force(table, limits)
        if best is None:
            with pytest.raises(BudgetError):
                solve(table, limits)
            continue
        found = solve(table, limits, gap=0.0)
        assert found.objective == pytest.approx(best, abs=1e-9)
        assert all(table.total(key, found.choice) <= limit for key, limit in limits.items())


def test_rates_price_the_two_parts_of_the_share(digits: Network) -> None:
    options = menu(digits, BOTH).options
    plain, rated = losses(digits, options, "erk"), losses(digits, options, "erk", {"width": 0.5, "channel": 3.0})
    layer = digits.layer("features.8")
    scores = {x.name: sum(x.weight_shape) for x in digits.sparsifiable}
    share = scores[layer.name] / sum(scores.values())
    checked = 0
    for option, before, after in zip(options[layer.name], plain[layer.name], rated[layer.name], strict=True):
        assert before == pytest.approx(share * -log(kept_share(layer, option)))
        if is_combined(option):
            smaller, inner = thinned(layer, option)
            narrow, within = smaller.weights / layer.weights, kept_share(smaller, inner)
            assert after == pytest.approx(share * (0.5 * -log(narrow) + 3.0 * -log(within)))
            checked += 1
    assert checked > 50
    # The same for options whose narrowing alone is not among them.
    alone = {layer.name: tuple(option for option in options[layer.name] if is_combined(option))}
    again = losses(digits, alone, "erk", {"width": 0.5, "channel": 3.0})[layer.name]
    assert again.tolist() == [
        x for x, option in zip(rated[layer.name], options[layer.name], strict=True) if is_combined(option)
    ]


def test_rates_are_of_simple_patterns(digits: Network) -> None:
    with pytest.raises(PlanError, match="unknown pattern 'width\\+channel'"):
        losses(digits, menu(digits, BOTH).options, "erk", {"width+channel": 2.0})
    with pytest.raises(PatternError, match="did you mean 'width\\+channel'"):
        menu(digits, ("width+chanel",))


def test_losses_by_magnitude_are_what_is_removed(digits: Network) -> None:
    """Channels go by the coupled filters, then connections within what stays: the plan's own mask says how much."""
    plan = advisor.plan(
        digits,
        budgets={"macs": "8%"},
        patterns=["width+unstructured"],  # needs no repair
        sensitivity="magnitude",
        selection="magnitude",
    )
    assert digits.module is not None
    masks = plan.masks(digits.module)
    removed = total = 0.0
    for layer in digits.sparsifiable:
        squares = digits.module.get_parameter(str(layer.weight)).detach().double().square()
        total += float(squares.sum())
        removed += float(squares[~masks[layer.name]].sum())
    assert any(is_combined(layer.option) for layer in plan.layers)
    assert plan.objective == pytest.approx(removed / total, rel=1e-5)


def test_parts_of_a_plans_loss(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"macs": "6%"}, patterns=BOTH)
    parts = losses_by_pattern(digits, plan)
    assert set(parts) == {"width", "channel"}
    assert sum(parts.values()) == pytest.approx(plan.objective)
    assert way_of(plan) == "narrowing with channel connections"
    narrow, inner = Option(pattern="width", density=0.5, parameters={"in": 0.5, "out": 1.0}), DENSE
    both = combined(narrow, Option(pattern="channel", density=0.5))
    (options,) = with_narrowing({"x": (inner, both)}).values()
    assert options == (inner, both, narrow)
    assert loss_parts(options, np.array([0.0, 3.0, 1.0])) == [{}, {"width": 1.0, "channel": 2.0}, {"width": 1.0}]


def test_latency_is_the_profiles_own_prediction(residual: Network, with_kernels: None) -> None:
    from dataclasses import replace

    from tests.devices.synthetic import SETTINGS

    choices = menu(residual, ("width+group",))
    executed = all_executions(residual, dict(choices.options), have=True)
    profile = profile_of(residual, executed.values(), settings=replace(SETTINGS, batch=2), rest=0.5)
    plan = advisor.plan(residual, budgets={"latency": "45%"}, profile=profile, patterns=["width+group"], gap=0.01)
    assert any(is_combined(layer.option) for layer in plan.layers)
    options = {layer.name: layer.option for layer in plan.layers}
    assert plan.costs["latency"].plan == pytest.approx(predict_options(residual, profile, options).latency_ms)
    assert plan.costs["latency"].plan <= 0.45 * plan.costs["latency"].dense
    # What runs is named by the narrowed shapes.
    for layer in plan.layers:
        if is_combined(layer.option):
            smaller, inner = thinned(residual.layer(layer.name), layer.option)
            from advisor.runtime.execution import executions

            here = executions(residual.layer(layer.name), layer.option, method="direct")
            assert here == executions(smaller, inner, method="direct")
            (execution,) = here
            assert execution.in_channels == smaller.in_channels
            assert execution.key in profile.measurements


def test_a_profile_measures_them_where_they_are_named(digits: Network) -> None:
    plain = options_of(digits, None)
    assert not any(is_combined(option) for options in plain.values() for option in options)
    options = options_of(digits, BOTH)
    assert {n: len(o) for n, o in options.items()} == {n: len(o) for n, o in menu(digits, BOTH).options.items()}
    tasks = tasks_of(digits, options, training=False)
    assert len({task.execution.key for task in tasks}) == len(tasks)


def test_baselines_of_a_combined_plan(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"macs": "10%"}, patterns=["width+group"])
    found = baselines(digits, plan)
    assert set(found) == {"uniform", "erk", "width"}, found.reasons
    assert {layer.pattern for layer in found["uniform"].layers} <= {"dense", "group"}
    assert {layer.pattern for layer in found["width"].layers} <= {"dense", "width"}
