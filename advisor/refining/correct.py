"""The cost table corrected by what whole networks took: a factor for each way to run, and an offset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.narrowed import inner_name
from advisor.planning.build import Built
from advisor.planning.table import Choice, CostTable

Floats = NDArray[np.float64]

# What is believed before anything was measured, as standard deviations. Sums of layers under plans are off by 2 to 15 %
# in whole networks; ways to run (sparse kernels, narrower layers) differ less among each other.
_COMMON = 0.15  # of the factor that all layers share
_APART = 0.07  # of a way's factor from that one
_OFFSET = 0.02  # of the offset, as a share of the dense network
_LOCAL = 0.01  # of what else is wrong about plans near a measured one, as a share of the dense network
_LEAST_NOISE = 0.003  # of a measured share: runs in another process or minute differ so much
_FACTORS = (0.5, 2.0)  # beyond these the offset takes the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One plan that ran: `measured` is its total in the table's scale, `noise` a standard deviation in it."""

    choice: Choice
    measured: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Way to run → factor on the costs of the options that run so; and what is added to the whole."""

    factors: Mapping[str, float] = field(default_factory=dict)
    offset: float = 0.0

    @property
    def text(self) -> str:
        """ "group by direct x1.08, offset +0.12"; for people."""
        parts = [f"{way} x{factor:.3f}" for way, factor in sorted(self.factors.items())]
        return ", ".join([*parts, f"offset {self.offset:+.3g}"] if self.offset else parts) or "none"


def ways_of(built: Built) -> tuple[tuple[str, ...], ...]:
    """Per layer and option how it runs, "group by direct" or "width"; "" where that is as the dense layer runs.

    Those layers are in the dense network, too, whose whole was measured, so there is nothing to correct.
    """
    found = []
    for name, options in zip(built.table.layers, built.table.options, strict=True):
        runs = zip(options, built.methods[name], strict=True)
        found.append(tuple(_way(option.pattern, method) for option, method in runs))
    return tuple(found)


def _way(pattern: str, method: str) -> str:
    inner = inner_name(pattern)  # "channel" of "width+channel": the same kernels, in a layer of fewer channels
    if inner != "dense" and method not in ("dense", "packed"):
        return f"{inner} by {method}"
    return "" if inner == pattern else "width"


def fit(built: Built, key: str, evidence: Sequence[Evidence], *, limit: float) -> Correction:
    """The most likely factors and offset, given what ran, and right about the plan nearest to `limit`.

    With V_w what the layers that run by way w take in the table, and B the rest of the network,

        measured = B + Σ_w (c + d_w) V_w + o,    c ~ N(1, 0.15²), d_w ~ N(0, 0.07²), o ~ N(0, (2 % of dense)²)

    and independent errors of the measurements: linear regression with a Gaussian prior, in closed form. One plan says
    little about several ways, and then their factors stay together; plans that use them differently tell them apart.
    What the nearest plan still differs by goes to the offset, as far as it is not the noise of its measurement: so near
    the limit the table is right whatever the model misses.

    Args:
        built: the table as it was before any correction.
        key: a column of it; "peak_memory" gets an offset alone.
        evidence: plans that ran, one or more.
        limit: in the table's scale.
    """
    table = built.table
    dense = table.total(key, table.dense) or 1.0
    totals = np.array([table.total(key, item.choice) for item in evidence])
    measured = np.array([item.measured for item in evidence])
    noise = np.array([item.noise for item in evidence])
    taken = [_taken(built, key, item.choice) if key in table.costs else {} for item in evidence]
    names = sorted({name for amounts in taken for name in amounts})
    amounts = np.array([[found.get(name, 0.0) for name in names] for found in taken]).reshape(len(evidence), len(names))
    more, offset = _regress(amounts / dense, (measured - totals) / dense, noise / dense)
    factors = {name: float(np.clip(1 + x, *_FACTORS)) for name, x in zip(names, more, strict=True)}
    fitted = totals + amounts @ (np.array([factors[name] for name in names]) - 1) + offset * dense
    nearest = int(np.argmin(np.abs(measured - limit)))
    # Of a difference with variance local² + noise² the first part is the table's.
    share = (_LOCAL * dense) ** 2 / ((_LOCAL * dense) ** 2 + noise[nearest] ** 2)
    return Correction(factors=factors, offset=float(offset * dense + share * (measured[nearest] - fitted[nearest])))


def _regress(amounts: Floats, excess: Floats, noise: Floats) -> tuple[Floats, float]:
    """(W,) what each way takes more than the table says, as a share of what it takes; and the offset."""
    rounds, ways = amounts.shape
    # unknowns: c − 1, d_1 … d_W, o
    design = np.hstack([amounts.sum(axis=1, keepdims=True), amounts, np.ones((rounds, 1))])
    weights = 1 / np.maximum(noise, _LEAST_NOISE) ** 2
    prior = np.diag([_COMMON**-2, *[_APART**-2] * ways, _OFFSET**-2])
    found = np.linalg.solve(design.T @ (weights[:, None] * design) + prior, design.T @ (weights * excess))
    return found[0] + found[1:-1], float(found[-1])


def _taken(built: Built, key: str, choice: Choice) -> dict[str, float]:
    """Way to run → what the chosen options that run so take together."""
    found: dict[str, float] = defaultdict(float)
    for ways, column, k in zip(ways_of(built), built.table.costs[key], choice, strict=True):
        if ways[k]:
            found[ways[k]] += float(column[k])
    return dict(found)


def corrected(built: Built, key: str, correction: Correction) -> Built:
    """The same with one cost corrected: the options that run by a way times its factor, the offset in the constant."""
    table = built.table
    if key == "peak_memory":
        return replace(built, table=_shifted_peak(table, correction.offset))
    columns = tuple(
        column * np.array([correction.factors.get(way, 1.0) for way in ways])
        for ways, column in zip(ways_of(built), table.costs[key], strict=True)
    )
    constants = {**table.constants, key: table.constants.get(key, 0.0) + correction.offset}
    return replace(built, table=replace(table, costs={**table.costs, key: columns}, constants=constants))


def _shifted_peak(table: CostTable, offset: float) -> CostTable:
    if table.peaks is None:
        return table
    return replace(table, peaks=replace(table.peaks, base=table.peaks.base + offset))
