"""How costs and counts are called and written, wherever a person reads them."""

from __future__ import annotations

import math

COST_TITLES = {
    "params": "Parameters",
    "macs": "MACs",
    "latency": "Latency",
    "training_latency": "Training step",
    "weight_memory": "Weight memory",
    "peak_memory": "Peak memory",
    "energy": "Energy",
}
COST_UNITS = {
    "params": "",
    "macs": "",
    "latency": "ms",
    "training_latency": "ms",
    "weight_memory": "bytes",
    "peak_memory": "bytes",
    "energy": "mJ",
}


def cost_title(key: str) -> str:
    """ "training_latency" → "Training step"; an unknown key is its own title."""
    return COST_TITLES.get(key, key.replace("_", " ").capitalize())


def axis_title(key: str) -> str:
    """The title with its unit, for an axis."""
    unit = COST_UNITS.get(key, "")
    return f"{cost_title(key)} [{unit}]" if unit else cost_title(key)


def big(number: float) -> str:
    """Three significant digits and a prefix: 4089184256 → "4.09 G"."""
    if not math.isfinite(number):
        return "–"
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,600 belongs to the next prefix once it is rounded to three digits.
        if abs(number) >= limit * 0.9995:
            return f"{_three(number / limit)} {prefix}"
    return f"{number:.0f}" if number == round(number) else f"{number:.3g}"


def cost_text(key: str, value: float) -> str:
    """A cost with its unit: "12.3 ms", "97.5 MB", "4.09 G"."""
    if not math.isfinite(value):
        return "–"
    unit = COST_UNITS.get(key, "")
    if unit == "bytes":
        text = big(value)
        return f"{text}B" if " " in text else f"{text} B"
    if unit:
        return f"{_three(value)} {unit}"
    return big(value)


def percent(share: float) -> str:
    """0.4567 → "45.7 %"."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def gap_text(gap: float) -> str:
    """A relative gap as a percentage; what rounds to nothing is told from nothing."""
    if not math.isfinite(gap):
        return "unknown"
    return "< 0.001 %" if 0 < gap < 5e-6 and gap > 1e-12 else f"{100 * gap:.3f} %".replace("0.000 %", "0 %")


def _three(number: float) -> str:
    """Three significant digits, without an exponent for ordinary sizes and without losing whole digits."""
    if number == 0 or abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:#.3g}"
