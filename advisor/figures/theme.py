"""One look for all figures: colours that colour-blind readers can tell apart, legible on white and on black."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from advisor.figures.wording import cost_text

# Okabe and Ito (2008), "Color Universal Design"; dense is the grey that everything stands out from.
PATTERN_COLOURS = {
    "dense": "#9aa3ad",
    "width": "#0072b2",
    "channel": "#009e73",
    "group": "#e69f00",
    "block": "#cc79a7",
    "n:m": "#56b4e9",
    "unstructured": "#d55e00",
    "hierarchical": "#8c6bb1",
}
OTHER_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#7f7f7f")
PLAN = "#0072b2"
DENSE = "#9aa3ad"
BUDGET = "#d55e00"
OVER = "#d55e00"
TEXT = "#717b88"  # 4.3:1 on white, 4.4:1 on Streamlit's dark grey
GRID = "rgba(128,138,150,0.22)"
LINE = "rgba(128,138,150,0.65)"
DENSITY_SCALE = "Cividis"  # Nunez, Anderton and Renslow (2018): the same order for every kind of colour vision
FONT = "Source Sans Pro, Source Sans, Inter, system-ui, sans-serif"
CONFIG = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def pattern_colour(pattern: str) -> str:
    """The colour of a pattern; between the two colours where it is combined; grey ("other") for someone's own."""
    parts = [PATTERN_COLOURS.get(name, "#7f7f7f") for name in pattern.split("+")]
    channels = zip(*((part[1:3], part[3:5], part[5:7]) for part in parts), strict=True)
    return "#" + "".join(f"{sum(int(value, 16) for value in same) // len(same):02x}" for same in channels)


def in_order(patterns: Iterable[str]) -> list[str]:
    """Distinct patterns in the order of the legend, which is the same in every figure."""
    known = list(PATTERN_COLOURS)
    return sorted(set(patterns), key=lambda name: (known.index(name) if name in known else len(known), name))


def plan_colour(label: str, position: int) -> str:
    """The colour of a plan in a comparison: dense is grey and the plan itself blue in every figure."""
    fixed = {"dense": DENSE, "plan": PLAN, "uniform": "#e69f00", "erk": "#009e73", "width": "#cc79a7"}
    return fixed.get(label, OTHER_COLOURS[position % len(OTHER_COLOURS)])


def base_layout(*, height: int, **more: Any) -> dict[str, Any]:
    """What every figure's layout shares: transparent ground, quiet grid, neutral text. `height` in pixels."""
    axis = {
        "gridcolor": GRID,
        "linecolor": LINE,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": LINE,
        "automargin": True,
        "title": {"standoff": 10, "font": {"size": 13}},
    }
    layout: dict[str, Any] = {
        "template": "none",
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 34, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "hoverlabel": {"font": {"family": FONT, "size": 13}},
        "legend": {
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.0,
            "xanchor": "left",
            "x": 0.0,
            "title": {"text": ""},
        },
        "xaxis": axis,
        "yaxis": axis,
    }
    return _merged(layout, more)


def log_axis(key: str, low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` (> 0) with ticks at 1, 2 and 5, written with the cost's unit."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5) if low <= step * 10.0**decade <= high]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [re.sub(r"\.0+\b", "", cost_text(key, tick)) for tick in ticks],
    }


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        held = result.get(key)
        result[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result
