"""Dead channels: after a repair every kept connection lies on a path from the image to the answer."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.coupling.structure import LayerUse
from advisor.errors import PatternError
from advisor.patterns.connectivity import apply_repair, repair
from advisor.patterns.option import Option
from tests.patterns.drawing import Drawing, channel, drawings
from tests.patterns.oracle import channels, off_the_way

some = settings(max_examples=80, deadline=None)


def check(made: Drawing, graph, scores=None):
    """Repairs and holds the result against the oracle; returns the connections and the repair."""
    result, done = repair(graph, made.layers, made.chosen, scores)
    dense = channels(graph, made.layers, {})
    on_the_way = nx.descendants(dense, "image") & nx.ancestors(dense, "answer")
    uses = [step for step in graph.steps if isinstance(step, LayerUse)]
    joined = {step.layer for step in uses if int(step.outputs[0]) in on_the_way}
    kept = {name: (rows, 1) for name, rows in result.items() if made.chosen[name][0].pattern == "channel"}
    off = off_the_way(graph, made.layers, kept)
    assert not {place for place in off if place[0] in joined}
    for name, rows in result.items():
        before = made.chosen[name][1]
        dropped = done.dropped.get(name, ())
        quota = np.where(np.isin(np.arange(len(rows)), dropped), 0, before.sum(axis=1))
        assert (rows.sum(axis=1) == quota).all()
        again = apply_repair(before, done.rewired.get(name, ()), dropped)
        assert (again == rows).all()
    return result, done


@some
@given(drawings())
def test_random_networks(drawn):
    made, graph = drawn
    result, _ = check(made, graph)
    again, done = repair(graph, made.layers, {n: (made.chosen[n][0], rows) for n, rows in result.items()})
    assert not done.rewired  # what is repaired stays as it is
    assert not done.dropped
    assert all((again[name] == result[name]).all() for name in result)


@some
@given(drawings(), st.integers(0, 99))
def test_random_networks_by_magnitude(drawn, seed):
    made, graph = drawn
    rng = np.random.default_rng(seed)
    check(made, graph, {name: rng.random(rows.shape) for name, (_, rows) in made.chosen.items()})


def test_the_given_connections_stay_as_they_are():
    made = Drawing()
    hidden = made.conv(made.image(), 8)
    graph = made.graph(made.conv(made.conv(hidden, 8, channel(0.1)), 2))
    before = made.chosen["l1"][1].copy()
    repair(graph, made.layers, made.chosen)
    assert (made.chosen["l1"][1] == before).all()


def test_an_unread_channel_takes_the_place_of_one_read_twice():
    made = Drawing()
    hidden = made.conv(made.image(), 3)
    rows = [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    rows[2] = [1, 1, 0]
    graph = made.graph(made.conv(hidden, 3, channel(0.6), connections=rows))
    result, done = check(made, graph)
    assert result["l1"].any(axis=0).all()
    assert sum(map(len, done.rewired.values())) == 1
    assert not done.dropped


def test_a_channel_that_a_sibling_reads_is_left_in_peace():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    left = made.conv(hidden, 2, channel(0.25), connections=[[1, 0, 0, 0], [0, 1, 0, 0]])
    right = made.conv(hidden, 2, channel(0.25), connections=[[0, 0, 1, 0], [0, 0, 0, 1]])
    _, done = check(made, made.graph(made.conv(np.concatenate([left, right]), 2)))
    assert not done.rewired


def test_a_residual_keeps_a_channel_alive():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    branch = made.conv(hidden, 4, channel(0.25), connections=[[1, 0, 0, 0]] * 4)
    _, done = check(made, made.graph(made.conv(made.add(hidden, branch), 2)))
    assert not done.rewired
    assert not done.dropped


def test_what_nothing_can_read_is_dropped_up_to_the_image():
    made = Drawing()
    first = made.conv(made.image(), 8)
    second = made.conv(first, 8, channel(0.1))
    third = made.conv(second, 4, channel(0.1))  # reads four of eight
    result, done = check(made, made.graph(made.conv(third, 2)))
    assert len(done.dropped["l1"]) == 4
    assert "l2" not in done.dropped
    assert result["l2"].any(axis=0).sum() == 4
    assert done.notes == ("layer l0: 4 of 8 outputs are read by nothing",)


def test_the_fixed_point_goes_through_depthwise_layers():
    made = Drawing()
    first = made.conv(made.image(), 6)
    wide = made.conv(first, 12, channel(1 / 12))
    spread = made.conv(wide, 12, groups=12)
    narrow = made.conv(spread, 4, channel(1 / 12))
    result, done = check(made, made.graph(made.conv(narrow, 2)))
    assert len(done.dropped["l1"]) == 8
    assert result["l3"].any(axis=0).sum() == 4
    assert "layer l2: 8 of 12 outputs are read by nothing" in done.notes


def test_a_flattened_map_needs_only_one_of_its_positions():
    made = Drawing()
    hidden = made.conv(made.image(), 6)
    rows = np.zeros((2, 6 * 49), dtype=np.bool_)
    rows[0, :3], rows[1, 49:52] = True, True  # three positions of channel 0, and of channel 1
    graph = made.graph(made.conv(np.repeat(hidden, 49), 2, channel(3 / 294), connections=rows))
    result, done = check(made, graph)
    assert not done.notes
    assert {int(column) // 49 for column in np.flatnonzero(result["l1"].any(axis=0))} == set(range(6))
    assert sum(map(len, done.rewired.values())) == 4


def test_grouped_layers_rewire_within_their_groups():
    made = Drawing()
    hidden = made.conv(made.image(), 8)
    rows = [[1, 0, 0, 0]] * 8
    graph = made.graph(made.conv(hidden, 8, channel(0.25), groups=2, connections=rows))
    result, _ = check(made, graph)
    assert (result["l1"].reshape(2, 4, 4).any(axis=1)).all()


def test_a_block_of_outputs_moves_as_one():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    option = Option(pattern="group", density=0.5, parameters={"block": 2})
    graph = made.graph(made.conv(hidden, 4, option, connections=[[1, 1, 0, 0], [1, 1, 0, 0]]))
    result, done = repair(graph, made.layers, made.chosen)
    assert result["l1"].any(axis=0).all()
    assert (result["l1"].sum(axis=1) == 2).all()
    assert all(row < 2 for row, _, _ in done.rewired["l1"])
    assert not done.notes


def test_blocks_are_never_emptied_and_it_is_said():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    option = Option(pattern="group", density=0.25, parameters={"block": 4})
    wide = made.conv(hidden, 8, option, connections=[[1, 0, 0, 0], [0, 1, 0, 0]])
    graph = made.graph(made.conv(wide, 1, channel(0.1)))
    result, done = repair(graph, made.layers, made.chosen)
    assert (result["l1"].sum(axis=1) == 1).all()
    assert "layer l1: 7 of 8 outputs are read by nothing" in done.notes


def test_a_channel_without_signal_is_replaced():
    made = Drawing()
    fixed = Option(pattern="unstructured", density=0.5)
    half = np.array([[1, 1, 1], [1, 1, 1], [0] * 3, [0] * 3])[:, :, None, None]
    hidden = made.conv(made.image(), 4, fixed, connections=half)
    rows = [[0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1]]
    graph = made.graph(made.conv(hidden, 4, channel(0.5), connections=rows))
    result, done = check(made, graph)
    assert (result["l1"] == [[1, 1, 0, 0]] * 4).all()
    assert not done.notes


def test_too_few_signals_are_said():
    made = Drawing()
    fixed = Option(pattern="unstructured", density=0.5)
    dead = np.array([[1, 1, 1], [0] * 3, [0] * 3, [0] * 3])[:, :, None, None]
    hidden = made.conv(made.image(), 4, fixed, connections=dead)
    graph = made.graph(made.conv(hidden, 2, channel(0.5), connections=[[0, 0, 1, 1], [1, 0, 1, 0]]))
    result, done = repair(graph, made.layers, made.chosen)
    assert (result["l1"].sum(axis=1) == 2).all()
    assert "layer l1: 2 of 2 rows of connections read inputs without a signal" in done.notes


def test_a_row_without_any_signal_is_emptied():
    made = Drawing()
    fixed = Option(pattern="unstructured", density=0.5)
    dead = np.array([[1, 1, 1]] * 2 + [[0] * 3] * 2)[:, :, None, None]
    hidden = made.conv(made.image(), 4, fixed, connections=dead)
    _, done = check(made, made.graph(made.conv(hidden, 4, channel(0.5), groups=2)))
    assert done.dropped == {"l1": (2, 3)}


def test_the_cheapest_exchange_is_made():
    made = Drawing()
    hidden = made.conv(made.image(), 3)
    rows = [[1, 1, 0], [1, 1, 0]]
    graph = made.graph(made.conv(hidden, 2, channel(0.6), connections=rows))
    scores = {"l1": np.array([[9.0, 5.0, 1.0], [8.0, 7.0, 4.0]])}
    _, done = check(made, graph, scores)
    assert done.rewired == {"l1": ((1, 1, 2),)}  # loses 3; the others lose 8, 4 and 4


def test_a_chain_of_exchanges_covers_what_a_single_one_cannot():
    made = Drawing()
    first, second, third = (made.conv(made.image(), 1) for _ in range(3))
    # The left reader alone can read the third; it has no connection to spare, but the right one has, and takes over.
    left = made.conv(np.concatenate([first, third]), 1, channel(0.5), connections=[[1, 0]])
    right = made.conv(np.concatenate([first, second]), 2, channel(0.5), connections=[[0, 1], [0, 1]])
    result, done = check(made, made.graph(np.concatenate([left, right])))
    assert not done.notes
    assert result["l3"].tolist() == [[False, True]]
    assert result["l4"].any(axis=0).all()


@some
@given(st.data())
def test_as_many_channels_are_read_as_a_maximum_flow_allows(data):
    """Readers with fixed numbers of connections over overlapping channels: no choice of inputs covers more."""
    made = Drawing()
    hidden = np.concatenate([made.conv(made.image(), 1) for _ in range(data.draw(st.integers(3, 9)))])
    flow = nx.DiGraph()
    outputs = []
    for _ in range(data.draw(st.integers(1, 4))):
        window = data.draw(st.lists(st.sampled_from(hidden.tolist()), min_size=2, max_size=6, unique=True))
        rows, density = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.2, 0.5]))
        outputs.append(made.conv(np.array(window), rows, channel(density), seed=data.draw(st.integers(0, 99))))
        name = f"l{len(made.layers) - 1}"
        flow.add_edge(name, "end", capacity=int(made.chosen[name][1].sum()))
        for node in window:
            flow.add_edge("start", node, capacity=1)
            flow.add_edge(node, name, capacity=1)
    graph = made.graph(*outputs)
    result, _ = check(made, graph)
    read = set()
    for step in graph.steps:
        if step.layer in result:
            read |= set(step.inputs[result[step.layer].any(axis=0)].tolist())
    assert len(read) == nx.maximum_flow_value(flow, "start", "end")


def test_a_layer_that_leads_nowhere_is_left_alone():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    made.conv(hidden, 4, channel(0.25), connections=[[1, 0, 0, 0]] * 4)  # an auxiliary head that no output follows
    result, done = repair(made.graph(made.conv(hidden, 2)), made.layers, made.chosen)
    assert result["l1"].sum() == 4
    assert not done.dropped
    assert done.notes == ("layer l1: 4 of 4 outputs are read by nothing",)


@pytest.mark.parametrize("move", [(0, 1, 2), (0, 0, 0), (3, 0, 1), (0, 0, 3), (-1, 0, 1), (0, -3, 1)])
def test_a_move_that_does_not_fit_is_refused(move):
    connections = np.array([[True, False, False], [False, True, False], [False, False, True]])
    with pytest.raises(PatternError, match="does not fit connections of shape"):
        apply_repair(connections, [move], ())


def test_a_dropped_row_outside_is_refused():
    with pytest.raises(PatternError, match=r"dropped row 3 is outside 0\.\.2"):
        apply_repair(np.eye(3, dtype=np.bool_), (), (3,))


def test_connections_of_another_shape_are_refused():
    made = Drawing()
    hidden = made.conv(made.image(), 4)
    graph = made.graph(made.conv(hidden, 4, channel(0.25)))
    made.chosen["l1"] = (channel(0.25), np.ones((4, 3), dtype=np.bool_))
    with pytest.raises(PatternError, match=r"layer l1: connections for channel d=0.25 have shape \(4, 3\)"):
        repair(graph, made.layers, made.chosen)


def test_changes_do_not_gather_in_the_first_rows():
    made = Drawing()
    hidden = made.conv(made.image(), 64)
    graph = made.graph(made.conv(hidden, 64, channel(1 / 64), connections=np.eye(64)[np.zeros(64, dtype=int)]))
    _, done = check(made, graph)
    assert Counter(row for row, _, _ in done.rewired["l1"]).most_common(1)[0][1] == 1
    assert len(done.rewired["l1"]) == 63
