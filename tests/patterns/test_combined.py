"""A pattern within width: the narrowed layer, and where its connections stand in the full one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from advisor.errors import PatternError
from advisor.patterns.base import combined_names, pattern, pattern_names
from advisor.patterns.layout import logical, stored
from advisor.patterns.narrowed import (
    combined,
    implied,
    inner_option,
    is_narrowed,
    kept_connections,
    place,
    take,
    thinned,
    width_option,
)
from advisor.patterns.option import DENSE, Option
from tests.patterns.layers import layer, layers, option_for, width
from tests.patterns.test_contract import some

HALF = {"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 4, "out_channels": 4}


def test_every_masked_pattern_can_be_combined_and_names_what_it_stands_on() -> None:
    assert combined_names() == ("width+channel", "width+group", "width+block", "width+n:m", "width+unstructured")
    assert implied(["width+channel", "group"]) == ("channel", "width", "width+channel", "group")
    assert not set(combined_names()) & set(pattern_names())
    with pytest.raises(PatternError, match="did you mean 'width\\+channel'"):
        pattern("width+chanel")


def test_counts_by_hand() -> None:
    one = layer("conv2d", 8, 8, (3, 3))  # 576 weights
    option = combined(Option(pattern="width", density=0.25, parameters=HALF), Option(pattern="channel", density=0.5))
    assert option.label == "width+channel d=0.125 in=0.5 in_channels=4 out=0.5 out_channels=4 rounding=ceil within=0.5"
    kind = pattern(option.pattern)
    assert kind.kept_weights(one, option) == 4 * 2 * 9  # 4 outputs read 2 of the 4 inputs that are left
    assert kind.macs(one, option) == 4 * 2 * 9 * 7
    assert kind.index_bytes(one, option) == 4 * 2 * 2
    assert kind.storage_bytes(one, option) == 4 * 2 * 9 * 4 + 4 * 2 * 2
    # rounding in both steps: ceil(0.6 · 4) = 3
    more = combined(Option(pattern="width", density=0.25, parameters=HALF), Option(pattern="channel", density=0.6))
    assert kind.kept_weights(one, more) == 4 * 3 * 9


def test_parts_of_an_option() -> None:
    narrow = Option(pattern="width", density=0.25, parameters=HALF)
    inner = Option(pattern="group", density=0.5, parameters={"block": 2})
    both = combined(narrow, inner)
    assert (width_option(both), inner_option(both)) == (narrow, inner)
    assert (width_option(narrow), inner_option(narrow)) == (narrow, DENSE)
    assert (width_option(inner), inner_option(inner)) == (DENSE, inner)
    assert [is_narrowed(option) for option in (both, narrow, inner, DENSE)] == [True, True, False, False]


def test_a_narrowed_layer_is_counted_as_one_of_its_size() -> None:
    one = layer("conv2d", 8, 8, (3, 3), groups=2)
    smaller, inner = thinned(one, Option(pattern="width", density=0.25, parameters=HALF))
    assert inner == DENSE
    assert (smaller.weight_shape, smaller.groups, smaller.macs) == ((4, 2, 3, 3), 2, one.macs // 4)
    assert smaller.calls[0].input_shape == (1, 4, 1, 1)
    assert smaller.calls[0].output_shape == smaller.output_shape == (1, 4, 1, 1)
    assert smaller.activation_elements == one.activation_elements // 2


@some
@given(data=st.data())
def test_connections_of_the_narrowed_layer_have_their_place_in_the_full_one(data: st.DataObject) -> None:
    """Reading weights out, and multiplying by a mask and reading out, are the same in both layouts."""
    full = data.draw(layers())
    inputs = data.draw(st.integers(1, full.in_channels // full.groups))
    outputs = data.draw(st.integers(1, full.out_channels // full.groups))
    narrow = width(full, inputs, outputs)
    smaller = thinned(full, narrow)[0]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ins = np.concatenate([rng.permutation(full.in_channels // full.groups) < inputs for _ in range(full.groups)])
    outs = np.concatenate([rng.permutation(full.out_channels // full.groups) < outputs for _ in range(full.groups)])
    kept = kept_connections(ins, outs, full)
    weight = rng.normal(size=full.weight_shape)
    # What narrowing leaves, cut axis by axis: group after group, outputs and inputs in order.
    split = logical(weight, full).reshape(full.groups, -1, full.in_channels // full.groups, *full.kernel)
    by_hand = np.concatenate(
        [
            part[o][:, i]
            for part, o, i in zip(split, outs.reshape(full.groups, -1), ins.reshape(full.groups, -1), strict=True)
        ]
    )
    assert (take(logical(weight, full), kept, smaller) == by_hand).all()
    inner = data.draw(option_for("unstructured", smaller))
    mask = pattern("unstructured").mask(smaller, inner, seed=3)
    placed = place(logical(mask, smaller), kept, full)
    assert placed.sum() == mask.sum()
    assert (placed & ~kept.reshape(*kept.shape, *(1,) * len(full.kernel))).sum() == 0
    masked = take(logical(weight * stored(placed, full), full), kept, smaller)
    assert (masked == by_hand * logical(mask, smaller)).all()


@some
@given(data=st.data())
def test_what_is_kept_is_what_the_narrowed_layer_keeps(data: st.DataObject) -> None:
    full = data.draw(layers())
    option = data.draw(option_for(data.draw(st.sampled_from(combined_names())), full))
    assume(option is not None)
    smaller, inner = thinned(full, option)
    within = pattern(inner.pattern)
    assert pattern(option.pattern).kept_weights(full, option) == within.kept_weights(smaller, inner)
    assert within.macs(smaller, inner) == pattern(option.pattern).macs(full, option)
    assert within.index_bytes(smaller, inner) == pattern(option.pattern).index_bytes(full, option)
