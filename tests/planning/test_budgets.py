"""Budgets as people write them."""

from __future__ import annotations

import pytest

from advisor.errors import BudgetError
from advisor.planning.budgets import Budget, cost_text, parse_budgets


@pytest.mark.parametrize(
    ("text", "value", "share"),
    [
        ("params=5M", 5e6, None),
        ("params=5000000", 5e6, None),
        ("macs=1.2 G", 1.2e9, None),
        ("latency=12ms", 12.0, None),
        ("latency=0.5s", 500.0, None),
        ("latency=900us", 0.9, None),
        ("training_latency=1e2ms", 100.0, None),
        ("weight_memory=40MB", 40e6, None),
        ("peak_memory=40MiB", 40 * 2**20, None),
        ("energy=3mJ", 3.0, None),
        ("latency=50%", None, 0.5),
        ("params= 12.5 % ", None, 0.125),
        ("macs=100%", None, 1.0),
    ],
)
def test_values(text: str, value: float | None, share: float | None) -> None:
    (budget,) = parse_budgets([text]).values()
    assert budget.value == (None if value is None else pytest.approx(value))
    assert budget.share == (None if share is None else pytest.approx(share))


def test_mappings_and_numbers() -> None:
    found = parse_budgets({"latency": 12.5, "params": "50%", "macs": 10**9})
    assert found["latency"].value == 12.5
    assert found["macs"].limit(dense=3.0) == 1e9
    assert found["params"].limit(dense=8.0) == 4.0
    assert parse_budgets(found) == found


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["latncy=50%"], "unknown budget 'latncy'; did you mean 'latency'"),
        (["latency"], "expected KEY=VALUE"),
        (["latency=12"], "no unit; expected %, us"),
        (["latency=12MB"], "unknown unit 'MB'"),
        (["params=5ms"], "unknown unit 'ms'"),
        (["params=five"], "expected a share as 50% or a number with its unit as 5M"),
        (["params="], "expected a share"),
        (["params=0"], "positive, finite"),
        (["params=-5M"], "positive, finite"),
        (["latency=nan%"], "positive, finite"),
        (["latency=infms"], "positive, finite"),
        (["latency=101%"], "more than the dense network"),
        (["latency=0%"], "positive, finite"),
        (["params=1M", "params=2M"], "given twice"),
        ([], "no budget given"),
        ({"params": 0.5}, "for a share of dense write '50%'"),
        ({"params": None}, "expected text as '50%' or a number"),
        ({"params": True}, "expected text as '50%' or a number"),
        ({"params": float("nan")}, "positive, finite"),
        ({"params": Budget(key="macs", value=1.0)}, "expected this cost's key"),
        ({"params": Budget(key="params", share=1.5)}, "more than the dense network"),
        ("latency=50%", "expected a mapping"),
    ],
)
def test_mistakes(items: object, says: str) -> None:
    with pytest.raises(BudgetError) as error:
        parse_budgets(items)  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("latency", 3.81234, "3.812 ms"),
        ("latency", 0.0123456, "0.01235 ms"),
        ("params", 25557032, "25.56 M"),
        ("macs", 999, "999.0"),
        ("weight_memory", 40_123_456, "40.12 MB"),
        ("energy", 12.0, "12.00 mJ"),
        ("energy", 0.0, "0 mJ"),
    ],
)
def test_text(key: str, value: float, text: str) -> None:
    assert cost_text(key, value) == text


def test_rounding_up() -> None:
    assert cost_text("latency", 3.8121, up=True) == "3.813 ms"
    assert cost_text("latency", 3.812, up=True) == "3.812 ms"
