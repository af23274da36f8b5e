"""Where an exported file comes from: which plan, for which network, with which layers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from advisor.errors import PlanError
from advisor.files import parse_json
from advisor.network import Shape
from advisor.plans.chosen import connections_bytes
from advisor.plans.document import to_document
from advisor.plans.masks import mask_of
from advisor.plans.plan import Plan

PREFIX = "sparsity-advisor/"


def plan_digest(plan: Plan) -> str:
    """SHA-256 of what a plan decides: model, input shapes, layers, chosen connections. Costs and times have no say.

    The same plan has the same digest before it is saved and after it is loaded. Returned in hexadecimal.
    """
    document = to_document(plan)
    decided: dict[str, Any] = {name: document[name] for name in ("model", "input", "rounding", "layers")}
    if any(layer.is_chosen for layer in plan.layers):
        decided["connections"] = connections_bytes(plan)[1]
    return hashlib.sha256(json.dumps(decided, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def provenance(plan: Plan, format_name: str) -> dict[str, Any]:
    """What every exported file says of itself: plain JSON values.

    Returns:
        `format`, `plan_sha256` (see `plan_digest`), `model`, `input` (shapes), and `layers`: for each layer of the plan
        its `name`, `weight` (name of the parameter), `weight_shape`, `pattern`, `density` and `kept_weights`, counted
        in its mask.
    """
    return {
        "format": f"{PREFIX}{format_name}-1",
        "plan_sha256": plan_digest(plan),
        "model": plan.model,
        "input": [list(shape) for shape in plan.input_shapes],
        "layers": [
            {
                "name": layer.name,
                "weight": layer.weight,
                "weight_shape": list(layer.weight_shape),
                "pattern": layer.pattern,
                "density": float(layer.density),
                "kept_weights": int(mask_of(plan, layer).sum()),
            }
            for layer in plan.layers
        ],
    }


def line_of(document: Mapping[str, Any]) -> str:
    """A provenance on one line, the same for the same plan."""
    return json.dumps(document, separators=(",", ":"))


def checked(document: Any, format_name: str) -> dict[str, Any]:
    """A provenance that was read from a file.

    Raises:
        PlanError: it is none, or another format's.
    """
    found = document.get("format") if isinstance(document, dict) else None
    if found != f"{PREFIX}{format_name}-1":
        raise PlanError(
            f"the file says that its format is {str(found)[:80]!r}, expected '{PREFIX}{format_name}-1'; "
            "export the plan anew (advisor export)"
        )
    return dict(document)


def from_json(data: bytes, format_name: str) -> dict[str, Any]:
    """The provenance of a JSON file, which stands under that name in it."""
    document = parse_json(data, f"{format_name} file", error=PlanError)
    return checked(document.get("provenance") if isinstance(document, dict) else None, format_name)


def shapes(document: Mapping[str, Any]) -> dict[str, Shape]:
    """Parameter → shape of every layer that a provenance names."""
    return {layer["weight"]: tuple(layer["weight_shape"]) for layer in document["layers"]}
