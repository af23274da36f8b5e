"""What every registered pattern must do, on layers of every kind."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from advisor.errors import PatternError
from advisor.patterns.base import DENSITIES, combined_names, pattern, pattern_names
from advisor.patterns.layout import logical, logical_shape, stored
from advisor.patterns.narrowed import inner_name, thinned
from advisor.patterns.option import Option
from tests.patterns.layers import layer, layers, option_for

every_pattern = pytest.mark.parametrize("name", [*pattern_names(), *combined_names()])
some = settings(max_examples=40, deadline=None)


@every_pattern
@some
@given(data=st.data())
def test_a_mask_has_the_stored_shape_and_keeps_what_is_counted(name, data):
    one = data.draw(layers())
    option = data.draw(option_for(name, one))
    assume(option is not None)
    kind = pattern(name)
    assert kind.problem(one, option) == ""
    mask = kind.mask(one, option, seed=data.draw(st.integers(0, 2**32 - 1)))
    assert mask.shape == one.weight_shape
    assert mask.dtype == np.bool_
    kept = kind.kept_weights(one, option)
    assert mask.sum() == kept
    assert 1 <= kept <= one.weights
    assert kind.macs(one, option) == kept * 7  # every weight works at seven positions
    assert kind.storage_bytes(one, option, 2) == 2 * kept + kind.index_bytes(one, option)


@every_pattern
@some
@given(data=st.data())
def test_neighbours_that_go_together_do(name, data):
    one = data.draw(layers())
    option = data.draw(option_for(name, one))
    assume(option is not None)
    together = pattern(name).together(one, option)
    runs = pattern(name).mask(one, option, seed=data.draw(st.integers(0, 2**32 - 1))).reshape(-1, together)
    assert (runs == runs[:, :1]).all()


@every_pattern
@some
@given(data=st.data())
def test_the_seed_decides_and_the_connections_say_the_same(name, data):
    one = data.draw(layers())
    option = data.draw(option_for(name, one))
    assume(option is not None)
    kind, seed = pattern(name), data.draw(st.integers(0, 2**32 - 1))
    mask = kind.mask(one, option, seed=seed)
    assert (kind.mask(one, option, seed=seed) == mask).all()
    units = kind.connections(one, option, seed=seed)
    assert units.shape == kind.unit_shape(one, option)
    assert (kind.mask(one, option, connections=units) == mask).all()
    if kind.drawn and kind.kept_weights(one, option) < thinned(one, option)[0].weights:
        others = [kind.connections(one, option, seed=seed + n) for n in range(1, 80)]
        assert any((other != units).any() for other in others)


@every_pattern
@some
@given(data=st.data())
def test_the_largest_scores_stay(name, data):
    one = data.draw(layers())
    option = data.draw(option_for(name, one))
    assume(option is not None)
    kind = pattern(name)
    weight = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=one.weight_shape)
    scores = kind.unit_sums(one, option, weight**2)
    assert scores.shape == kind.unit_shape(one, option)
    assert scores.sum() == pytest.approx((weight**2).sum())
    best = scores[kind.connections(one, option, seed=0, scores=scores)].sum()
    mask = kind.mask(one, option, scores=scores)
    assert (weight**2)[mask].sum() == pytest.approx(best)
    assert mask.sum() == kind.kept_weights(one, option)
    # Combined, the channels are chosen before what is in them, so that another draw can be worth more.
    for seed in range(5 if kind.drawn and name in pattern_names() else 0):
        assert scores[kind.connections(one, option, seed=seed)].sum() <= best + 1e-9


@every_pattern
def test_full_density_keeps_everything(name):
    one = layer("conv2d", 8, 8, (3, 3), groups=2)
    parameters = {
        "group": {"block": 4},
        "block": {"rows": 2, "columns": 3},
        "n:m": {"n": 4, "m": 4},
        "width": {"in": 1.0, "out": 1.0, "rounding": "ceil", "in_channels": 8, "out_channels": 8},
    }
    own = parameters.get(inner_name(name), {}) if name in combined_names() else parameters.get(name, {})
    if name in combined_names():
        own = {**parameters["width"], **own, "within": 1.0}
    full = Option(pattern=name, density=1.0, parameters=own)
    assert pattern(name).mask(one, full, seed=3).all()


@every_pattern
@some
@given(data=st.data())
def test_default_options_are_legal_distinct_and_densest_first(name, data):
    kind = pattern(name)
    one = layer("conv2d", data.draw(st.sampled_from([16, 24, 64])), data.draw(st.sampled_from([1, 2, 16, 24])), (3, 3))
    options = kind.options(one)
    kept = [kind.kept_weights(one, option) for option in options]
    assert all(kind.problem(one, option) == "" for option in options)
    assert len({option.label for option in options}) == len(options)
    assert len(set(zip(kept, [str(o.parameters) for o in options], strict=True))) == len(options)
    assert all(number < one.weights for number in kept)
    assert [o.density for o in options] == sorted((o.density for o in options), reverse=True)
    assert {o.density for o in options} <= set(DENSITIES)


@every_pattern
@pytest.mark.parametrize(
    ("density", "parameters"),
    [
        (0.0, {}),
        (1.5, {}),
        (float("nan"), {}),
        (0.5, {"colour": 3}),
        (0.5, {"block": 7}),
        (0.5, {"block": 2.5}),
        (0.5, {"block": True}),
        (0.5, {"rows": 3, "columns": 5}),
        (0.5, {"n": 3, "m": 2}),
        (0.25, {"n": 2, "m": 4}),
        (0.5, {"in": 0.5, "out": 1.0, "rounding": "up", "in_channels": 4, "out_channels": 8}),
        (0.5, {"in": 0.5, "out": 1.0, "rounding": "ceil", "in_channels": 400, "out_channels": 8}),
        (0.5, {"in": 0.5, "out": 1.0, "rounding": "ceil", "in_channels": "four", "out_channels": 8}),
        (0.5, {"in": 0.5, "out": 1.0, "rounding": "ceil", "in_channels": 4, "out_channels": 8, "within": 0.5}),
        (0.25, {"in": 0.5, "out": 1.0, "rounding": "ceil", "in_channels": 4, "out_channels": 8, "within": 1.5}),
        (0.25, {"in": 0.5, "out": 1.0, "rounding": "ceil", "in_channels": 4, "out_channels": 8, "within": True}),
        (0.25, {"in": 0.5, "out": 1.0, "rounding": "up", "in_channels": 4, "out_channels": 8, "within": 0.5}),
        (0.25, {"in": 0.5, "out": 1.0, "in_channels": 4, "out_channels": 8, "within": 0.5, "block": 3}),
    ],
)
def test_what_is_illegal_is_refused_in_one_line(name, density, parameters):
    one = layer("conv2d", 8, 8, (3, 3), name="stem")
    option = Option(pattern=name, density=density, parameters=parameters)
    problem = pattern(name).problem(one, option)
    assert problem
    assert "\n" not in problem
    for act in (pattern(name).kept_weights, pattern(name).mask, pattern(name).index_bytes):
        with pytest.raises(PatternError, match="layer stem: ") as caught:
            act(one, option)
        assert "\n" not in str(caught.value)


@every_pattern
def test_scores_and_connections_of_another_layer_are_refused(name):
    one = layer("conv2d", 16, 8, (3, 3))
    kind = pattern(name)
    option = next(iter(kind.options(one)), None)
    if option is None:
        pytest.skip("has no options of its own")
    with pytest.raises(PatternError, match="shape"):
        kind.connections(one, option, seed=0, scores=np.ones((3, 3)))
    with pytest.raises(PatternError, match="NaN"):
        kind.connections(one, option, seed=0, scores=np.full(kind.unit_shape(one, option), np.nan))
    with pytest.raises(PatternError, match="expected bool of shape"):
        kind.mask(one, option, connections=np.ones((3, 3), dtype=np.bool_))
    with pytest.raises(PatternError, match="expected bool"):
        kind.mask(one, option, connections=np.ones(kind.unit_shape(one, option), dtype=np.int64))


@some
@given(one=layers())
def test_the_logical_view_and_back(one):
    weight = np.arange(one.weights).reshape(one.weight_shape)
    seen = logical(weight, one)
    assert seen.shape == logical_shape(one)
    assert (stored(seen, one) == weight).all()
    if one.transposed:
        per_group = one.out_channels // one.groups
        for group in range(one.groups):
            rows = slice(group * seen.shape[1], (group + 1) * seen.shape[1])
            mine = seen[group * per_group : (group + 1) * per_group]
            assert (mine == np.swapaxes(weight[rows], 0, 1)).all()
    else:
        assert seen is weight


def test_a_weight_of_another_shape_has_no_logical_view():
    with pytest.raises(PatternError, match=r"layer layer: weight has shape \(2, 2\), expected \(8, 8, 3, 3\)"):
        logical(np.zeros((2, 2)), layer())


def test_a_layer_without_a_weight_has_no_option():
    bare = replace(layer(), kind="other", weight=None, weight_shape=())
    for name in (*pattern_names(), *combined_names()):
        assert pattern(name).options(bare) == ()
        assert "has no weight" in pattern(name).problem(bare, Option(pattern=name, density=0.5))


@every_pattern
@some
@given(data=st.data())
def test_every_draw_keeps_as_many_of_each_quota_set(name, data):
    one = data.draw(layers())
    option = data.draw(option_for(name, one))
    assume(option is not None)
    kind = pattern(name)
    if inner_name(name) != name or name == "width":
        with pytest.raises(PatternError, match="ask the layer that it leaves"):
            kind.quota_sets(one, option)
        return
    sets = kind.quota_sets(one, option)
    assert sets.shape == kind.unit_shape(one, option)
    draws = [kind.connections(one, option, seed=seed) for seed in range(4)]
    counts = [np.bincount(sets[units], minlength=int(sets.max()) + 1) for units in draws]
    assert all((count == counts[0]).all() for count in counts)
    if name in ("channel", "group", "n:m"):
        assert len(set(counts[0])) == 1
    if name == "n:m":
        assert set(counts[0]) == {option.parameters["n"]}
        assert set(np.bincount(sets.ravel())) == {option.parameters["m"]}
