"""Each pattern's own structure, and the bytes of its index in closed form."""

import hashlib

import numpy as np
import pytest

from advisor.errors import PatternError
from advisor.patterns import base
from advisor.patterns.base import Pattern, kept_of, layer_seed, pattern, pattern_names, register
from advisor.patterns.dense import Dense
from advisor.patterns.draw import keys, smallest
from advisor.patterns.option import Option
from tests.patterns.layers import layer, width


def option(name: str, density: float, **parameters: int) -> Option:
    return Option(pattern=name, density=density, parameters=parameters)


@pytest.mark.parametrize(
    ("density", "count", "kept"),
    [(0.1, 30, 3), (0.1, 31, 4), (0.001, 64, 1), (1.0, 7, 7), (0.3, 10, 3), (0.5, 3, 2), (1 / 3, 9, 3), (0.7, 10, 7)],
)
def test_ceil_with_a_floor_of_one(density, count, kept):
    assert kept_of(density, count) == kept


def test_the_registry_knows_its_names():
    assert pattern_names() == ("dense", "channel", "group", "block", "n:m", "unstructured", "width")
    with pytest.raises(PatternError, match="unknown pattern 'chanel'; did you mean 'channel'"):
        pattern("chanel")
    with pytest.raises(ValueError, match="'dense' is registered already"):
        register(Dense)
    assert all(isinstance(kind, Pattern) for kind in base.PATTERNS.values())


def test_the_seed_of_a_layer_never_changes():
    assert layer_seed(0, "conv1") == int(hashlib.sha256(b"0:conv1").hexdigest()[:8], 16)
    assert layer_seed(0, "conv1") != layer_seed(1, "conv1") != layer_seed(1, "conv2")


@pytest.mark.parametrize(
    ("name", "density", "parameters", "digest"),
    [
        ("channel", 0.25, {}, "c6329989ac7a188a"),
        ("group", 0.25, {"block": 4}, "037b6114044852a1"),
        ("block", 0.25, {"rows": 4, "columns": 4}, "6e379ee7e2aa5772"),
        ("n:m", 0.5, {"n": 2, "m": 4}, "102ad226641c28be"),
        ("unstructured", 0.25, {}, "7bd474ea23cfcde8"),
    ],
)
def test_masks_are_the_same_for_ever(name, density, parameters, digest):
    """Plans hold seeds: another stream would silently turn every saved plan into another network."""
    mask = pattern(name).mask(layer("conv2d", 16, 12, (3, 3)), option(name, density, **parameters), seed=2017)
    assert hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16] == digest


def test_the_stream_is_the_raw_one():
    assert keys(7, (2, 3)).tolist() == np.random.PCG64(7).random_raw(6).reshape(2, 3).tolist()
    assert keys(0, (1,)).tolist() == [11749869230777074271]


def test_the_smallest_keys_win():
    one = layer("conv2d", 16, 12, (3, 3))
    drawn = pattern("channel").connections(one, option("channel", 0.25), seed=5)
    order = np.argsort(keys(5, (16, 12)), axis=1, kind="stable")[:, :3]
    expected = np.zeros((16, 12), dtype=bool)
    np.put_along_axis(expected, order, True, axis=1)
    assert (drawn == expected).all()


def test_ties_go_to_the_lower_index():
    values = np.array([[2.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    assert smallest(values, 2).tolist() == [
        [False, True, True, False],
        [True, True, False, False],
        [False, False, True, True],
    ]
    assert not smallest(values, 0).any()
    assert smallest(values, 4).all()


def test_channel_is_the_same_at_all_taps_and_exact_per_output():
    one = layer("conv2d", 64, 48, (3, 3), groups=2)
    mask = pattern("channel").mask(one, option("channel", 0.2), seed=1)
    assert (mask == mask[:, :, :1, :1]).all()
    assert (mask[:, :, 0, 0].sum(axis=1) == 5).all()  # ceil(0.2 * 24)
    assert pattern("channel").index_bytes(one, option("channel", 0.2)) == 64 * 5 * 2
    wide = layer("linear", 2, 70_000)
    assert pattern("channel").index_bytes(wide, option("channel", 0.5)) == 2 * 35_000 * 4


def test_group_is_the_same_within_a_block():
    one = layer("conv2d", 64, 48, (3, 3), groups=2)
    kind, chosen = pattern("group"), option("group", 0.25, block=16)
    mask = kind.mask(one, chosen, seed=1).reshape(4, 16, 24, 9)
    assert (mask == mask[:, :1, :, :1]).all()
    assert (mask[:, 0, :, 0].sum(axis=1) == 6).all()
    assert kind.index_bytes(one, chosen) == 4 * 6 * 2
    assert {o.parameters["block"] for o in kind.options(one)} == {4, 8, 16}
    assert "does not divide the 32 outputs of a group" in kind.problem(one, option("group", 0.5, block=64))
    assert kind.problem(one, option("group", 0.5, block=4)) == ""


def test_a_block_of_one_output_is_channel():
    one = layer("conv2d", 6, 10, (3, 3))
    alone = pattern("group").mask(one, option("group", 0.3, block=1), seed=9)
    assert (alone == pattern("channel").mask(one, option("channel", 0.3), seed=9)).all()


def test_blocks_are_whole():
    one = layer("conv2d", 16, 8, (3, 3))
    kind, chosen = pattern("block"), option("block", 0.3, rows=4, columns=6)
    mask = kind.mask(one, chosen, seed=4).reshape(4, 4, 12, 6)
    assert (mask == mask[:, :1, :, :1]).all()
    assert mask[:, 0, :, 0].sum() == 15  # ceil(0.3 * 48)
    assert kind.index_bytes(one, chosen) == 15 * 2 + 5 * 4
    assert "columns do not divide the 72 weights" in kind.problem(one, option("block", 0.3, rows=4, columns=7))


@pytest.mark.parametrize(("n", "m", "bits"), [(2, 4, 2), (1, 4, 2), (4, 8, 3), (2, 8, 3), (1, 2, 1), (2, 3, 2)])
def test_n_of_each_m_inputs(n, m, bits):
    one = layer("conv2d", 6, 24, (3, 2))
    kind, chosen = pattern("n:m"), option("n:m", n / m, n=n, m=m)
    mask = kind.mask(one, chosen, seed=2)
    assert (mask.reshape(6, 24 // m, m, 3, 2).sum(axis=2) == n).all()
    assert kind.index_bytes(one, chosen) == -(-int(mask.sum()) * bits // 8)


def test_n_m_offers_its_ratios():
    labels = [o.label for o in pattern("n:m").options(layer("conv2d", 8, 16, (3, 3)))]
    assert labels == ["n:m d=0.5 m=4 n=2", "n:m d=0.5 m=8 n=4", "n:m d=0.25 m=4 n=1", "n:m d=0.25 m=8 n=2"]
    assert len(pattern("n:m").options(layer("conv2d", 8, 12, (3, 3)))) == 2  # 8 does not divide 12
    assert pattern("n:m").options(layer("conv2d", 8, 16, (3, 3)), densities=(0.3,)) == ()


def test_unstructured_stores_the_smaller_index():
    one = layer("linear", 100, 100)
    kind = pattern("unstructured")
    assert kind.index_bytes(one, option("unstructured", 0.5)) == 1250  # a bitmap
    assert kind.index_bytes(one, option("unstructured", 0.01)) == 100 * 2
    large = layer("linear", 1000, 1000)
    # RigL (Evci et al. 2020) publishes 4 bytes per kept weight and 1 bit per weight.
    assert kind.storage_bytes(large, option("unstructured", 0.2)) == 200_000 * 4 + 125_000
    assert kind.index_bytes(large, option("unstructured", 0.001)) == 1000 * 4


@pytest.mark.parametrize("name", ["channel", "group", "n:m"])
def test_depthwise_layers_have_no_choice_of_inputs(name):
    depthwise = layer("conv2d", 32, 32, (3, 3), groups=32)
    assert pattern(name).options(depthwise) == ()
    parameters = {"group": {"block": 1}, "n:m": {"n": 1, "m": 1}}.get(name, {})
    chosen = Option(pattern=name, density=1.0 if name == "n:m" else 0.5, parameters=parameters)
    assert "single input" in pattern(name).problem(depthwise, chosen)


def test_single_weights_of_a_depthwise_layer_go_only_when_asked():
    depthwise = layer("conv2d", 32, 32, (3, 3), groups=32)
    assert pattern("unstructured").options(depthwise) == () == pattern("block").options(depthwise)
    assert pattern("unstructured").kept_weights(depthwise, option("unstructured", 0.5)) == 144


def test_width_counts_what_its_parameters_say():
    one = layer("conv2d", 16, 8, (3, 3))
    chosen = width(one, 4, 8)
    assert pattern("width").kept_weights(one, chosen) == 4 * 8 * 9
    assert pattern("width").index_bytes(one, chosen) == 0
    assert pattern("width").macs(one, chosen) == 4 * 8 * 9 * 7
    scores = np.arange(128.0).reshape(16, 8)
    kept = pattern("width").connections(one, chosen, seed=0, scores=scores)
    assert kept[8:, 4:].all()
    assert kept.sum() == 32
    assert pattern("width").connections(one, chosen, seed=0)[:8, :4].all()


def test_a_narrowed_depthwise_layer_loses_groups():
    depthwise = layer("conv2d", 8, 8, (3, 3), groups=8)
    parameters = {"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 4, "out_channels": 4}
    chosen = Option(pattern="width", density=0.5, parameters=parameters)
    assert pattern("width").kept_weights(depthwise, chosen) == 4 * 9
    mask = pattern("width").mask(depthwise, chosen, scores=np.arange(8.0).reshape(8, 1))
    assert mask[4:].all()
    assert not mask[:4].any()


@pytest.mark.parametrize("name", ["channel", "unstructured"])
def test_a_mask_shares_no_memory_with_the_connections(name):
    one = layer("linear", 4, 4)
    units = pattern(name).connections(one, option(name, 0.5), seed=0)
    mask = pattern(name).mask(one, option(name, 0.5), connections=units)
    mask[:] = False
    assert units.sum() == 8


@pytest.mark.parametrize(
    ("outputs", "density", "blocks"),
    [
        (512, 0.5, {16, 32, 64}),
        (64, 0.5, {16, 32}),  # two blocks of 64 would be needed
        (64, 0.25, {16}),
        (64, 0.125, {8}),
        (64, 0.03125, set()),
        (24, 0.5, {8}),
        (20, 0.5, {4}),
        (10, 0.5, set()),
    ],
)
def test_blocks_are_offered_where_they_can_read_every_input(outputs: int, density: float, blocks: set[int]):
    one = layer("conv2d", outputs, 32, (3, 3))
    offered = [chosen for chosen in pattern("group").options(one) if chosen.density == density]
    assert {chosen.parameters["block"] for chosen in offered} == blocks
    for chosen in offered:
        assert outputs // chosen.parameters["block"] * round(density * 32) >= 32
