"""From a choice on the table to a Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from advisor.patterns.option import DENSE, Option
from advisor.planning.budgets import COSTS, TIMES
from advisor.planning.build import Built
from advisor.planning.connect import Connections, connect
from advisor.planning.remarks import attention_remarks, is_masked, memory_remarks, remarks, uncertain
from advisor.planning.solving.shadow import binding
from advisor.planning.table import Choice

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.planning.menu.attention import AttentionMenu
    from advisor.plans.attention import PlanAttention
    from advisor.plans.plan import CostLine, Plan, Selection, Status
    from advisor.runtime.methods import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good the choice is: the solver's numbers, or those of a baseline, which proves nothing."""

    objective: float
    bound: float
    gap: float
    seconds: float
    status: Status
    prices: Mapping[str, float] = field(default_factory=dict)  # cost → loss per unit, as in `Solution`


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the user asked for beside the budgets, as the plan records it."""

    patterns: tuple[str, ...]
    sensitivity: str
    selection: str = "random"
    rounding: str = "ceil"
    seed: int = 0


def assemble(
    network: Network,
    built: Built,
    choice: Choice | Sequence[int],
    quality: Quality,
    style: Style,
    *,
    limits: Mapping[str, float],
    profile: Profile | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of one choice: connections drawn, dead channels repaired, every cost beside its dense value."""
    from advisor.plans.plan import Plan, PlanLayer

    table = built.table
    picked = {name: choices[k] for name, choices, k in zip(table.layers, table.options, choice, strict=True)}
    options = {layer.name: picked[layer.name] for layer in network.sparsifiable}
    levels = {
        group.name: group.levels[level]
        for group, level in zip(table.groups, table.levels_of(choice), strict=True)
        if level
    }
    methods = {name: built.methods[name][k] for name, k in zip(table.layers, choice, strict=True)}
    made = connect(
        network,
        options,
        seed=style.seed,
        selection=style.selection,
        levels=levels,
        rounding=style.rounding,
        given=built.given,
    )
    layers = [
        PlanLayer.of(
            layer,
            options[layer.name],
            seed=made.seeds[layer.name],
            selection=cast("Selection", style.selection) if made.chosen and layer.name in made.chosen else "random",
            rewired=made.rewired.get(layer.name, ()),
            dropped=made.dropped.get(layer.name, ()),
            kept=made.kept.get(layer.name),
            method=methods[layer.name] if built.time_key and is_masked(options[layer.name]) else None,
        )
        for layer in network.sparsifiable
    ]
    replaced = replaced_attention(built.menu.attention, picked, seed=style.seed)
    timed = profile if built.time_key else None
    lines = _lines(network, built, choice, options, methods, made, limits, timed)
    told = (
        *notes,
        *remarks(built, choice, options, methods),
        *memory_remarks(options, methods, limits),
        *uncertain(lines),
        *built.notes,
        *made.notes,
        *attention_remarks(replaced, limits),
    )
    return Plan(
        model=network.name,
        input_shapes=network.input_shapes,
        layers=tuple(layers),
        attention=replaced,
        costs=lines,
        objective=quality.objective,
        bound=quality.bound,
        gap=quality.gap,
        solve_seconds=quality.seconds,
        status=quality.status,
        sensitivity=style.sensitivity,
        patterns=style.patterns,
        seed=style.seed,
        rounding=style.rounding,
        profile=timed.name if timed else None,
        settings=_settings(timed),
        notes=tuple(dict.fromkeys(told)),
        binding=binding(quality.prices, limits, quality.objective),
        chosen=made.chosen,
        network=network,
    )


def replaced_attention(menu: AttentionMenu, picked: Mapping[str, Option], *, seed: int) -> tuple[PlanAttention, ...]:
    """The attention layers that are not to stay plain, each with the seed of its new projections."""
    from advisor.patterns.base import layer_seed
    from advisor.plans.attention import PlanAttention

    return tuple(
        PlanAttention.of(site, picked[name], seed=layer_seed(seed, name))
        for name, site in menu.sites.items()
        if picked.get(name, DENSE).pattern != "dense"
    )


def _lines(
    network: Network,
    built: Built,
    choice: Choice | Sequence[int],
    options: Mapping[str, Option],
    methods: Mapping[str, Method],
    made: Connections,
    limits: Mapping[str, float],
    profile: Profile | None,
) -> dict[str, CostLine]:
    from advisor.plans.plan import CostLine

    dense, found = built.table.totals(built.table.dense), built.table.totals(choice)
    for key, amount in made.saved.items():
        found[key] -= amount
    if "peak_memory" in found:
        found["peak_memory"] -= made.saved.get("weight_memory", 0)
    lines = {}
    for key in COSTS:
        if key not in found:
            continue
        low = high = None
        if key in TIMES and profile is not None:
            from advisor.devices.predicting.compose import predict_options

            predicted = predict_options(network, profile, options, training=key == "training_latency", methods=methods)
            low, high = min(predicted.low_ms, found[key]), max(predicted.high_ms, found[key])
        lines[key] = CostLine(dense=dense[key], plan=found[key], budget=limits.get(key), low=low, high=high)
    return lines


def _settings(profile: Profile | None) -> Mapping[str, Any] | None:
    if profile is None or profile.settings is None:
        return None
    from dataclasses import asdict

    return asdict(profile.settings)
