"""Plans as JSON documents: checked by the published schema, then by what a schema cannot say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

from advisor.errors import PlanError
from advisor.files import read_json, write_bytes, write_json
from advisor.plans.attention import KIND as ATTENTION
from advisor.plans.attention import from_item, to_item
from advisor.plans.checks import TABLE, check_plan
from advisor.plans.chosen import connections_bytes, read_connections
from advisor.plans.kept import with_kept
from advisor.plans.plan import Binding, CostLine, Plan, PlanLayer
from advisor.plans.relaxation import Relaxation
from advisor.plans.rounds import rounds_document, rounds_from

SCHEMA_NAME = "sparsity-advisor/plan-1"
# Parameters of patterns as they stand flat in a layer, and their names in `PlanLayer.parameters`.
_PARAMETERS = {
    name: name
    for name in ("block", "rows", "columns", "n", "m", "in", "out", "within", "rounding", "in_channels", "out_channels")
} | {"narrowed_groups": "groups"}
_SHARES = ("in", "out", "within")


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The published JSON Schema of plan files."""
    text = files("advisor.plans").joinpath("plan.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def save_plan(plan: Plan, path: str | Path) -> None:
    """Writes the connections first, then the plan that names them with their SHA-256.

    Raises:
        PlanError: the plan is not consistent with itself.
        AdvisorError: it cannot be written.
    """
    place = Path(path)
    plan = with_kept(plan)
    check_plan(plan)
    document = to_document(plan)
    if any(layer.is_chosen for layer in plan.layers):
        name = f"{place.stem}.connections.safetensors"
        data, digest = connections_bytes(plan)
        write_bytes(place.with_name(name), data)
        document["connections"] = {"file": name, "sha256": digest}
    write_json(place, document)


def read_plan(path: str | Path) -> Plan:
    """See `load_plan`."""
    place = Path(path)
    document = read_json(place, error=PlanError)
    plan = from_document(document, str(place))
    named = document.get("connections")
    if named is None:
        if missing := next((layer.name for layer in plan.layers if layer.is_chosen), None):
            raise PlanError(
                f"plan {place}: layer {missing} has chosen connections, but the plan names no file that holds them"
            )
        return plan
    return read_connections(plan, place, named["file"], named["sha256"])


def to_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values. NaN, where nobody looked for a bound, becomes null."""
    plan = with_kept(plan)
    document: dict[str, Any] = {
        "schema": SCHEMA_NAME,
        "model": plan.model,
        "input": [list(shape) for shape in plan.input_shapes],
        "costs": {key: _cost_document(line) for key, line in plan.costs.items()},
        "objective": float(plan.objective),
        "bound": _number(plan.bound),
        "gap": _number(plan.gap),
        "solve_seconds": float(plan.solve_seconds),
        "status": plan.status,
        "sensitivity": plan.sensitivity,
        "patterns": list(plan.patterns),
        "seed": int(plan.seed),
        "rounding": plan.rounding,
        "profile": plan.profile,
        "settings": dict(plan.settings) if plan.settings is not None else None,
        "notes": list(plan.notes),
        "binding": [
            {"cost": item.cost, "shadow_price": float(item.shadow_price), "text": item.text} for item in plan.binding
        ],
        "layers": [*map(_layer_document, plan.layers), *map(to_item, plan.attention)],
    }
    if plan.rounds:
        document["rounds"] = rounds_document(plan.rounds)
    if plan.continuous is not None:
        document["continuous"] = plan.continuous.to_json()
    if plan.of_table:
        document["of_table"] = True
    return document


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _cost_document(line: CostLine) -> dict[str, float]:
    values = {"dense": line.dense, "plan": line.plan, "budget": line.budget, "low": line.low, "high": line.high}
    return {name: float(value) for name, value in values.items() if value is not None}


def _layer_document(layer: PlanLayer) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": layer.name,
        "kind": layer.kind,
        "pattern": layer.pattern,
        "density": float(layer.density),
        "seed": int(layer.seed),
    }
    if layer.kind == TABLE:
        return document | ({"parameters": dict(layer.parameters)} if layer.parameters else {})
    for flat, name in _PARAMETERS.items():
        if name in layer.parameters:
            document[flat] = layer.parameters[name]
    document |= {
        "weight": layer.weight,
        "weight_shape": list(layer.weight_shape),
        "groups": layer.groups,
        "selection": layer.selection,
    }
    if not layer.is_module:
        document["is_module"] = False
    if layer.method is not None:
        document["method"] = layer.method
    lists = {
        "rewired": [[int(n) for n in move] for move in layer.rewired],
        "dropped": [int(row) for row in layer.dropped],
        "kept_inputs": [list(pair) for pair in layer.kept_inputs],
        "kept_outputs": [list(pair) for pair in layer.kept_outputs],
    }
    return document | {name: value for name, value in lists.items() if value}


def from_document(document: Any, where: str) -> Plan:
    """Checks a document and builds the plan, without its chosen connections. `where` names the file in errors.

    Raises:
        PlanError: one line with the first thing that is wrong.
    """
    for error in jsonschema.Draft202012Validator(schema()).iter_errors(document):
        place = "/".join(str(part) for part in error.absolute_path) or "the top"
        message = " ".join(str(error.message).split())
        # What was found stands first and what was expected last.
        message = message if len(message) < 200 else f"{message[:70]}…{message[-130:]}"
        raise PlanError(f"plan {where}: at {place[:200]}: {message}; it is no plan of this version, make it anew")
    plan = Plan(
        model=document["model"],
        input_shapes=tuple(tuple(int(n) for n in shape) for shape in document["input"]),
        layers=tuple(_layer_from(item) for item in document["layers"] if item["kind"] != ATTENTION),
        attention=tuple(from_item(item) for item in document["layers"] if item["kind"] == ATTENTION),
        costs={
            key: CostLine(**{k: _float(v, where) for k, v in line.items()}) for key, line in document["costs"].items()
        },
        objective=_float(document["objective"], where),
        bound=_float(document["bound"], where),
        gap=_float(document["gap"], where),
        solve_seconds=_float(document["solve_seconds"], where),
        status=document["status"],
        sensitivity=document["sensitivity"],
        patterns=tuple(document["patterns"]),
        seed=int(document["seed"]),
        rounding=document["rounding"],
        profile=document.get("profile"),
        settings=document.get("settings"),
        notes=tuple(document.get("notes", ())),
        binding=tuple(
            Binding(cost=item["cost"], shadow_price=_float(item["shadow_price"], where), text=item["text"])
            for item in document.get("binding", ())
        ),
        rounds=rounds_from(document.get("rounds", ())),
        continuous=Relaxation.from_json(document["continuous"]) if "continuous" in document else None,
        of_table=document.get("of_table", False),
    )
    check_plan(plan, where)
    return plan


def _float(value: float | None, where: str) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except OverflowError as error:  # an integer of hundreds of digits
        raise PlanError(f"plan {where}: a number of {len(str(value))} digits is too large") from error


def _layer_from(item: Mapping[str, Any]) -> PlanLayer:
    if item["kind"] == TABLE:
        return _table_layer_from(item)
    # The schema takes 3.0 for an integer, as JSON does; Python's shapes do not.
    parameters: dict[str, Any] = {}
    for flat, name in _PARAMETERS.items():
        if flat in item:
            value = item[flat]
            parameters[name] = value if flat == "rounding" else float(value) if flat in _SHARES else int(value)
    return PlanLayer(
        name=item["name"],
        kind=item["kind"],
        pattern=item["pattern"],
        density=float(item["density"]),
        seed=int(item["seed"]),
        parameters=parameters,
        weight=item["weight"],
        weight_shape=tuple(int(size) for size in item["weight_shape"]),
        groups=int(item["groups"]),
        is_module=item.get("is_module", True),
        selection=item["selection"],
        rewired=tuple((int(row), int(given), int(taken)) for row, given, taken in item.get("rewired", ())),
        dropped=tuple(int(row) for row in item.get("dropped", ())),
        kept_inputs=tuple((int(first), int(end)) for first, end in item.get("kept_inputs", ())),
        kept_outputs=tuple((int(first), int(end)) for first, end in item.get("kept_outputs", ())),
        method=item.get("method"),
    )


def _table_layer_from(item: Mapping[str, Any]) -> PlanLayer:
    return PlanLayer(
        name=item["name"],
        kind=TABLE,
        pattern=item["pattern"],
        density=float(item["density"]),
        seed=int(item["seed"]),
        parameters=item.get("parameters", {}),
        weight="",
        weight_shape=(),
    )
