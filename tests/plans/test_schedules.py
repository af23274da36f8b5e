import pytest

from advisor.errors import PlanError
from advisor.plans.schedules import density_at, incremental_schedule


def test_from_one_percent_seven_doublings_reach_the_dense_layer():
    schedule = incremental_schedule(0.01, 10_000)
    assert [step for step, _ in schedule] == [10_000 * i for i in range(8)]
    assert [round(100 * density, 9) for _, density in schedule] == [1, 2, 4, 8, 16, 32, 64, 100]
    assert sum(density for _, density in schedule[:-1]) / 7 == pytest.approx(0.1814, abs=5e-5)


def test_from_a_thousandth_ten_doublings_reach_the_dense_layer():
    schedule = incremental_schedule(0.001, 25_000)
    assert schedule[-1] == (250_000, 1.0)
    assert schedule[-2][1] < 1
    assert sum(density for _, density in schedule[:-1]) / 10 == pytest.approx(0.1023, abs=5e-5)


def test_a_dense_start_stays_dense():
    assert incremental_schedule(1.0, 5) == ((0, 1.0),)


@pytest.mark.parametrize(("step", "density"), [(-1, 0.25), (0, 0.25), (4, 0.25), (5, 0.5), (9, 0.5), (10, 1), (99, 1)])
def test_the_density_of_any_step(step, density):
    assert density_at(incremental_schedule(0.25, 5), step) == density


@pytest.mark.parametrize("start", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_start_that_is_no_density_is_refused(start):
    with pytest.raises(PlanError, match=r"start=.* is no density in \(0, 1\]"):
        incremental_schedule(start, 10)


@pytest.mark.parametrize("every", [0, -3, 2.5, True])
def test_fewer_than_one_step_between_doublings_is_refused(every):
    with pytest.raises(PlanError, match=r"every=.* is no number of optimiser steps"):
        incremental_schedule(0.01, every)
