"""Which units die and come next: against the same said in loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validation.methods.sparse.choice import ranks, regrown, weakest

some = settings(max_examples=60, deadline=None)


@some
@given(st.data())
def test_ranks_within_sets(data):
    size = data.draw(st.integers(0, 30))
    sets = np.array(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), np.int64)
    values = np.array(data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)), np.float64)
    found = ranks(values, sets)
    for i in range(size):
        before = [j for j in range(size) if sets[j] == sets[i] and (values[j], j) < (values[i], i)]
        assert found[i] == len(before)


@some
@given(st.data())
def test_every_set_gets_back_what_it_lost(data):
    shape = (data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    kind = data.draw(st.sampled_from(["rows", "one", "any"]))
    sets = rng.integers(0, data.draw(st.integers(1, 4)), shape)
    if kind != "any":
        sets = np.repeat(np.arange(shape[0]), shape[1]).reshape(shape) * (kind == "rows")
    units, scores, order = rng.random(shape) < 0.5, rng.random(shape), -rng.random(shape)
    if data.draw(st.booleans()):
        order = rng.integers(0, 2**64, shape, np.uint64)
    share = data.draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.99]))
    dropped = weakest(scores, units, share)
    assert dropped.sum() == int(share * units.sum() + 1e-9)
    assert (dropped <= units).all()
    if dropped.any():
        assert scores[dropped].max() <= scores[units & ~dropped].min(initial=np.inf)
    grown = regrown(units, dropped, order, sets)
    assert (grown >= (units & ~dropped)).all()
    for number in np.unique(sets):
        here = sets == number
        assert grown[here].sum() == units[here].sum()
        came = grown & ~(units & ~dropped) & here
        waiting = ~grown & here
        assert not came.any() or not waiting.any() or order[came].max() <= order[waiting].min()


def test_ties_go_to_the_lower_index():
    assert ranks(np.zeros(4), np.array([0, 1, 0, 1])).tolist() == [0, 0, 1, 1]
    assert weakest(np.zeros(4), np.array([True, False, True, True]), 0.34).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("share", "count"), [(0.3, 3), (0.29, 2), (0.31, 3), (0.05, 0)])
def test_the_share_is_rounded_down_as_in_the_published_code(share, count):
    """0.3 of 10 is 3, although 0.3 * 10 is 3.0000000000000004 or less in floating point."""
    assert weakest(np.arange(10.0), np.ones(10, np.bool_), share).sum() == count
