"""A plan: one option per layer, what it costs, and how good the answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advisor.errors import PlanError
from advisor.network import Layer, Network, Shape
from advisor.patterns.narrowed import is_narrowed, thinned
from advisor.patterns.option import NOTHING, Option
from advisor.plans.ranges import Ranges, to_ranges
from advisor.plans.relaxation import Relaxation
from advisor.plans.rounds import Round

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from advisor.planning.explaining.explanation import Basis, Explanation
    from advisor.plans.attention import PlanAttention
    from advisor.runtime.methods import Method

Selection = Literal["random", "magnitude", "taylor", "fisher", "trained"]  # trained: found while training
Status = Literal["optimal", "time limit", "baseline"]
Rewired = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLayer:
    """The choice for one layer, with all that its mask needs. `PlanLayer.of` makes one from a layer and an option.

    Attributes:
        density: what was asked for; the pattern rounds it.
        seed: of this layer's draw (32 bits).
        selection: "random", or by what the connections were chosen: then they stand in the plan's `chosen`.
        parameters: the pattern's own, as in `Option`.
        weight: dotted name of the weight parameter; `weight_shape` as it is stored.
        kind: as in `Layer`; it says how a weight is stored. Left out: a plain convolution or linear layer.
        is_module: as in `Layer`; False where others use the weight.
        rewired: what the repair of dead channels then moved, in order: (row, input given up, input taken). Rows and
            inputs count in the layer that width leaves.
        dropped: output rows that it emptied.
        kept_inputs: width: the channels that stay, over all groups; `kept_outputs` likewise.
        method: by which method it runs fastest, as the plan's profile knows; None where no profile was asked.
    """

    name: str
    pattern: str
    density: float
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    weight: str
    weight_shape: Shape
    kind: str = ""
    groups: int = 1
    is_module: bool = True
    selection: Selection = "random"
    rewired: Rewired = ()
    dropped: tuple[int, ...] = ()
    kept_inputs: Ranges = ()
    kept_outputs: Ranges = ()
    method: Method | None = None

    def __post_init__(self) -> None:
        if not self.kind:
            taps = len(self.weight_shape) - 2
            object.__setattr__(self, "kind", f"conv{taps}d" if taps else "linear")

    @classmethod
    def of(
        cls,
        layer: Layer,
        option: Option,
        *,
        seed: int,
        selection: Selection = "random",
        rewired: Rewired = (),
        dropped: tuple[int, ...] = (),
        kept: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
        method: Method | None = None,
    ) -> PlanLayer:
        """The choice `option` for `layer`. `kept`: width's input and output channels that stay, ascending."""
        if layer.weight is None:
            raise PlanError(f"layer {layer.name}: a {layer.kind} has no weight that a pattern could thin out")
        inputs, outputs = kept if kept is not None else ((), ())
        return cls(
            name=layer.name,
            pattern=option.pattern,
            density=option.density,
            seed=seed,
            parameters=option.parameters,
            weight=layer.weight,
            weight_shape=layer.weight_shape,
            kind=layer.kind,
            groups=layer.groups,
            is_module=layer.is_module,
            selection=selection,
            rewired=rewired,
            dropped=dropped,
            kept_inputs=to_ranges(inputs),
            kept_outputs=to_ranges(outputs),
            method=method,
        )

    @property
    def is_narrowed(self) -> bool:
        """Whether width leaves it fewer channels."""
        return is_narrowed(self.option)

    @property
    def is_masked(self) -> bool:
        """Whether connections go within the channels that it has."""
        return self.pattern not in ("dense", "width")

    @property
    def thinned(self) -> tuple[Layer, Option]:
        """The layer with the channels that width leaves it, and what is masked in it; see `patterns.narrowed`."""
        return thinned(self.layer, self.option)

    @property
    def is_chosen(self) -> bool:
        """Whether its connections stand in the plan's `chosen`, since weights and no seed picked them."""
        return self.selection != "random" and self.pattern not in ("dense", "width")

    @property
    def option(self) -> Option:
        return Option(pattern=self.pattern, density=self.density, parameters=self.parameters)

    @property
    def layer(self) -> Layer:
        """The layer as far as a plan knows it: its weight, without calls and counts."""
        return Layer(
            name=self.name,
            kind=self.kind,
            params=0,
            macs=0,
            activation_elements=0,
            input_shape=(),
            output_shape=(),
            weight=self.weight,
            weight_shape=self.weight_shape,
            groups=self.groups,
            is_module=self.is_module,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One cost of the whole network, in the unit of its key.

    `low` to `high` is a predicted time's interval, or the 95 % interval of what was measured (the plan has `rounds`).
    """

    dense: float
    plan: float
    budget: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A budget that holds the plan back: by how much one unit more of it would lower the loss, in numbers and words.

    The shadow price is that of the linear relaxation, so it says what a little more is worth, near enough.
    """

    cost: str
    shadow_price: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `advisor.plan` returns.

    Attributes:
        layers: every layer that could be thinned out, dense ones too, in order of execution.
        objective: estimated loss; `bound` is what no plan can get below; `gap` = (objective - bound) / |objective|.
            Both are NaN where nobody looked for the best plan (baselines).
        binding: the budgets that hold it back, the most valuable first; empty where nobody looked.
        rounding: how width rounds channel counts: "ceil" or "multiple8".
        profile: name of the profile that gave the times, with the `settings` it was measured under.
        chosen: layer → connections in the pattern's units (bool), before the repair of dead channels, for every
            masked layer whose `selection` is not "random"; of the layer that width leaves, where it narrows. Saved
            beside the plan as safetensors.
        network: the analysis that the plan was made from; not saved.
        basis: gives the table and the choice behind it, which `explain` reads; not saved.
        rounds: what `advisor.refine` measured on the way here; the costs that it names are measured ones.
        attention: attention layers that become hierarchical; their projections are among `layers`. In a plan file both
            stand under "layers".
        of_table: made from a cost table: no network stands behind it, so it has no masks and cannot be applied. Its
            layers have kind "table" and no weight; patterns are called what the table calls them.
        continuous: what leaving the grid of densities gained; None where nobody asked.
    """

    model: str
    input_shapes: tuple[Shape, ...]
    layers: tuple[PlanLayer, ...]
    costs: Mapping[str, CostLine]
    objective: float
    bound: float
    gap: float
    solve_seconds: float
    status: Status
    sensitivity: str
    patterns: tuple[str, ...]
    seed: int
    rounding: str = "ceil"
    profile: str | None = None
    settings: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    binding: tuple[Binding, ...] = ()
    rounds: tuple[Round, ...] = ()
    chosen: Mapping[str, np.ndarray] | None = field(default=None, repr=False, compare=False)
    network: Network | None = field(default=None, repr=False, compare=False)
    basis: Callable[[], Basis] | None = field(default=None, repr=False, compare=False)
    of_table: bool = False
    attention: tuple[PlanAttention, ...] = ()
    continuous: Relaxation | None = None

    def layer(self, name: str) -> PlanLayer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def explain(self) -> Explanation:
        """Why each layer got its option: what it saves, and what the next steps down and up would change.

        Raises:
            PlanError: the plan was loaded from a file, which does not hold the table that it was chosen from.
        """
        from advisor.planning.explaining.explain import explain

        if self.basis is None:
            raise PlanError(
                f"plan for {self.model!r}: it does not hold the table that it was chosen from; make it anew "
                "(advisor plan --explain)"
            )
        return explain(self.basis())

    def apply(
        self, model: torch.nn.Module, *, for_inference: bool = False, example_inputs: Any = None
    ) -> torch.nn.Module:
        """The module with this plan's layers in it; `model` itself is left as it was. See `advisor.plans.apply`."""
        from advisor.plans.apply import apply_plan

        return apply_plan(self, model, for_inference=for_inference, example_inputs=example_inputs).module

    def masks(self, model: torch.nn.Module | None = None) -> dict[str, torch.Tensor]:
        """Layer → which weights stay: bool, in the weight's stored shape, the same on every machine.

        Args:
            model: checked for names and shapes first.

        Raises:
            PlanError: the plan belongs to another network; the first difference is named.
        """
        from advisor.plans.masks import masks

        return masks(self, model)

    def save(self, path: str | Path) -> None:
        """Writes the plan, and the chosen connections beside it where there are any, each in one piece."""
        from advisor.plans.document import save_plan

        save_plan(self, path)

    def to_json(self) -> dict[str, Any]:
        """The plan file as a document, without the name of the chosen connections' file, which `save` adds."""
        from advisor.plans.document import to_document

        return to_document(self)


def load_plan(path: str | Path) -> Plan:
    """Reads a plan file that anyone may have written.

    Raises:
        PlanError: one line: unreadable, not this schema, or not consistent with itself or with its connections file.
    """
    from advisor.plans.document import read_plan

    return read_plan(path)
