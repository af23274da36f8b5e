"""From a choice on the table to a Plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.patterns.option import Option
from advisor.planning.budgets import COSTS, TIMES, cost_text
from advisor.planning.build import Built
from advisor.planning.connect import Connections, connect
from advisor.planning.table import Choice

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import CostLine, Plan, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good the choice is: the solver's numbers, or those of a baseline, which proves nothing."""

    objective: float
    bound: float
    gap: float
    seconds: float
    status: Status


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
    options = {name: choices[k] for name, choices, k in zip(table.layers, table.options, choice, strict=True)}
    levels = {
        group.name: group.levels[level]
        for group, level in zip(table.groups, table.levels_of(choice), strict=True)
        if level
    }
    made = connect(network, options, seed=style.seed, selection=style.selection, levels=levels, rounding=style.rounding)
    layers = [
        PlanLayer.of(
            layer,
            options[layer.name],
            seed=made.seeds[layer.name],
            selection="magnitude" if made.chosen and layer.name in made.chosen else "random",
            rewired=made.rewired.get(layer.name, ()),
            dropped=made.dropped.get(layer.name, ()),
            kept=made.kept.get(layer.name),
        )
        for layer in network.sparsifiable
    ]
    timed = profile if built.time_key else None
    lines = _lines(network, built, choice, options, made, limits, timed)
    remarks = (
        *notes,
        *_remarks(network, built, choice, options),
        *_memory(network, options, limits),
        *_uncertain(lines),
        *built.notes,
        *made.notes,
    )
    return Plan(
        model=network.name,
        input_shapes=network.input_shapes,
        layers=tuple(layers),
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
        notes=tuple(dict.fromkeys(remarks)),
        chosen=made.chosen,
        network=network,
    )


def _lines(
    network: Network,
    built: Built,
    choice: Choice | Sequence[int],
    options: Mapping[str, Option],
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
            from advisor.devices.compose import predict_options

            predicted = predict_options(network, profile, options, training=key == "training_latency")
            low, high = min(predicted.low_ms, found[key]), max(predicted.high_ms, found[key])
        lines[key] = CostLine(dense=dense[key], plan=found[key], budget=limits.get(key), low=low, high=high)
    return lines


def _uncertain(lines: Mapping[str, CostLine]) -> list[str]:
    """Budgets that the plan meets, though its interval reaches over them."""
    return [
        f"{key} is predicted within its budget of {cost_text(key, line.budget)}, but its interval reaches "
        f"{cost_text(key, line.high)}; measure it (advisor latency --plan --verify)"
        for key, line in lines.items()
        if line.budget is not None and line.high is not None and line.high > line.budget
    ]


def _remarks(
    network: Network, built: Built, choice: Choice | Sequence[int], options: Mapping[str, Option]
) -> list[str]:
    """What a reader of the plan has to know: patterns that save no time, and times that were not measured."""
    from advisor.runtime.execution import method_of

    training = built.time_key == "training_latency"
    slow: Counter[str] = Counter()
    saved: dict[str, float] = defaultdict(float)
    for layer in network.sparsifiable:
        option = options[layer.name]
        masked = option.pattern not in ("dense", "width")
        if masked and method_of(layer, option, training=training) in ("dense", "packed"):
            slow[option.pattern] += 1
            saved[option.pattern] += _saved_ms(built, layer.name, choice)
    remarks = []
    for name, count in sorted(slow.items()):
        text = f"{name} runs masked here on {count} layers, as no kernel is faster than the dense one"
        remarks.append(f"{text}: {saved[name]:.3g} ms saved" if built.time_key else f"{text}: it saves no time")
    if built.times is not None:
        origins = Counter(built.times.origins[name][k] for name, k in zip(built.table.layers, choice, strict=True))
        parts = [f"{origins[kind]} {kind}" for kind in ("measured", "predicted", "extrapolated") if origins[kind]]
        remarks.append(f"{built.time_key} of the plan's {len(options)} layers: {', '.join(parts)}")
    return remarks


def _memory(network: Network, options: Mapping[str, Option], limits: Mapping[str, float]) -> list[str]:
    """Where a limited memory is that of the stored network, and a run takes more."""
    from advisor.runtime.execution import method_of

    methods = Counter(
        method_of(layer, options[layer.name])
        for layer in network.sparsifiable
        if options[layer.name].pattern not in ("dense", "width")
    )
    limited = [key for key in ("weight_memory", "peak_memory") if key in limits]
    remarks = []
    if limited and methods["dense"]:
        remarks.append(
            f"{' and '.join(limited)} count kept values and their positions, as stored; while they run, the weights of "
            f"{methods['dense']} masked layers are dense"
        )
    if "peak_memory" in limits and methods["gather"]:
        remarks.append(f"peak_memory leaves out the copies that {methods['gather']} layers gather their inputs into")
    return remarks


def _saved_ms(built: Built, name: str, choice: Choice | Sequence[int]) -> float:
    if built.time_key is None:
        return 0.0
    index = built.table.layers.index(name)
    column = built.table.costs[built.time_key][index]
    return float(column[built.table.dense[index]] - column[choice[index]])


def _settings(profile: Profile | None) -> Mapping[str, Any] | None:
    if profile is None or profile.settings is None:
        return None
    from dataclasses import asdict

    return asdict(profile.settings)
