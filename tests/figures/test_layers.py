"""Figures of layers: densities, allocation of several plans, the graph."""

from dataclasses import replace

import networkx as nx
import pytest

import advisor
from advisor.figures import (
    allocation_heat_info,
    allocation_heat_plot,
    densities_info,
    densities_plot,
    layer_graph_info,
    layer_graph_plot,
)
from advisor.figures.layout import COLUMNS, ROWS, acyclic, place
from advisor.models import load_model
from tests.figures import samples


def test_bars_are_as_wide_as_the_layers_cost() -> None:
    info = densities_info(samples.plan())
    macs = {layer.name: layer.macs for layer in samples.network().sparsifiable}
    assert info.by == "MACs"
    assert [bar.name for bar in info.bars] == list(macs)
    assert [bar.share for bar in info.bars] == pytest.approx([m / sum(macs.values()) for m in macs.values()])
    left = next(bar for bar in info.bars if bar.name == "left")
    assert (left.pattern, left.density, left.label) == ("group", 0.25, "group d=0.25 block=4")


def test_a_loaded_plan_without_network_shares_by_weights() -> None:
    info = densities_info(samples.plan(network=None))
    assert info.by == "weights"
    assert info.bars[0].share == pytest.approx(216 / (216 + 576 + 64 + 32))


def test_bars_stand_side_by_side() -> None:
    figure = densities_plot(densities_info(samples.plan()))
    bars = sorted((x, width) for trace in figure.data for x, width in zip(trace.x, trace.width, strict=True))
    ends = [x + width for x, width in bars]
    assert [x for x, _ in bars[1:]] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(100)
    assert [trace.name for trace in figure.data] == ["dense", "group"]


def test_heat_has_a_row_per_plan() -> None:
    one = samples.plan()
    other = replace(one, layers=one.layers[:2])
    info = allocation_heat_info({"plan": one, "short": other})
    assert info.densities == ((1.0, 0.25, 1.0, 1.0), (1.0, 0.25, None, None))
    assert [len(row) for row in allocation_heat_plot(info).data[0].z] == [4, 4]


def test_graph_folds_norms_into_their_layer_and_keeps_joins() -> None:
    info = layer_graph_info(samples.network(), samples.plan())
    nodes = {node.name: node for node in info.nodes}
    assert nodes["stem"].joined == ("norm",)
    assert nodes["left"].density == 0.25
    assert nodes["right"].density == 1.0
    (join,) = [node for node in info.nodes if node.density is None]
    assert join.kind == "add"
    edges = {(edge.source, edge.target) for edge in info.edges}
    assert edges == {
        ("stem", "left"), ("left", "right"), ("right", join.name), ("stem", join.name), (join.name, "head"),
    }  # fmt: skip
    assert nodes["stem"].y < nodes["left"].y < nodes["right"].y < join.y < nodes["head"].y


def test_a_long_edge_goes_around_the_nodes_it_jumps_over() -> None:
    info = layer_graph_info(samples.network())
    nodes = {node.name: node for node in info.nodes}
    (skip,) = [edge for edge in info.edges if edge.source == "stem" and edge.target != "left"]
    assert len(skip.path) == 4
    assert all(x < nodes["left"].x for x, _ in skip.path[1:-1])


def test_a_layer_used_twice_is_drawn() -> None:
    class Twice(samples.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = samples.nn.Linear(4, 4)
            self.b = samples.nn.Linear(4, 4)

        def forward(self, x):
            return self.b(self.a(self.b(self.a(x))))

    network = advisor.analyze(Twice(), (1, 4))
    info = layer_graph_info(network)
    assert [(node.name, node.macs, node.params, node.share) for node in info.nodes] == [
        ("a", 16, 20, 0.25),
        ("b", 16, 20, 0.25),
        ("a#2", 16, 0, 0.25),
        ("b#2", 16, 0, 0.25),
    ]
    assert [(edge.source, edge.target) for edge in info.edges] == [("a", "b"), ("b", "a#2"), ("a#2", "b#2")]
    layer_graph_plot(info)


def test_resnet50_fits_on_one_screen() -> None:
    loaded = load_model("torchvision:resnet50")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=loaded.name)
    info = layer_graph_info(network)
    assert info.columns == 3
    assert info.rows <= ROWS + 6
    places = [(node.x, node.y) for node in info.nodes]
    assert len(set(places)) == len(places)
    figure = layer_graph_plot(info)
    assert figure.layout.height <= 860
    assert sum(bool(text) for trace in figure.data for text in trace.text or ()) == len(places)  # every node is named


def test_very_long_networks_grow_down_not_sideways() -> None:
    chain = nx.path_graph([str(i) for i in range(40 * ROWS)], create_using=nx.DiGraph)
    placement = place(chain)
    assert len(placement.breaks) == COLUMNS
    assert placement.rows < 9 * ROWS


def test_cycles_are_cut() -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")])
    assert nx.is_directed_acyclic_graph(acyclic(graph))
    assert set(acyclic(graph)) == {"a", "b", "c"}


def test_an_empty_graph_is_placed() -> None:
    assert place(nx.DiGraph()).positions == {}
