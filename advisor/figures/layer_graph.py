"""Who feeds whom: the layers from top to bottom, coloured by what the plan keeps of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from advisor.figures.layout import RIGHT_LANES, Placement, Point, acyclic, place, route
from advisor.figures.theme import DENSE, DENSITY_SCALE, LINE, PLAN, TEXT, base_layout
from advisor.figures.wording import big, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.network import Network
    from advisor.plans.plan import Plan

_PIXELS = 940  # the width that names are fitted to
_LETTER = 5.6  # pixels of one letter


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """One layer, or one place where branches meet.

    `x`, `y` are in lanes and rows, y downwards. `density` is None for what no plan can thin out, 1 for a dense layer.
    `macs` and `share` (of the network's) are of this one use of the layer. `joined` are the norms drawn with it.
    """

    name: str
    kind: str
    x: float
    y: float
    density: float | None
    option: str
    macs: int
    share: float
    params: int
    output_shape: tuple[int, ...]
    label: Literal["left", "right"] | None  # the side that has room for its name
    joined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """Data flows from node `source` to node `target` along the points of `path`."""

    source: str
    target: str
    path: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGraphInfo:
    """The nodes in the order of execution, joins after the layers; `columns` side by side, each at most `rows` high."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    columns: int
    rows: int
    width: float  # in lanes


def layer_graph_info(network: Network, plan: Plan | None = None) -> LayerGraphInfo:
    """The network's graph laid out by topological generations; norms are drawn with the layer they belong to."""
    graph, joined = _without_norms(network)
    placement = place(acyclic(graph))
    beside = _labels(placement)
    layers = {layer.name: layer for layer in network.layers}
    chosen = {layer.name: layer for layer in plan.layers} if plan is not None else {}
    nodes = []
    for name, (x, y) in ((name, placement.positions[name]) for name in graph):
        owner = graph.nodes[name].get("of", name)  # a later use of a layer is a node of its own
        layer, choice = layers.get(owner), chosen.get(owner)
        thinnable = layer is not None and layer.weight is not None
        macs = layer.macs // max(len(layer.calls), 1) if layer is not None else 0
        nodes.append(
            GraphNode(
                name=name,
                kind=graph.nodes[name].get("kind", ""),
                x=x,
                y=y,
                density=choice.density if choice is not None else (1.0 if thinnable else None),
                option=choice.option.label if choice is not None else ("dense" if thinnable else ""),
                macs=macs,
                share=macs / network.macs if network.macs else 0.0,
                params=layer.params if layer is not None and owner == name else 0,
                output_shape=layer.output_shape if layer is not None else (),
                label=beside.get(name),
                joined=tuple(joined.get(name, ())),
            )
        )
    edges = tuple(GraphEdge(source=a, target=b, path=route(a, b, placement)) for a, b in graph.edges if a != b)
    return LayerGraphInfo(
        nodes=tuple(nodes), edges=edges, columns=len(placement.breaks), rows=placement.rows, width=placement.width
    )


def _labels(placement: Placement) -> dict[str, Literal["left", "right"]]:
    """Which names have room beside their node: the last of every generation, both where there are never more."""
    beside: dict[str, Literal["left", "right"]] = {}
    for row in _rows(placement):
        if len(row) == 2 and placement.lanes == 2:
            beside[row[0]] = "left"
        beside[row[-1]] = "right"
    return beside


def _rows(placement: Placement) -> list[list[str]]:
    """The names of each generation, from left to right."""
    rows: dict[int, list[str]] = {}
    for name, generation in placement.generation.items():
        rows.setdefault(generation, []).append(name)
    return [sorted(names, key=lambda name: placement.positions[name]) for names in rows.values()]


def _without_norms(network: Network) -> tuple[nx.DiGraph[str], dict[str, list[str]]]:
    """The graph with every norm folded into the one layer before it, or else the one after it; and who took whom in."""
    graph: nx.DiGraph[str] = nx.DiGraph(network.graph)
    joined: dict[str, list[str]] = {}
    for name, kind in [(name, data.get("kind", "")) for name, data in graph.nodes(data=True)]:
        if not kind.endswith("norm"):
            continue
        before, after = list(graph.predecessors(name)), list(graph.successors(name))
        if len(before) == 1 and graph.out_degree(before[0]) == 1:
            host = before[0]
            graph.add_edges_from((host, target) for target in after)
        elif len(after) == 1 and graph.in_degree(after[0]) == 1:
            host = after[0]
            graph.add_edges_from((source, host) for source in before)
        else:
            continue
        if host != name:
            graph.remove_node(name)
            joined.setdefault(host, []).append(name)
    return graph, joined


def layer_graph_plot(info: LayerGraphInfo) -> go.Figure:
    """Circles are layers that a plan can thin out, as large as their share of the MACs; squares are other layers."""
    import plotly.graph_objects as go

    figure = go.Figure()
    xs: list[float | None] = []
    ys: list[float | None] = []
    for edge in info.edges:
        xs += [*(x for x, _ in edge.path), None]
        ys += [*(y for _, y in edge.path), None]
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": LINE, "width": 1.2 if len(info.edges) < 300 else 0.5},
        hoverinfo="skip",
        showlegend=False,
    )
    thin = [node for node in info.nodes if node.density is not None]
    rest = [node for node in info.nodes if node.density is None]
    small = info.rows > 16 or info.width > 9
    letters = int((RIGHT_LANES * _PIXELS / max(info.width, 4.0) - 42) / _LETTER)
    other = {"symbol": "square", "size": 6 if small else 8, "color": DENSE, "opacity": 1.0}
    for nodes, marker in ((rest, other), (thin, _circles(thin, 17.0 if small else 24.0))):
        figure.add_scatter(
            x=[node.x for node in nodes],
            y=[node.y for node in nodes],
            mode="markers+text",
            text=[_text(node, letters) for node in nodes],
            textposition=[f"middle {node.label or 'right'}" for node in nodes],
            textfont={"size": 10 if small else 12, "color": TEXT},
            marker=marker,
            customdata=[_hover(node) for node in nodes],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    hidden = {"visible": False, "showgrid": False}
    figure.update_layout(
        **base_layout(
            height=int(min(max(70 + 29 * info.rows, 300), 860)),
            xaxis=hidden | {"range": [0.0, max(info.width, 4.0)]},
            yaxis=hidden | {"range": [info.rows - 0.4, -0.8]},
            margin={"t": 46},
        )
    )
    return figure


def _circles(nodes: list[GraphNode], most: float) -> dict[str, Any]:
    """Area by share of the MACs, colour by density; one colour where everything is dense."""
    largest = max((node.share for node in nodes), default=0.0) or 1.0
    circles: dict[str, Any] = {
        "size": [7 + (most - 7) * (node.share / largest) ** 0.5 for node in nodes],
        "opacity": 1.0,
        "line": {"width": 1, "color": LINE},
        "color": PLAN,
    }
    if all(node.density == 1 for node in nodes):
        return circles
    bar = {
        "orientation": "h",
        "thickness": 9,
        "len": 0.26,
        "x": 1.0,
        "xanchor": "right",
        "y": 1.0,
        "yanchor": "bottom",
        "tickvals": [0.0, 0.5, 1.0],
        "ticktext": ["density 0%", "50%", "100%"],
        "outlinewidth": 0,
    }
    return circles | {
        "color": [node.density for node in nodes],
        "cmin": 0.0,
        "cmax": 1.0,
        "colorscale": DENSITY_SCALE,
        "showscale": True,
        "colorbar": bar,
    }


def _text(node: GraphNode, letters: int) -> str:
    """The end of the name, as much of it as fits, and the density where the layer is thinned out."""
    if node.label is None or letters < 8:
        return ""
    name = node.name if len(node.name) <= letters else "…" + node.name[1 - letters :]
    return f" {name} " if node.density is None or node.density >= 1 else f" {name} <b>{100 * node.density:.0f}%</b> "


def _hover(node: GraphNode) -> str:
    lines = [f"<b>{node.name}</b>", node.kind]
    if node.option:
        lines.append(node.option)
    if node.macs:
        lines.append(f"{big(node.macs)} MACs, {percent(node.share)} of the network")
    if node.params:
        lines.append(f"{big(node.params)} parameters")
    if node.output_shape:
        lines.append("output " + "×".join(map(str, node.output_shape)))
    if node.joined:
        lines.append("with " + ", ".join(node.joined))
    return "<br>".join(lines)
