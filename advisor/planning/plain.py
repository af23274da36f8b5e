"""Plans that nobody searched for: one width factor for a whole network, one density for all of its layers.

They are the two sides of the source paper's comparison (Changpinyo, Sandler and Zhmoginov 2017, Table 1): the depth
multiplier, and networks whose connections are drawn at random. Budgets play no part; `baselines` finds the largest such
plans within a plan's budgets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from advisor.errors import PatternError, unknown
from advisor.patterns.option import DENSE, Option
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.build import build_table
from advisor.planning.menu.combine import needed
from advisor.planning.menu.options import Menu

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.planning.menu.width import WidthLevels
    from advisor.planning.table import Requirement
    from advisor.plans.plan import Plan


def depth_multiplier(network: Network, alpha: float, *, rounding: str = "ceil", seed: int = 0) -> Plan:
    """Every layer's channels times alpha, on both sides (section 3.1); "depth" is the paper's word for channels.

    Parameters and multiply-adds fall to about alpha². Image channels and classes stay.

    Args:
        rounding: "ceil" keeps ⌈alpha n⌉ channels, as the text says. "multiple8" floors to a multiple of 8 and keeps 8
            at least, which is what the published rows fit.

    Raises:
        PatternError: alpha outside (0, 1], or an unknown rounding.
    """
    return random_connections(network, 1.0, width=alpha, rounding=rounding, seed=seed)


def random_connections(
    network: Network,
    density: float,
    *,
    width: float = 1.0,
    pattern: str = "channel",
    rounding: str = "ceil",
    seed: int = 0,
) -> Plan:
    """One density in every layer but the ends, its connections drawn from the seed (sections 3.2 and 5.1).

    With `channel` each output keeps ⌈density n⌉ inputs, at least one. What the draw left without a path from the image
    to the prediction is repaired, as in every plan.

    Args:
        network: the analysis.
        density: of each layer, as width leaves it, in (0, 1].
        width: factor of the depth multiplier beneath ("0.5 dm / 0.01" is a width of 0.5 and a density of 0.01).
        pattern: a masked pattern without parameters: "channel" or "unstructured".
        rounding: how width rounds.

    Raises:
        PatternError: density or width outside (0, 1], an unknown pattern or rounding, or a pattern with parameters.
    """
    from advisor.patterns.base import pattern as pattern_named
    from advisor.patterns.candidates import end_layers
    from advisor.patterns.narrowed import combined, thinned

    kind = pattern_named(pattern)
    if not 0 < density <= 1 or kind.parameters or pattern in ("dense", "width"):
        raise PatternError(
            f"pattern {pattern!r} at density {density}; expected a density in (0, 1] of channel or unstructured"
        )
    inner, ends = Option(pattern=pattern, density=density), end_layers(network)
    narrowed, levels = _narrowed(network, width, rounding)
    options: dict[str, tuple[Option, ...]] = {}
    requires: dict[str, tuple[Requirement, ...]] = {}
    for layer in network.sparsifiable:
        narrow, full, last = narrowed.get(layer.name, (DENSE, (), ()))
        smaller, chosen = thinned(layer, narrow)[0], narrow
        legal = layer.name not in ends and not kind.problem(smaller, inner)
        if legal and kind.kept_weights(smaller, inner) < smaller.weights:
            chosen = inner if narrow == DENSE else combined(narrow, inner)
        rows = [(DENSE, full)] if (chosen, last) == (DENSE, full) else [(DENSE, full), (chosen, last)]
        options[layer.name] = tuple(option for option, _ in rows)
        requires[layer.name] = tuple(requirement for _, requirement in rows)
    built = build_table(
        network,
        Menu(options=options, requires=requires, width=levels),
        sensitivity="uniform",
        wanted=("params", "macs"),
    )
    choice = [len(found) - 1 for found in options.values()]
    used = tuple(name for name, wanted in ((pattern, density < 1), ("width", width < 1)) if wanted)
    return assemble(
        network,
        built,
        choice,
        Quality(objective=built.table.objective(choice), bound=math.nan, gap=math.nan, seconds=0.0, status="baseline"),
        Style(patterns=used or ("dense",), sensitivity="uniform", rounding=rounding, seed=seed),
        limits={},
    )


def _narrowed(
    network: Network, width: float, rounding: str
) -> tuple[dict[str, tuple[Option, Requirement, Requirement]], WidthLevels | None]:
    """Layer → its option at the width, and what dense and that need of the width groups; layers without groups go."""
    from advisor.coupling import ROUNDINGS
    from advisor.planning.menu.width import width_levels

    if rounding not in ROUNDINGS:
        raise PatternError(unknown("rounding", rounding, ROUNDINGS))
    if width == 1:
        return {}, None
    levels = width_levels(network, (1.0, width), rounding)
    found = {}
    for sides in levels.layers:
        groups = (sides.inputs, sides.outputs)
        inputs, outputs = (len(levels.groups[g].levels) - 1 if g is not None else 0 for g in groups)
        option = sides.options[inputs, outputs]
        found[sides.name] = (option, needed(groups, (0, 0)), needed(groups, (inputs, outputs)))
    return found, levels if levels.groups else None
