"""What a plan of a network was chosen from, for its explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.planning.constraints.restrict import restrict
from advisor.planning.explaining.explanation import Basis

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.planning.problem import Problem
    from advisor.planning.solving.solve import Solution


def basis_of(problem: Problem, found: Solution, limits: Mapping[str, float]) -> Basis:
    """One solution of a problem within `limits`, with what was asked of single layers."""
    table = problem.built.table
    left = restrict(table, problem.constraints) if problem.constraints.rules else None
    return Basis(
        table=table,
        choice=found.choice,
        limits=limits,
        prices=found.prices,
        allowed=left.kept if left is not None else (),
        asked={name: text for name in table.layers if (text := problem.constraints.text_of(name))},
        fixed=why_dense(problem.network, problem.style.patterns) | dict(problem.built.menu.attention.fixed),
        methods=problem.built.methods,
    )


def why_dense(network: Network, patterns: Sequence[str]) -> dict[str, str]:
    """Layer → why it would have no option but dense: it is an end, or no pattern is legal for it."""
    from advisor.patterns.base import DENSITIES, pattern
    from advisor.patterns.candidates import end_layers

    ends = end_layers(network)
    found = {}
    for layer in network.sparsifiable:
        names = [name for name in patterns if "width" not in name and name not in ("dense", HIERARCHICAL)]
        able = any(pattern(name).options(layer, DENSITIES) for name in names)
        if able and layer.name in ends:
            found[layer.name] = f"it {ends[layer.name]}, and the ends were not to be thinned out (--include-ends)"
        elif not able:
            found[layer.name] = f"it takes none of {', '.join(patterns)}"
    return found
