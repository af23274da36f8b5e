"""Upper limits on the whole network's costs, as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from advisor.errors import BudgetError, unknown

COSTS = ("params", "macs", "latency", "training_latency", "weight_memory", "peak_memory", "energy")
TIMES = ("latency", "training_latency")

_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {
    "B": 1.0,
    **{f"{prefix}B": 1e3**power for prefix, power in (("k", 1), ("K", 1), ("M", 2), ("G", 3), ("T", 4))},
    **{f"{prefix}iB": 1024.0**power for prefix, power in (("k", 1), ("K", 1), ("M", 2), ("G", 3), ("T", 4))},
}
_ENERGIES = {"nJ": 1e-6, "uJ": 1e-3, "µJ": 1e-3, "mJ": 1.0, "J": 1e3}
_UNITS: Mapping[str, Mapping[str, float]] = {
    "params": _COUNTS,
    "macs": _COUNTS,
    "latency": _TIMES,
    "training_latency": _TIMES,
    "weight_memory": _BYTES,
    "peak_memory": _BYTES,
    "energy": _ENERGIES,
}
_EXAMPLES = {"params": "5M", "macs": "1.2G", "energy": "3mJ", "weight_memory": "40MB", "peak_memory": "40MB"}
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?))\s*(\S*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An upper limit on one cost: `value` in the cost's unit, or `share` of the dense network; the other is None."""

    key: str
    value: float | None = None
    share: float | None = None

    def limit(self, dense: float) -> float:
        """The limit in the cost's unit, for a dense network that costs `dense`."""
        return self.value if self.value is not None else (self.share or 0.0) * dense


def parse_budgets(
    items: Sequence[str] | Mapping[str, str | float | Budget], costs: Collection[str] = COSTS
) -> dict[str, Budget]:
    """`["latency=60%"]` or `{"latency": "60%"}` → budgets by cost, in the order given.

    Text is a share of the dense network, "60%", or a number with its unit: "5M" or "5000000" (params, macs), "12ms",
    "40MB" or "40MiB", "3mJ". A bare number in a mapping is in the cost's own unit: 1, ms, bytes, mJ.

    Args:
        items: what was asked for.
        costs: that may be limited. Those of a user's own table may have names of his own: shares, or numbers as they
            stand in it.

    Raises:
        BudgetError: an unknown cost or unit, a cost given twice, a value that is not positive and finite, a share over
            100 %, or no budget at all.
    """
    pairs: list[tuple[str, str | float | Budget]] = []
    if isinstance(items, Mapping):
        pairs = list(items.items())
    elif isinstance(items, str):
        raise BudgetError(f"budgets={items!r}; expected a mapping, {{'latency': '50%'}}, or a list of 'KEY=VALUE'")
    else:
        for item in items:
            name, equals, text = str(item).partition("=")
            if not equals:
                raise BudgetError(f"budget {item!r}; expected KEY=VALUE, for example latency=50%")
            pairs.append((name, text))
    found: dict[str, Budget] = {}
    for key, value in pairs:
        key = key.strip()
        if key not in costs:
            raise BudgetError(unknown("budget", key, costs))
        if key in found:
            raise BudgetError(f"budget {key} is given twice; give each cost one limit")
        found[key] = _parse(key, value)
    if not found:
        raise BudgetError(
            f"no budget given; give at least one, for example {next(iter(costs))}=50% (costs: {', '.join(costs)})"
        )
    return found


def _parse(key: str, value: str | float | Budget) -> Budget:
    if isinstance(value, Budget):
        if value.key != key or (value.value is None) == (value.share is None):
            raise BudgetError(f"budget {key}={value!r}; expected this cost's key and either a value or a share")
        return _checked(value, f"budget {key}={value.value if value.share is None else f'{100 * value.share:g}%'}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BudgetError(f"budget {key}={value!r}; expected text as '50%' or a number")
    where = f"budget {key}={value}"
    if not isinstance(value, str):
        if key in ("params", "macs") and 0 < value <= 1:
            raise BudgetError(f"{where} is less than one; for a share of dense write '{100 * value:g}%'")
        number = float(value) if abs(value) < 1e300 else math.inf  # an integer of hundreds of digits has no float
        return _checked(Budget(key=key, value=number), where)
    match = _NUMBER.fullmatch(value.strip())
    if match is None:
        raise BudgetError(f"{where}; expected a share as 50% or a number with its unit as {_EXAMPLES.get(key, '12ms')}")
    number, unit = float(match[1]), match[2]
    if unit == "%":
        return _checked(Budget(key=key, share=number / 100), where)
    units = _UNITS.get(key, _COUNTS)
    if unit not in units:
        what = f"unknown unit {unit!r}" if unit else "no unit"
        listed = ", ".join(name for name in units if name)
        raise BudgetError(f"{where}: {what}; expected %, {listed}, for example {_EXAMPLES.get(key, '12ms')}")
    return _checked(Budget(key=key, value=number * units[unit]), where)


def _checked(budget: Budget, where: str) -> Budget:
    number = budget.value if budget.value is not None else budget.share
    if number is None or not math.isfinite(number) or number <= 0:
        raise BudgetError(f"{where}; expected a positive, finite limit")
    if budget.share is not None and budget.share > 1:
        raise BudgetError(f"{where} is more than the dense network; give at most 100%")
    return budget


def cost_text(key: str, value: float, *, up: bool = False) -> str:
    """A cost with its unit, four digits or more: "3.812 ms", "25.56 M", "40.1 MB".

    Args:
        key: the cost.
        value: in the cost's unit.
        up: rounds away from zero, so that a budget of this text can be met by a plan of this value.
    """
    if key in TIMES:
        return f"{_digits(value, up)} ms"
    if key == "energy":
        return f"{_digits(value, up)} mJ"
    unit = "B" if key in ("weight_memory", "peak_memory") else ""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{_digits(value / limit, up)} {prefix}{unit}".rstrip()
    return f"{_digits(value, up)} {unit}".rstrip()


def _digits(value: float, up: bool) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(3 - math.floor(math.log10(abs(value))), 0)
    if up:
        value = math.ceil(value * 10**places - 1e-9) / 10**places
    return f"{value:.{places}f}"
