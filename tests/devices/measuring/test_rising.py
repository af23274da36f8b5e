"""Times of one layer under one method rise with what is kept."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.devices.measuring.rising import risen
from advisor.devices.profile import Measurement
from advisor.runtime.execution import Execution

LAYER = Execution(
    kind="conv2d",
    method="direct",
    input_shape=(1, 64, 14, 14),
    weight_shape=(64, 64, 3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    kept=64,
    block=16,
)


def measured(kept: int, ms: float, spread: float = 0.02) -> Measurement:
    low, high = ms * (1 - spread), ms * (1 + spread)
    return Measurement(execution=replace(LAYER, kept=kept), median_ms=ms, low_ms=low, high_ms=high, repeats=9)


def by_key(*found: Measurement) -> dict[str, Measurement]:
    return {m.execution.key: m for m in found}


def test_what_rises_stays_as_it_is() -> None:
    given_ = by_key(measured(16, 1.0), measured(32, 1.5), measured(64, 1.5))
    assert risen(given_) == given_


def test_two_that_contradict_each_other_meet_where_the_surer_one_is() -> None:
    found = risen(by_key(measured(32, 2.0, spread=0.02), measured(64, 1.0, spread=0.2)))
    few, many = found.values()
    assert few.median_ms == many.median_ms
    assert 1.95 < few.median_ms < 2.0, "weighted by how well each is known"
    assert many.low_ms <= 1.0 <= many.high_ms, "the interval still holds what was measured"


def test_other_methods_and_dense_layers_are_left_alone() -> None:
    dense = Measurement(
        execution=replace(LAYER, method="dense", kept=0, block=0), median_ms=0.5, low_ms=0.4, high_ms=0.6, repeats=9
    )
    other = replace(measured(64, 0.7), execution=replace(LAYER, kept=64, block=4))
    given_ = by_key(dense, other, measured(32, 2.0))
    assert risen(given_) == given_


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=12))
def test_never_falls_and_keeps_the_intervals_in_order(times: list[float]) -> None:
    found = list(risen(by_key(*(measured(8 * (i + 1), ms) for i, ms in enumerate(times)))).values())
    medians = [m.median_ms for m in found]
    assert all(b >= a * (1 - 1e-9) for a, b in pairwise(medians))
    assert all(0 < m.low_ms <= m.median_ms * (1 + 1e-12) and m.median_ms <= m.high_ms * (1 + 1e-12) for m in found)
