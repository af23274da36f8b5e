"""What an explanation is made of, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from advisor.planning.table import Choice, CostTable, Floats, Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Another option instead of the chosen one, everything else as it is.

    Attributes:
        option: its label; of a width group its factor.
        costs: budgeted cost → how much more the network would cost, in the cost's unit; negative for less.
        loss: how much more it would lose; negative for less.
        worth: what these costs are worth in loss, at the budgets' shadow prices: negative for what is freed.
        fits: whether all budgets would still be met.
    """

    option: str
    costs: Mapping[str, float]
    loss: float
    worth: float
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One layer, or one width group (`layers` are those that follow it), and its neighbours on the table.

    Attributes:
        name: the layer's or the group's.
        option: the label of what was chosen; of a width group its factor.
        method: by which method it runs; "" where the table does not say.
        asked: what the user asked of it, "pin dense"; "" for nothing.
        fixed: why it has no other option; "" where it has.
        saves: budgeted cost → what it takes less than dense; of a group with all its layers.
        loss: what it loses.
        down: the nearest option that costs less at the budgets' prices and loses more; None where there is none.
        up: the nearest one that costs more and loses less.
        text: all of it in words.
    """

    name: str
    layers: tuple[str, ...]
    option: str
    method: str = ""
    asked: str = ""
    fixed: str = ""
    saves: Mapping[str, float] = field(default_factory=dict)
    loss: float = 0.0
    down: Step | None = None
    up: Step | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Every layer in the table's order, then every width group. `prices`: budgeted cost → loss per unit."""

    prices: Mapping[str, float]
    left: Mapping[str, float]  # budgeted cost → what of the budget is not used
    reasons: tuple[Reason, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        return {
            "prices": dict(self.prices),
            "left": dict(self.left),
            "reasons": [asdict(reason) | {"layers": list(reason.layers)} for reason in self.reasons],
        }


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What a plan was chosen from: all that its explanation needs.

    Attributes:
        table: with every option of every layer.
        choice: (L,) what was chosen.
        limits: budgeted cost → limit in its unit.
        prices: cost → shadow price, as `Solution.prices`; where all are 0 the first budget's own scale orders options.
        allowed: per layer the options that the user left, all where empty.
        asked: layer → what the user asked of it.
        fixed: layer → why it has one option alone.
        methods: layer → per option by which method it runs.
    """

    table: CostTable
    choice: Choice
    limits: Mapping[str, float]
    prices: Mapping[str, float] = field(default_factory=dict)
    allowed: Sequence[Sequence[int] | Choice] = ()
    asked: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def options_left(self, index: int) -> Sequence[int]:
        """The options of a layer that the user left."""
        if len(self.allowed):
            return [int(k) for k in self.allowed[index]]
        return range(len(self.table.options[index]))

    def alike(self, index: int, needs: Requirement | Sequence[tuple[int, int]]) -> list[int]:
        """Those of them that want these levels of the width groups beside the layer."""
        wanted = sorted(needs)
        return [k for k in self.options_left(index) if sorted(self.table.requires[index][k]) == wanted]

    def column(self, key: str, index: int) -> Floats:
        """(K,) what a layer's options cost; of the peak of memory a layer's share is that of its weights."""
        return self.table.costs["weight_memory" if key == "peak_memory" else key][index]
