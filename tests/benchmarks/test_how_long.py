"""What the benchmark of short runs makes of accuracies."""

import pytest
from scipy import stats

from benchmarks.how_long import after, agreement, lost, means_of, verdict, within

LONG = {"30%-0": 0.9, "30%-1": 0.8, "30%-2": 0.7, "7%-0": 0.6, "7%-1": 0.5, "7%-2": 0.4}
BUDGETS = {plan: plan.partition("-")[0] for plan in LONG}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.how_long.RESAMPLES", 100)


def test_means_are_over_the_seeds_that_all_plans_have() -> None:
    assert means_of({"a": {0: 0.5, 1: 0.7}, "b": {0: 0.4}}) == {"a": 0.5, "b": 0.4}
    assert means_of({"a": {0: 0.5}, "b": {1: 0.4}}) == means_of({}) == {}


def test_correlations_are_scipys_with_an_interval_around_them() -> None:
    short = dict(zip(LONG, (0.7, 0.8, 0.5, 0.6, 0.3, 0.4), strict=True))
    x, y = list(short.values()), list(LONG.values())
    for kind, value in (("spearman", stats.spearmanr(x, y).statistic), ("kendall", stats.kendalltau(x, y).statistic)):
        found = agreement(short, LONG, kind=kind)
        assert found.value == pytest.approx(value)
        assert -1 <= found.low <= found.value <= found.high <= 1
    assert str(agreement(LONG, LONG, kind="kendall")) == "1.00 (1.00 to 1.00)"


def test_budgets_are_taken_out() -> None:
    turned = {plan: (0.9 if plan.startswith("30%") else 0.3) - value / 10 for plan, value in LONG.items()}
    assert agreement(turned, LONG, kind="spearman").value > 0.5, "large budgets are better, whatever is in them"
    assert within(turned, LONG, BUDGETS) == pytest.approx(-1.0)
    assert lost(turned, LONG, BUDGETS) == pytest.approx(0.2), "the worst of each budget is put first"
    assert lost(LONG, LONG, BUDGETS) == 0.0


def test_accuracies_at_the_end_and_on_the_way() -> None:
    run = {"plan": "a", "seed": 1, "accuracy": 0.9, "epochs": [{"test_accuracy": 0.3}, {"test_accuracy": 0.9}]}
    failed = {"plan": "b", "seed": 1, "accuracy": None, "epochs": []}
    assert after([run, failed]) == {"a": {1: 0.9}}
    assert after([run], 1) == {"a": {1: 0.3}}


def test_long_enough_is_where_no_longer_length_disagrees() -> None:
    text = verdict({1: (0.9, 0.1), 2: (0.7, 0.3), 4: (0.85, 0.5)}, 8)
    assert "over all plans from 4 of 8 epochs on" in text
    assert "within budgets from none of the lengths below 8 epochs on" in text
