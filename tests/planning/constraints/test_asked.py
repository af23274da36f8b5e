"""What is asked of single layers: read, obeyed exactly, and explained where it cannot be."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advisor
from advisor.errors import BudgetError, PlanError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.constraints.asked import asked_of, wanted_of
from advisor.planning.constraints.restrict import restrict, solve_restricted
from advisor.planning.table import CostTable
from tests.planning.tables import options_of, plain_tables, tied_tables

GROUP = Option(pattern="group", density=0.25, parameters={"block": 16})
NARROW = Option(pattern="width", density=0.375, parameters={"in": 0.5, "out": 0.75, "rounding": "ceil"})


@pytest.mark.parametrize(
    ("text", "meets", "misses"),
    [
        ("dense", DENSE, GROUP),
        (0.25, GROUP, DENSE),
        ("0.25", GROUP, NARROW),
        ("group", GROUP, DENSE),
        ("group@0.25", GROUP, Option(pattern="group", density=0.5, parameters={"block": 16})),
        ("group@0.25,block=16", GROUP, Option(pattern="group", density=0.25, parameters={"block": 32})),
        ("group @ block=16", GROUP, Option(pattern="group", density=0.25, parameters={"block": 32})),
        ("width@in=0.5,out=0.75", NARROW, Option(pattern="width", density=0.25, parameters={"in": 0.5, "out": 0.5})),
        ("group d=0.25 block=16", GROUP, Option(pattern="group", density=0.25, parameters={"block": 32})),
        (GROUP, GROUP, NARROW),
    ],
)
def test_options_as_people_write_them(text: Any, meets: Option, misses: Option) -> None:
    wanted = wanted_of(text, "pin a")
    assert wanted.is_met_by(meets)
    assert not wanted.is_met_by(misses)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"pins": {"a": ""}}, "pin a=''; expected an option such as dense, 0.25"),
        ({"pins": {"a": True}}, "pin a='True'; expected an option"),
        ({"pins": {"a": 1.5}}, "pin a: got density 1.5, expected a number above 0, up to 1"),
        ({"pins": {"a": "channel@half"}}, "pin a=channel@half: got density half, expected a number"),
        ({"pins": {"a": float("nan")}}, "pin a: got density nan"),
        ({"pins": ["a"]}, "pins=\"['a']\"; expected a mapping from layers"),
        ({"allowed": {"a": []}}, "allow a: no pattern; expected one or more"),
        ({"allowed": {"a": 3}}, "allow a='3'; expected patterns"),
        ({"min_density": 0}, "min_density *: got density 0"),
        ({"max_density": {"a": "half"}}, "max_density a: got density half"),
    ],
)
def test_what_cannot_be_read(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as error:
        asked_of(**asked)
    assert says in str(error.value)


def test_a_name_goes_before_globs_and_the_last_glob_before_others() -> None:
    asked = asked_of(
        pins={"layer4.*": "dense", "layer4.conv": 0.5},
        min_density={"*": 0.1, "layer4.*": 0.3},
        forbidden={"*": ["width"], "layer4.conv": ["group"]},
    )
    assert [rule.text for rule in asked.of("layer4.conv")] == ["pin 0.5", "forbid group"]
    assert [rule.text for rule in asked.of("layer4.other")] == ["pin dense", "forbid width", "min_density 0.3"]
    assert [rule.text for rule in asked.of("stem")] == ["forbid width", "min_density 0.1"]


def obeying(table: CostTable, asked: dict[str, Any], limits: dict[str, float]) -> float | None:
    """The least loss by trying everything, rules read anew for each choice."""
    rules = asked_of(**asked)
    found = [
        table.objective(choice)
        for choice in product(*(range(len(options)) for options in table.options))
        if table.agrees(choice)
        and all(table.total(key, choice) <= limit for key, limit in limits.items())
        and all(
            rule.allows(options[k])
            for name, options, k in zip(table.layers, table.options, choice, strict=True)
            for rule in rules.of(name)
            if rule.layers == name or len({o.pattern for o in options}) > 1
        )
    ]
    return min(found, default=None)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    names = st.sampled_from(["layer0", "layer*", "*1"])
    densities = st.sampled_from([0.25, 1 / 3, 0.5, 0.75, 1.0])
    asked: dict[str, Any] = {}
    if draw(st.booleans()):
        asked["pins"] = draw(st.dictionaries(names, st.one_of(densities, st.just("dense")), max_size=2))
    if draw(st.booleans()):
        asked["min_density"] = draw(densities)
    if draw(st.booleans()):
        asked["max_density"] = draw(st.dictionaries(names, densities, max_size=2))
    if draw(st.booleans()):
        asked["forbidden"] = draw(st.dictionaries(names, st.just(["dense"]), max_size=1))
    return asked


@settings(max_examples=80, deadline=None)
@given(table=st.one_of(plain_tables(), tied_tables()), asked=rules(), part=st.floats(0.2, 1.0))
def test_equals_trying_everything(table: CostTable, asked: dict[str, Any], part: float) -> None:
    limits = {"params": part * table.total("params", table.dense)}
    names = {name for kind in ("pins", "max_density", "forbidden") for name in asked.get(kind, {})}
    if not all(any(fnmatchcase(layer, name) for layer in table.layers) for name in names):
        with pytest.raises(PlanError, match="unknown layer"):
            restrict(table, asked_of(**asked))
        return
    best = obeying(table, asked, limits)
    if best is None:
        with pytest.raises((PlanError, BudgetError)):
            solve_restricted(restrict(table, asked_of(**asked)), limits, gap=0.0, time_limit=10)
        return
    found = solve_restricted(restrict(table, asked_of(**asked)), limits, gap=0.0, time_limit=10)
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert table.objective(found.choice) == found.objective
    assert table.total("params", found.choice) <= limits["params"]


def three() -> CostTable:
    """Layers of a, b and c; c stays dense."""
    return CostTable(
        layers=("net.a", "net.b", "c"),
        options=(options_of(4), options_of(4), (DENSE,)),
        costs={"macs": ([40, 30, 20, 10], [400, 300, 200, 100], [5])},
        loss=([0, 1, 2, 3], [0, 1, 2, 3], [0]),
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"pins": {"net.d": "dense"}}, "pin dense: unknown layer 'net.d'; did you mean"),
        (
            {"pins": {"net.a": "channel@0.3"}},
            "layer net.a: no option for pin channel@0.3; it has dense, channel at 0.75, 0.5, 0.25; take one of these",
        ),
        ({"pins": {"net.*": 0.5}, "max_density": 0.25}, "layer net.a: no option for pin 0.5 and max_density 0.25"),
        ({"pins": {"c": 0.5}}, "layer c: pin 0.5 cannot be, as it only has dense; let it be, or offer it more"),
        (
            {"allowed": {"net.a": ["chanel"]}},
            "allow chanel for net.a: unknown pattern 'chanel'; did you mean 'channel'",
        ),
        ({"allowed": {"net.a": ["unstructured"]}}, "a layer can only take what all may choose from (--patterns)"),
        ({"max_density": {"net.a": 0.1}}, "layer net.a: no option for max_density 0.1; it has dense, channel at"),
    ],
)
def test_an_impossible_rule_is_explained(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as error:
        restrict(three(), asked_of(**asked))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pin_by_name_is_an_exception() -> None:
    left = restrict(three(), asked_of(pins={"net.a": "dense"}, max_density=0.5))
    assert [[option.density for option in options] for options in left.table.options] == [[1.0], [0.5, 0.25], [1.0]]
    with pytest.raises(PlanError, match=r"layer net\.a: no option for pin dense and max_density 0\.5"):
        restrict(three(), asked_of(pins={"net.a": "dense"}, max_density={"net.a": 0.5}))


def test_a_glob_leaves_alone_what_can_only_stay_dense() -> None:
    left = restrict(three(), asked_of(max_density=0.5))
    assert [len(options) for options in left.table.options] == [2, 2, 1]
    assert left.notes == ("max_density 0.5 leaves alone what can only stay dense: c",)
    assert left.in_whole(np.array([0, 1, 0])).tolist() == [2, 3, 0]


def test_a_pin_against_a_budget_is_explained() -> None:
    left = restrict(three(), asked_of(pins={"net.b": "dense", "net.a": 0.5}))
    with pytest.raises(BudgetError) as error:
        solve_restricted(left, {"macs": 0.5 * 445}, gap=0.0, time_limit=10)
    assert "budget macs=222.5 cannot be met with what is asked of the layers" in str(error.value)
    assert "the smallest reachable is 425.0; net.b (pin dense) takes 400.0 of it, and could take 100.0" in str(
        error.value
    )
    with pytest.raises(BudgetError, match="is below the smallest reachable"):  # the pins are not what is in the way
        solve_restricted(left, {"macs": 100.0}, gap=0.0, time_limit=10)


def test_a_plan_obeys_pins_allowed_and_least_densities(digits: Network) -> None:
    names = [layer.name for layer in digits.sparsifiable]
    inner = names[1:-1]
    plan = advisor.plan(
        digits,
        budgets={"macs": "60%"},
        pins={inner[0]: "channel@0.375", names[-1]: "dense"},
        allowed={inner[1]: ["group"]},
        min_density={"*": 0.1},
    )
    assert plan.layer(inner[0]).pattern == "channel"
    assert plan.layer(inner[0]).density == 0.375
    assert plan.layer(inner[1]).pattern in ("group", "dense")
    assert all(layer.density >= 0.1 for layer in plan.layers)


def test_a_pinned_density_need_not_lie_on_the_grid(digits: Network) -> None:
    names = [layer.name for layer in digits.sparsifiable]
    plan = advisor.plan(digits, budgets={"macs": "90%"}, patterns=["channel"], pins={names[1]: 0.4, names[0]: "dense"})
    assert plan.layer(names[1]).density == 0.4
    kept = plan.masks()[names[1]]
    assert kept.float().mean().item() == pytest.approx(np.ceil(0.4 * kept.shape[1]) / kept.shape[1])


def test_pins_that_couple_through_a_width_group_exclude_each_other(residual: Network) -> None:
    # `outer` adds to the stem's channels, which `grouped` reads and writes.
    pins = {"outer": "width@out=0.5", "grouped": "dense"}
    with pytest.raises(PlanError, match=r"layers of width group '.*' excludes each other: .*; ask the same of both"):
        advisor.plan(residual, budgets={"macs": "60%"}, patterns=["width"], pins=pins)
    found = advisor.plan(residual, budgets={"macs": "60%"}, patterns=["width"], pins={"outer": "width@out=0.5"})
    assert found.layer("outer").parameters["out"] == 0.5
