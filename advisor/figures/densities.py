"""What each layer keeps, as wide as the layer is costly: the area is what the plan keeps of the whole network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.figures.theme import GRID, base_layout, in_order, pattern_colour
from advisor.figures.wording import percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.network import Network
    from advisor.plans.plan import Plan

_ROOM = 0.055  # of the figure's width, for one slanted name


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityBar:
    """One layer: what it keeps, and its share of the dense network's cost."""

    name: str
    pattern: str
    density: float
    share: float
    label: str  # the option in words: "group d=0.25 block=16"


@dataclass(frozen=True, slots=True, kw_only=True)
class DensitiesInfo:
    """Layers in the order of execution; their shares add up to 1. `by` is what the shares are of."""

    by: str  # "MACs" or "weights"
    bars: tuple[DensityBar, ...]


def densities_info(plan: Plan, network: Network | None = None) -> DensitiesInfo:
    """The plan's layers with their shares: of MACs where the network is known, of weights otherwise."""
    known = network or plan.network
    macs = {layer.name: layer.macs for layer in known.layers} if known is not None else {}
    sizes = [float(macs.get(layer.name, 0)) for layer in plan.layers]
    by = "MACs"
    if not sum(sizes):
        by = "weights"
        sizes = [float(_elements(layer.weight_shape)) for layer in plan.layers]
    total = sum(sizes) or 1.0
    bars = tuple(
        DensityBar(
            name=layer.name,
            pattern=layer.pattern,
            density=layer.density,
            share=size / total,
            label=layer.option.label,
        )
        for layer, size in zip(plan.layers, sizes, strict=True)
    )
    return DensitiesInfo(by=by, bars=bars)


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def densities_plot(info: DensitiesInfo) -> go.Figure:
    """One bar per layer, coloured by pattern. Names stand under the layers that are wide enough."""
    import plotly.graph_objects as go

    figure = go.Figure()
    starts: list[float] = []
    position = 0.0
    for bar in info.bars:
        starts.append(position)
        position += bar.share
    for pattern in in_order(bar.pattern for bar in info.bars):
        chosen = [(start, bar) for start, bar in zip(starts, info.bars, strict=True) if bar.pattern == pattern]
        figure.add_bar(
            name=pattern,
            x=[100 * start for start, _ in chosen],
            y=[bar.density for _, bar in chosen],
            width=[100 * bar.share for _, bar in chosen],
            offset=0,
            marker={"color": pattern_colour(pattern), "line": {"width": 0.6, "color": GRID}},
            customdata=[[bar.name, bar.label, percent(bar.share)] for _, bar in chosen],
            hovertemplate=f"<b>%{{customdata[0]}}</b><br>%{{customdata[1]}}<br>%{{customdata[2]}} of dense {info.by}"
            "<extra></extra>",
            showlegend=True,
        )
    named: list[tuple[float, DensityBar]] = []  # as many names as have room
    for start, bar in zip(starts, info.bars, strict=True):
        middle = start + bar.share / 2
        if not named or middle - named[-1][0] >= _ROOM:
            named.append((middle, bar))
    figure.update_layout(
        **base_layout(
            height=330,
            barmode="overlay",
            xaxis={
                "title": {"text": f"layers in order of execution, as wide as their share of the dense {info.by}"},
                "range": [0, 100],
                "tickvals": [100 * middle for middle, _ in named],
                "ticktext": [bar.name for _, bar in named],
                "tickangle": -35,
                "tickfont": {"size": 11},
                "showgrid": False,
            },
            yaxis={"title": {"text": "density (kept share)"}, "range": [0, 1.02], "tickformat": ".0%"},
        )
    )
    return figure
