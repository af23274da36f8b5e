"""What whole networks say of the table."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.planning.problem import Problem
from advisor.refining.correct import Correction, Evidence, corrected, fit, ways_of
from tests.refining.machine import FACTORS, Machine


def evidence(problem: Problem, machine: Machine, shares: tuple[float, ...], noise: float = 0.001) -> list[Evidence]:
    """Plans for these shares of the dense latency, and what the machine says of them."""
    table = problem.built.table
    dense = table.total("latency", table.dense)
    found = []
    for share in shares:
        solution = problem.solution({"latency": share * dense})
        measured = machine.share(problem.written(solution)) * dense
        found.append(Evidence(choice=solution.choice, measured=measured, noise=noise * dense))
    return found


def test_ways_are_named_by_pattern_and_method(problem: Problem) -> None:
    ways = ways_of(problem.built)
    assert all(names[0] == "" for names in ways)
    used = {name for names in ways for name in names}
    assert {"", "group by direct"} <= used
    assert used <= {"", *FACTORS}


def test_one_plan_moves_all_its_ways_together_and_is_met(problem: Problem) -> None:
    machine = Machine(problem=problem, on_top=0.0)
    (one,) = evidence(problem, machine, (0.6,))
    found = fit(problem.built, "latency", [one], limit=one.measured)
    assert all(1.0 < factor < 1.4 for factor in found.factors.values())
    after = corrected(problem.built, "latency", found).table
    before = problem.built.table.total("latency", one.choice)
    assert abs(after.total("latency", one.choice) - one.measured) < 0.1 * abs(before - one.measured)


def test_several_plans_find_the_planted_factors(problem: Problem) -> None:
    machine = Machine(problem=problem, on_top=0.0, factors={"group by direct": 1.25, "channel by direct": 1.25})
    shares = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    found = fit(problem.built, "latency", evidence(problem, machine, shares, noise=1e-4), limit=0.0)
    table = problem.built.table
    assert found.factors["group by direct"] == pytest.approx(1.25, abs=0.03)
    assert abs(found.offset) < 0.01 * table.total("latency", table.dense)


def test_a_noisy_plan_moves_the_offset_less(problem: Problem) -> None:
    machine = Machine(problem=problem, on_top=0.1, factors={})
    shares = (0.8, 0.6)
    sure = fit(problem.built, "latency", evidence(problem, machine, shares, noise=0.001), limit=0.0)
    unsure = fit(problem.built, "latency", evidence(problem, machine, shares, noise=0.05), limit=0.0)
    assert 0 < unsure.offset < sure.offset


def test_factors_stay_within_bounds_and_the_offset_takes_the_rest(problem: Problem) -> None:
    dense = problem.built.table.total("latency", problem.built.table.dense)
    choice = problem.solution({"latency": 0.6 * dense}).choice
    one = Evidence(choice=choice, measured=5 * dense, noise=0.001 * dense)
    found = fit(problem.built, "latency", [one], limit=5 * dense)
    assert max(found.factors.values()) == 2.0
    assert corrected(problem.built, "latency", found).table.total("latency", choice) == pytest.approx(
        5 * dense, rel=0.05
    )


def test_the_dense_plan_has_nothing_to_correct_but_the_offset(problem: Problem) -> None:
    table = problem.built.table
    dense = table.total("latency", table.dense)
    one = Evidence(choice=np.array(table.dense), measured=1.01 * dense, noise=0.001 * dense)
    found = fit(problem.built, "latency", [one], limit=dense)
    assert found.factors == {}
    assert found.offset == pytest.approx(0.01 * dense, rel=0.05)


def test_a_correction_changes_only_what_runs_so(problem: Problem) -> None:
    after = corrected(problem.built, "latency", Correction(factors={"group by direct": 2.0}, offset=0.5)).table
    before = problem.built.table
    assert after.constants["latency"] == before.constants["latency"] + 0.5
    for ways, old, new in zip(ways_of(problem.built), before.costs["latency"], after.costs["latency"], strict=True):
        for way, a, b in zip(ways, old, new, strict=True):
            assert b == (2 * a if way == "group by direct" else a)
    assert after.costs["macs"] is before.costs["macs"] or all(
        np.array_equal(a, b) for a, b in zip(after.costs["macs"], before.costs["macs"], strict=True)
    )


def test_the_peak_of_memory_is_shifted_as_a_whole(problem: Problem) -> None:
    table = problem.built.table
    one = Evidence(choice=np.array(table.dense), measured=table.total("peak_memory", table.dense) + 1e5, noise=100.0)
    found = fit(problem.built, "peak_memory", [one], limit=0.0)
    assert found.factors == {}
    after = corrected(problem.built, "peak_memory", found).table
    assert after.total("peak_memory", table.dense) == pytest.approx(one.measured, rel=0.01)
    assert after.total("weight_memory", table.dense) == table.total("weight_memory", table.dense)
