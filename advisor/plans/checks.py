"""Whether a plan agrees with itself. Nothing here allocates more than the plan's own text."""

from __future__ import annotations

from math import prod

from advisor.errors import PatternError, PlanError
from advisor.patterns.base import pattern
from advisor.patterns.width import LISTED
from advisor.plans.attention import problem as attention_problem
from advisor.plans.plan import Plan, PlanLayer
from advisor.plans.ranges import count
from advisor.plans.ranges import problem as ranges_problem
from advisor.runtime.methods import ways

TABLE = "table"  # the kind of layers that only a cost table knows
# Four times the largest weight in public networks (a vocabulary of 256k times 16k); a mask takes a byte for each.
MAX_WEIGHTS = 2**34


def check_plan(plan: Plan, where: str = "") -> None:
    """Refuses a plan whose masks could not be made. `where` names the file in errors.

    Raises:
        PlanError: the first layer that makes no sense, and why.
    """
    label = f"plan {where}" if where else f"plan for {plan.model!r}"
    if plan.of_table:
        return _check_table_layers(plan, label)
    names: set[str] = set()
    sharers: dict[str, PlanLayer] = {}
    for layer in plan.layers:
        if layer.name in names:
            raise PlanError(f"{label}: layer {layer.name!r} is there twice")
        names.add(layer.name)
        if reason := layer_problem(layer):
            raise PlanError(f"{label}: layer {layer.name}: {reason}")
        first = sharers.setdefault(layer.weight, layer)
        if first is not layer:
            raise PlanError(
                f"{label}: layers {first.name} and {layer.name} both thin out {layer.weight}; name one layer per weight"
            )
    for attention in plan.attention:
        if attention.name in names:
            raise PlanError(f"{label}: layer {attention.name!r} is there twice")
        names.add(attention.name)
        if reason := attention_problem(attention):
            raise PlanError(f"{label}: layer {attention.name}: {reason}")
    weights = {layer.name for layer in plan.layers}
    for name in plan.chosen or {}:
        if name not in weights or not plan.layer(name).is_chosen:
            raise PlanError(f"{label}: chosen connections for {name!r}, a layer that has none to choose")


def check_has_network(plan: Plan) -> None:
    """Refuses a plan that was made from a cost table where one of a network is needed.

    Raises:
        PlanError: it has no network.
    """
    if plan.of_table:
        raise PlanError(
            f"plan for {plan.model!r}: it was made from a cost table, so it has no network and no masks; "
            "plan the network itself (advisor plan MODEL) to get one that can be applied"
        )


def _check_table_layers(plan: Plan, label: str) -> None:
    if plan.attention:
        raise PlanError(
            f"{label}: layer {plan.attention[0].name} is an attention layer, though the plan has no network"
        )
    names: set[str] = set()
    for layer in plan.layers:
        if layer.name in names:
            raise PlanError(f"{label}: layer {layer.name!r} is there twice")
        if layer.kind != TABLE or layer.weight:
            raise PlanError(f"{label}: layer {layer.name} has a weight, though the plan was made from a table")
        names.add(layer.name)


def layer_problem(layer: PlanLayer) -> str:
    """Why this layer's mask could not be made; "" where it can."""
    if reason := _shape_problem(layer):
        return reason
    try:
        reason = pattern(layer.pattern).problem(layer.layer, layer.option)
    except PatternError as error:
        return str(error)
    if reason:
        return f"{layer.option.label}: {reason}"
    return _repair_problem(layer) or _kept_problem(layer) or _method_problem(layer)


def _shape_problem(layer: PlanLayer) -> str:
    spatial = len(layer.weight_shape) - 2
    expected = 0 if layer.kind == "linear" else int(layer.kind[-2])
    if spatial != expected:
        return f"a {layer.kind} has a weight of {expected + 2} sizes, got {layer.weight_shape}"
    if prod(layer.weight_shape) > MAX_WEIGHTS:
        return f"{prod(layer.weight_shape):,} weights are more than {MAX_WEIGHTS:,}"
    if layer.weight_shape[0] % layer.groups or (layer.kind == "linear" and layer.groups != 1):
        return f"{layer.groups} groups do not fit a {layer.kind} of {layer.weight_shape}"
    return ""


def _method_problem(layer: PlanLayer) -> str:
    if layer.method in (None, "dense", "packed"):
        return ""
    possible = {m for device in ("cpu", "cuda") for m in ways(layer.layer, layer.option, device=device)}
    if layer.method in possible:
        return ""
    return f"a {layer.kind} with pattern {layer.pattern!r} cannot run by method {layer.method!r}"


def _repair_problem(layer: PlanLayer) -> str:
    if not layer.rewired and not layer.dropped:
        return ""
    smaller, option = layer.thinned
    if option.pattern not in ("channel", "group"):
        return f"pattern {layer.pattern!r} has no connections that could be rewired or dropped"
    rows, inputs = pattern(option.pattern).unit_shape(smaller, option)
    for row, given, taken in layer.rewired:
        if row >= rows or given >= inputs or taken >= inputs or given == taken:
            return f"rewired connection ({row}, {given}, {taken}) is outside {rows} rows of {inputs} inputs"
    if layer.dropped and (option.pattern != "channel" or max(layer.dropped) >= rows):
        return f"dropped rows reach beyond the {rows} of pattern {layer.pattern!r}"
    if any(a >= b for a, b in zip(layer.dropped, layer.dropped[1:], strict=False)):
        return "dropped rows do not ascend"
    return ""


def _kept_problem(layer: PlanLayer) -> str:
    if not layer.is_narrowed:
        return "only width keeps channels" if layer.kept_inputs or layer.kept_outputs else ""
    if layer.parameters.get("rounding") == LISTED and not (layer.kept_inputs and layer.kept_outputs):
        return f"rounding {LISTED!r} stands for kept_inputs and kept_outputs, which are missing"
    if not layer.kept_inputs and not layer.kept_outputs:
        return ""
    full = layer.layer
    for ranges, side, size, wanted in (
        (layer.kept_inputs, "inputs", full.in_channels, layer.parameters["in_channels"]),
        (layer.kept_outputs, "outputs", full.out_channels, layer.parameters["out_channels"]),
    ):
        if reason := ranges_problem(ranges, size):
            return f"kept {side}: {reason}"
        if count(ranges) != wanted:
            return f"kept {side}: {count(ranges)} channels, expected {wanted}"
    return ""
