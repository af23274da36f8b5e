"""How each plan learnt: test accuracy or training loss after every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

from advisor.figures.reading import number
from advisor.figures.theme import TEXT, base_layout, plan_colour

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLES = {"test_accuracy": "test accuracy [%]", "accuracy": "training accuracy [%]", "loss": "training loss [nats]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One plan. Values of epoch `epochs[i]` stand at place i: the mean over its runs, the lowest and the highest.

    Attributes:
        epochs: counted from 1, rising; where all of the plan's runs that did not fail have a value.
        stopped: the epoch after which the plan was stopped for good; None where it ran to the end.
    """

    label: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    stopped: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesInfo:
    """Plans in the order of the report; `key` says what of an epoch is drawn."""

    key: str
    curves: tuple[Curve, ...]


def learning_curves_info(report: Mapping[str, Any], *, key: str = "test_accuracy") -> CurvesInfo:
    """The learning curves of a validation's report.json.

    Args:
        report: with `runs[]`: plan, `epochs[]` (loss, accuracy, test_accuracy: null where nobody tested), problem,
            stopped. Runs that failed are left out, and plans without any value.
        key: what is drawn: "test_accuracy", "accuracy" (of the training images, while the weights moved) or "loss".
    """
    by_plan: dict[str, list[Mapping[str, Any]]] = {}
    for run in report.get("runs", ()):
        if not run.get("problem"):
            by_plan.setdefault(str(run.get("plan")), []).append(run)
    curves = []
    for label, runs in by_plan.items():
        histories = [run.get("epochs") or () for run in runs]
        found: dict[int, list[float]] = {}
        for place in range(min(map(len, histories))):
            values = [number(history[place], key) for history in histories]
            known = [value for value in values if value is not None]
            if len(known) == len(histories):
                found[place + 1] = known
        if found:
            curves.append(
                Curve(
                    label=label,
                    epochs=tuple(found),
                    mean=tuple(fsum(values) / len(values) for values in found.values()),
                    low=tuple(min(values) for values in found.values()),
                    high=tuple(max(values) for values in found.values()),
                    stopped=max(found) if any(run.get("stopped") for run in runs) else None,
                )
            )
    return CurvesInfo(key=key, curves=tuple(curves))


def learning_curves_plot(info: CurvesInfo) -> go.Figure:
    """A line per plan within the range of its runs; a cross where it was stopped."""
    import plotly.graph_objects as go

    figure = go.Figure()
    scale = 1.0 if info.key == "loss" else 100.0
    for position, curve in enumerate(info.curves):
        colour = plan_colour(curve.label, position)
        if curve.low != curve.high:
            figure.add_scatter(
                name=curve.label,
                legendgroup=curve.label,
                showlegend=False,
                mode="lines",
                x=[*curve.epochs, *reversed(curve.epochs)],
                y=[scale * value for value in (*curve.high, *reversed(curve.low))],
                fill="toself",
                fillcolor=_faint(colour),
                line={"width": 0},
                hoverinfo="skip",
            )
        end = [6] * (len(curve.epochs) - 1) + [6 if curve.stopped is None else 12]
        figure.add_scatter(
            name=curve.label if curve.stopped is None else f"{curve.label} (stopped)",
            legendgroup=curve.label,
            mode="lines+markers",
            x=list(curve.epochs),
            y=[scale * value for value in curve.mean],
            line={"color": colour, "width": 2},
            marker={
                "color": colour,
                "size": end,
                "symbol": ["circle"] * (len(end) - 1) + ["circle" if curve.stopped is None else "x"],
            },
            customdata=[[scale * low, scale * high] for low, high in zip(curve.low, curve.high, strict=True)],
            hovertemplate=f"<b>{curve.label}</b>, epoch %{{x}}<br>%{{y:.3g}} "
            "(runs: %{customdata[0]:.3g} to %{customdata[1]:.3g})<extra></extra>",
        )
    last = max((max(curve.epochs) for curve in info.curves), default=1)
    figure.update_layout(
        **base_layout(
            height=380,
            xaxis={"title": {"text": "epoch"}, "range": [0.5, last + 0.5], "dtick": max(1, last // 10)},
            yaxis={"title": {"text": TITLES.get(info.key, info.key)}},
        )
    )
    if not info.curves:
        figure.add_annotation(
            text="nothing was tested after an epoch", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper",
            font={"color": TEXT},
        )  # fmt: skip
    return figure


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
