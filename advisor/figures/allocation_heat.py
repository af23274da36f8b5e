"""Several plans side by side: which layers each of them thins out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.figures.theme import DENSITY_SCALE, base_layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationInfo:
    """`densities[p][l]` is what plan p keeps of layer l, None where it lacks that layer; `patterns` likewise."""

    plans: tuple[str, ...]
    layers: tuple[str, ...]
    densities: tuple[tuple[float | None, ...], ...]
    patterns: tuple[tuple[str, ...], ...]


def allocation_heat_info(plans: Mapping[str, Plan]) -> AllocationInfo:
    """Label → plan, all of one network; layers in the first plan's order, then those that only later plans know."""
    layers = tuple(dict.fromkeys(layer.name for plan in plans.values() for layer in plan.layers))
    held = [{layer.name: layer for layer in plan.layers} for plan in plans.values()]
    return AllocationInfo(
        plans=tuple(plans),
        layers=layers,
        densities=tuple(tuple(known[n].density if n in known else None for n in layers) for known in held),
        patterns=tuple(tuple(known[n].pattern if n in known else "" for n in layers) for known in held),
    )


def allocation_heat_plot(info: AllocationInfo) -> go.Figure:
    """One row per plan, one column per layer, coloured by density."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(
            z=[list(row) for row in info.densities],
            x=list(range(len(info.layers))),
            y=list(info.plans),
            zmin=0.0,
            zmax=1.0,
            colorscale=DENSITY_SCALE,
            colorbar={
                "title": {"text": "density"},
                "thickness": 10,
                "lenmode": "pixels",
                "len": 120,
                "y": 1,
                "yanchor": "top",
                "tickformat": ".0%",
            },
            customdata=[
                [[layer, pattern] for layer, pattern in zip(info.layers, row, strict=True)] for row in info.patterns
            ],
            hovertemplate="<b>%{y}</b><br>%{customdata[0]}<br>%{customdata[1]} d=%{z:.4g}<extra></extra>",
            xgap=1,
            ygap=2,
        )
    )
    every = max(1, -(-len(info.layers) // 20))
    shown = list(range(0, len(info.layers), every))
    figure.update_layout(
        **base_layout(
            height=200 + 34 * len(info.plans),
            xaxis={
                "title": {"text": "layers in order of execution"},
                "tickvals": shown,
                "ticktext": [info.layers[i] for i in shown],
                "tickangle": -40,
                "showgrid": False,
            },
            yaxis={"autorange": "reversed", "showgrid": False, "ticks": ""},
        )
    )
    return figure
