"""Intervals beside scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from validation.reporting.statistics import compare, differences, holm, mean_interval, paired


def test_interval_is_students() -> None:
    rng = np.random.default_rng(3)
    for count in (2, 3, 9):
        values = rng.normal(0.9, 0.02, count).tolist()
        found = mean_interval(values)
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.mean == pytest.approx(np.mean(values))
        assert found.count == count


def test_one_seed_has_no_interval() -> None:
    found = mean_interval([0.75])
    assert (found.low, found.high, found.count) == (None, None, 1)


def test_pairs_are_taken_by_seed() -> None:
    found = paired({0: 0.80, 1: 0.90, 7: 0.5}, {1: 0.95, 0: 0.90})
    assert found is not None
    reference = stats.ttest_rel([0.80, 0.90], [0.90, 0.95]).confidence_interval(0.95)
    assert found.mean == pytest.approx(-0.075)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_two_plans_compared_are_a_paired_t_test() -> None:
    one, other = {0: 0.91, 1: 0.93, 2: 0.90}, {0: 0.87, 1: 0.90, 2: 0.88}
    found = compare({"one": one, "other": other})
    interval = stats.ttest_rel(list(one.values()), list(other.values())).confidence_interval(0.95)
    assert found.margin == pytest.approx((interval.high - interval.low) / 2, rel=1e-4)
    assert found.apart("one", "other") == (interval.low > 0)


def test_noise_is_the_residual_of_a_two_way_table() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(4, 3)) + 5 * rng.normal(size=(1, 3)) + np.arange(4)[:, None]
    found = compare({str(row): dict(enumerate(table[row])) for row in range(4)})
    centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    assert found.freedom == 6
    assert found.noise == pytest.approx((centred**2).sum() / 6)
    expected = stats.studentized_range.ppf(0.95, 4, 6) * math.sqrt((centred**2).sum() / 6 / 3)
    assert found.margin == pytest.approx(expected)


def test_only_shared_seeds_count() -> None:
    found = compare({"a": {0: 1.0, 1: 2.0, 2: 9.0}, "b": {0: 1.0, 1: 4.0}})
    assert found.seeds == 2
    assert found.means == {"a": 1.5, "b": 2.5}
    assert compare({"a": {0: 1.0}, "b": {0: 2.0}}).margin is None
    assert compare({"a": {0: 1.0}, "b": {1: 2.0}}).means == {}


def test_error_rate_over_all_pairs_is_kept() -> None:
    """Of many comparisons of five equal plans on two seeds, few find any difference."""
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(200):
        table = rng.normal(size=(5, 2))
        found = compare({str(row): dict(enumerate(table[row])) for row in range(5)})
        false += any(found.apart(str(a), str(b)) for a in range(5) for b in range(a))
    assert false <= 20  # 5 % of 200 is 10; more than 20 has probability 0.002


def test_an_accuracy_stays_between_0_and_1() -> None:
    found = mean_interval([0.5, 0.99], bounds=(0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_differences_are_paired_t_for_two_plans_and_sharper_for_more() -> None:
    dense, plan, other = {0: 0.91, 1: 0.93}, {0: 0.87, 1: 0.90}, {0: 0.80, 1: 0.825}
    alone = differences({"dense": dense, "plan": plan, "failed": {}}, "dense")
    expected = paired(plan, dense)
    assert expected is not None
    assert set(alone) == {"plan"}
    assert (alone["plan"].mean, alone["plan"].low) == pytest.approx((expected.mean, expected.low))
    more = differences({"dense": dense, "plan": plan, "other": other}, "dense")["plan"]
    assert more.mean == pytest.approx(expected.mean)
    assert more.low is not None
    assert expected.low is not None
    assert more.low > expected.low
    assert differences({"plan": plan}, "dense") == {}
    single = differences({"dense": {0: 0.9}, "plan": {0: 0.8}}, "dense")["plan"]
    assert (single.mean, single.low) == (pytest.approx(-0.1), None)


def test_p_values_are_scipys_for_two_plans() -> None:
    one, other = {0: 0.91, 1: 0.93, 2: 0.90, 3: 0.94}, {0: 0.87, 1: 0.94, 2: 0.88, 3: 0.90}
    found = differences({"dense": one, "plan": other}, "dense")["plan"]
    test = stats.ttest_rel(list(other.values()), list(one.values()))
    assert found.p == pytest.approx(test.pvalue)
    assert found.p_holm == pytest.approx(test.pvalue), "one comparison needs no correction"
    assert found.freedom == test.df == 3
    assert (found.low, found.high) == pytest.approx((test.confidence_interval().low, test.confidence_interval().high))


def test_p_values_pool_the_noise_of_all_plans() -> None:
    rng = np.random.default_rng(5)
    table = rng.normal(size=(4, 3)) + 3 * rng.normal(size=(1, 3))
    found = differences({str(row): dict(enumerate(table[row])) for row in range(4)}, "0")
    centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    error = math.sqrt(2 * (centred**2).sum() / 6 / 3)
    for row in (1, 2, 3):
        t = (table[row].mean() - table[0].mean()) / error
        assert found[str(row)].p == pytest.approx(2 * stats.t.sf(abs(t), 6))
    by_hand = holm({name: one.p for name, one in found.items() if one.p is not None})
    assert {name: one.p_holm for name, one in found.items()} == by_hand


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_equal_plans_are_rarely_called_different() -> None:
    """Of four equal plans on three seeds, beside the reference: some p_holm is below 0.05 in at most 5 % of studies."""
    rng = np.random.default_rng(2)
    false = 0
    for _ in range(300):
        table = rng.normal(size=(5, 3)) + 4 * rng.normal(size=(1, 3))
        found = differences({str(row): dict(enumerate(table[row])) for row in range(5)}, "0")
        false += any(one.p_holm is not None and one.p_holm <= 0.05 for one in found.values())
    assert false <= 27  # 5 % of 300 is 15; more than 27 has probability 0.001


def test_without_noise_a_difference_is_certain_and_one_seed_is_no_test() -> None:
    same = differences({"dense": {0: 0.5, 1: 0.5}, "a": {0: 0.5, 1: 0.5}, "b": {0: 0.25, 1: 0.25}}, "dense")
    assert (same["a"].p, same["b"].p) == (1.0, 0.0)
    single = differences({"dense": {0: 0.9}, "plan": {0: 0.8}}, "dense")["plan"]
    assert (single.p, single.p_holm, single.freedom) == (None, None, 0)
