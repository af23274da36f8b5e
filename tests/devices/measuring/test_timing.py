import gc
import math
from collections.abc import Callable

import numpy as np
import pytest

from advisor.devices.measuring.clocks import Work
from advisor.devices.measuring.timing import ratio, summarize, time_interleaved


class FakeClock:
    """Gives prepared times and remembers who ran."""

    def __init__(self, times: Callable[[str, int], float]) -> None:
        self.times, self.ran = times, list[str]()

    def __call__(self, work: Callable[[], object]) -> float:
        name = str(work())
        self.ran.append(name)
        return self.times(name, self.ran.count(name) - 1)


WORK = {"a": lambda: "a", "b": lambda: "b"}


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (5, 1), (6, 1), (9, 2), (20, 6), (100, 40)])
def test_ranks_of_the_median_interval(count: int, rank: int) -> None:
    """Table of the sign test's 95 % interval (Conover, Practical Nonparametric Statistics, table A3: n=20 → 6)."""
    sample = summarize([float(i) for i in range(1, count + 1)])
    assert sample.low_ms == rank
    assert sample.high_ms == count + 1 - rank
    assert sample.repeats == count


def test_interval_holds_the_true_median() -> None:
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        sample = summarize(list(generator.lognormal(0, 0.5, size=21)))  # median 1, long right tail
        inside += sample.low_ms <= 1 <= sample.high_ms
    assert inside / 400 >= 0.93


def test_rounds_alternate_their_order_and_warm_up_first() -> None:
    clock = FakeClock(lambda name, turn: 1.0)
    taken = time_interleaved(WORK, clock=clock, warmup=1, min_repeats=4, max_repeats=4)
    assert clock.ran == ["a", "b"] + ["a", "b", "b", "a"] * 2
    assert taken["a"].repeats == taken["b"].repeats == 4


def test_ends_once_the_medians_are_known() -> None:
    clock = FakeClock(lambda name, turn: 10.0 + 0.001 * (turn % 2))
    taken = time_interleaved(WORK, clock=clock, warmup=0, min_repeats=8, spread=0.02, max_seconds=60)
    assert taken["a"].repeats == 8


def test_goes_on_while_one_spread_is_wide() -> None:
    noisy = {"a": 0.0, "b": 0.3}
    clock = FakeClock(lambda name, turn: 1 + noisy[name] * (-1) ** turn)
    taken = time_interleaved(WORK, clock=clock, warmup=0, min_repeats=8, max_repeats=300, spread=0.02, max_seconds=60)
    assert taken["b"].repeats == 300


def test_time_ends_it_but_never_before_the_fewest_repeats() -> None:
    clock = FakeClock(lambda name, turn: float(turn + 1))
    taken = time_interleaved(WORK, clock=clock, warmup=2, min_repeats=5, max_seconds=0.0)
    assert taken["a"].repeats == 5
    assert taken["a"].times_ms == (3.0, 4.0, 5.0, 6.0, 7.0)  # the warm-up is thrown away


def test_a_check_stops_between_rounds() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    enabled = gc.isenabled()
    with pytest.raises(KeyboardInterrupt):
        time_interleaved(WORK, clock=FakeClock(lambda name, turn: 1.0), check=check)
    assert gc.isenabled() == enabled


def test_drift_cancels_in_a_paired_ratio() -> None:
    drift = [math.exp(0.01 * turn) for turn in range(60)]
    clock = FakeClock(lambda name, turn: drift[turn] * (3.0 if name == "a" else 1.5))
    taken = time_interleaved(WORK, clock=clock, warmup=0, min_repeats=60, max_repeats=60)
    assert taken["a"].spread > 0.05
    paired = ratio(taken["a"], taken["b"])
    assert paired.median_ms == pytest.approx(2.0)
    assert paired.high_ms - paired.low_ms < 1e-9


def test_a_primed_piece_finds_its_caches_as_it_left_them() -> None:
    held = {"cache": ""}

    def work(name: str) -> Work:
        def run() -> str:
            cold, held["cache"] = held["cache"] != name, name
            return "cold" if cold else "warm"

        return run

    def clock(piece: Work) -> float:
        return 3.0 if piece() == "cold" else 1.0

    pieces = {"small": work("small"), "large": work("large")}
    plain = time_interleaved(pieces, clock=clock, max_repeats=20)
    assert set(plain["small"].times_ms) == {1.0, 3.0}  # the turned order leaves it warm in every second round
    primed = time_interleaved(pieces, clock=clock, max_repeats=20, primed=("small",))
    assert set(primed["small"].times_ms) == {1.0}
    assert 3.0 in primed["large"].times_ms
