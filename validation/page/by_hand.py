"""A plan changed by hand: one option or one width after the other, with all totals at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from advisor.planning.budgets import COSTS
from advisor.planning.explaining.explain import explain, with_level
from advisor.planning.explaining.explanation import Basis, Explanation
from advisor.planning.table import Choice


@dataclass(frozen=True, kw_only=True)
class Total:
    """One cost of the plan, and of the plan as it was changed; `budget` where it is limited."""

    key: str
    dense: float
    plan: float
    now: float
    budget: float | None

    @property
    def met(self) -> bool:
        return self.budget is None or self.now <= self.budget


@dataclass(kw_only=True)
class ByHand:
    """What one session did to one plan.

    Attributes:
        basis: the table that the plan was chosen from.
        choice: (L,) as it stands now; starts as the plan's.
        turn: counts the changes from outside the widgets, so that widgets start anew with what is chosen.
    """

    basis: Basis
    choice: Choice = field(default_factory=lambda: np.zeros(0, np.int64))
    turn: int = 0
    _told: dict[bytes, Explanation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.choice):
            self.choice = self.basis.choice.copy()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Layers with a choice, then width groups that can move, as "width of GROUP"."""
        table = self.basis.table
        layers = [name for name, options in zip(table.layers, table.options, strict=True) if len(options) > 1]
        groups = [f"width of {group.name}" for g, group in enumerate(table.groups) if len(self.levels(g)) > 1]
        return (*layers, *groups)

    def options(self, subject: str) -> tuple[tuple[str, ...], int]:
        """The labels that a subject can take as all else stands now, densest first, and the place of the chosen one."""
        table = self.basis.table
        if subject not in table.layers:
            g = self._group(subject)
            levels, at = self.levels(g), table.levels_of(self.choice)[g]
            return tuple(f"{table.groups[g].levels[v]:.4g}" for v in levels), levels.index(at)
        index = table.layers.index(subject)
        places = self._places(index)
        return tuple(table.options[index][k].label for k in places), places.index(int(self.choice[index]))

    def levels(self, g: int) -> list[int]:
        """The levels that all layers of a width group have an option for now, the widest first."""
        at = self.basis.table.levels_of(self.choice)[g]
        group = self.basis.table.groups[g]
        able = [v for v in range(len(group.levels)) if v == at or with_level(self.basis, g, v, self.choice) is not None]
        return sorted(able, key=lambda v: -group.levels[v])

    def take(self, subject: str, place: int) -> None:
        """Chooses what stands at `place` of `options(subject)`."""
        table = self.basis.table
        if subject in table.layers:
            index = table.layers.index(subject)
            self.choice = self.choice.copy()
            self.choice[index] = self._places(index)[place]
            return
        g = self._group(subject)
        moved = with_level(self.basis, g, self.levels(g)[place], self.choice)
        self.choice = moved if moved is not None else self.choice

    def back(self) -> None:
        """To the plan as it was made."""
        self.choice = self.basis.choice.copy()
        self.turn += 1

    @property
    def changed(self) -> dict[str, tuple[str, str]]:
        """Layer → (its label in the plan, its label now)."""
        pairs = zip(self.basis.table.layers, self.basis.table.options, self.basis.choice, self.choice, strict=True)
        return {name: (options[a].label, options[b].label) for name, options, a, b in pairs if a != b}

    def totals(self) -> tuple[Total, ...]:
        """Every known cost, the limited ones first."""
        table = self.basis.table
        dense, plan = table.totals(table.dense), table.totals(self.basis.choice)
        now = table.totals(self.choice)
        order = [*self.basis.limits, *(key for key in COSTS if key in now and key not in self.basis.limits)]
        return tuple(
            Total(key=key, dense=dense[key], plan=plan[key], now=now[key], budget=self.basis.limits.get(key))
            for key in order
        )

    def losses(self) -> tuple[float, float]:
        """The estimated loss of the plan, and now."""
        return self.basis.table.objective(self.basis.choice), self.basis.table.objective(self.choice)

    def why(self, subject: str) -> str:
        """What the subject's option saves now, and what its neighbours would change."""
        key = self.choice.tobytes()
        if key not in self._told:
            self._told.clear()
            self._told[key] = explain(
                Basis(
                    table=self.basis.table,
                    choice=self.choice,
                    limits=self.basis.limits,
                    prices=self.basis.prices,
                    allowed=self.basis.allowed,
                    asked=self.basis.asked,
                    fixed=self.basis.fixed,
                    methods=self.basis.methods,
                )
            )
        name = subject.removeprefix("width of ")
        alone = subject in self.basis.table.layers
        reasons: Sequence[str] = [
            reason.text
            for reason in self._told[key].reasons
            if reason.name == name and (reason.layers == (name,)) is alone
        ]
        return reasons[0] if reasons else ""

    def _group(self, subject: str) -> int:
        names = [f"width of {group.name}" for group in self.basis.table.groups]
        return names.index(subject)

    def _places(self, index: int) -> list[int]:
        table = self.basis.table
        at = int(self.choice[index])
        able = {*self.basis.alike(index, table.requires[index][at]), at}
        options = table.options[index]
        return sorted(able, key=lambda k: (options[k].pattern != "dense", options[k].pattern, -options[k].density, k))
