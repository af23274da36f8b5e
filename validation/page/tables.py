"""Rows and files that the page hands out."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from advisor.network import Network
from advisor.plans.plan import Plan


def layer_rows(network: Network, plan: Plan | None = None) -> list[dict[str, Any]]:
    """One row per layer: what it is, what it costs, what the plan keeps of it."""
    chosen = {layer.name: layer for layer in plan.layers} if plan is not None else {}
    rows = []
    for layer in network.layers:
        row: dict[str, Any] = {
            "layer": layer.name,
            "kind": layer.kind,
            "input": "×".join(map(str, layer.input_shape)),
            "output": "×".join(map(str, layer.output_shape)),
            "params": layer.params,
            "MACs": layer.macs,
        }
        if plan is not None:
            choice = chosen.get(layer.name)
            row["pattern"] = choice.pattern if choice else ""
            row["density"] = choice.density if choice else None
            row["runs by"] = (choice.method or "") if choice else ""
            row["options"] = " ".join(f"{key}={value}" for key, value in choice.parameters.items()) if choice else ""
        rows.append(row)
    return rows


def plan_file(plan: Plan) -> tuple[str, bytes, str]:
    """(name, content, MIME type): the plan as JSON, or as a zip where its connections stand in a file beside it."""
    title = "".join(c if c.isalnum() else "-" for c in plan.model).strip("-")
    if not plan.chosen:
        return f"{title}-plan.json", (json.dumps(plan.to_json(), indent=1) + "\n").encode(), "application/json"
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        plan.save(Path(folder) / "plan.json")
        for path in sorted(Path(folder).iterdir()):
            archive.write(path, path.name)
    return f"{title}-plan.zip", buffer.getvalue(), "application/zip"
