"""`llm-compressor`: plans as recipes of LLM Compressor."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from advisor.errors import PlanError
from advisor.files import parse_json
from advisor.plans.export.exporter import Exported, Exporter, Source, own_modules, owner, register
from advisor.plans.export.masks import ENDING, counted
from advisor.plans.export.provenance import checked, line_of, provenance
from advisor.plans.export.tensors import masks_bytes

if TYPE_CHECKING:
    from advisor.plans.plan import PlanLayer

_KINDS = ("linear", "conv1d", "conv2d", "conv3d")
_HEAD = "# sparsity-advisor: "


@register
class LLMCompressor(Exporter):
    """A recipe in two stages, of which one is run.

    `keep` holds what is zero at zero while the model trains (ConstantPruningModifier), so it belongs to weights that
    the masks beside the recipe have been applied to (`mask_weights`): the plan's own connections, of any masked
    pattern. `choose` lets SparseGPT pick the weights within the plan's densities on calibration data, for layers of n:m
    and unstructured; n:m runs along the inputs there, as here, for linear layers and convolutions of one tap.
    """

    name = "llm-compressor"
    suffix = ".recipe.yaml"
    line = "a recipe for LLM Compressor (YAML, and masks beside it)"

    def export(self, source: Source) -> Exported:
        layers = own_modules(
            source, "LLM Compressor", lambda layer: layer.kind in _KINDS, "linear layers and plain convolutions"
        )
        if not layers:
            raise PlanError(f"{source.label}: every layer is dense, so there is nothing to keep at zero")
        about = provenance(source.plan, self.name)
        lines = [_HEAD + line_of(about), f"# masks: {source.stem + ENDING}", "keep_stage:", "  pruning_modifiers:"]
        lines += _modifier("ConstantPruningModifier", {"targets": [_target(layer) for layer in layers], "start": 0})
        chosen: dict[tuple[str, float], list[PlanLayer]] = {}
        for layer in layers:
            if structure := _structure(layer):
                chosen.setdefault((structure, 1 - _density(about, layer)), []).append(layer)
        if chosen:
            lines.append("choose_stage:")
        for number, ((structure, sparsity), held) in enumerate(chosen.items()):
            lines.append(f"  pruning{number}_modifiers:")
            given = {"sparsity": sparsity, "mask_structure": structure, "targets": [_target(layer) for layer in held]}
            lines += _modifier("SparseGPTModifier", given)
        masks = masks_bytes(source.plan, {**about, "format": "sparsity-advisor/masks-1"}, lambda layer: layer.weight)
        others = [layer.name for layer in layers if not _structure(layer)]
        notes: tuple[str, ...] = ()
        if others:
            notes = (
                f"stage choose leaves out {', '.join(others[:3])}{' and others' if len(others) > 3 else ''}: LLM "
                "Compressor chooses n:m and single weights alone; stage keep holds them all",
            )
        return Exported(
            data=("\n".join(lines) + "\n").encode(),
            beside={ENDING: masks},
            numbers=counted(about, len(layers)),
            notes=notes,
        )

    def provenance(self, data: bytes) -> dict[str, Any]:
        first = data.split(b"\n", 1)[0]
        if not first.startswith(_HEAD.encode()):
            raise PlanError(f"the recipe does not begin with {_HEAD.strip()!r}; expected one of 'advisor export'")
        return checked(parse_json(first[len(_HEAD) :], "first line of the recipe", error=PlanError), self.name)


def _modifier(name: str, given: dict[str, Any]) -> list[str]:
    """A modifier as lines of YAML; JSON values are YAML, too."""
    return [f"    {name}:", *(f"      {key}: {json.dumps(value)}" for key, value in given.items())]


def _target(layer: PlanLayer) -> str:
    """The module's name as a pattern that matches nothing else."""
    return f"re:^{re.escape(owner(layer))}$"


def _structure(layer: PlanLayer) -> str:
    """The library's name of a pattern that it can choose by itself; "" for others."""
    if layer.pattern == "unstructured":
        return "0:0"
    if layer.pattern == "n:m" and all(size == 1 for size in layer.layer.kernel):
        # The library names how many of m go, and ours how many stay.
        return f"{layer.parameters['m'] - layer.parameters['n']}:{layer.parameters['m']}"
    return ""


def _density(about: dict[str, Any], layer: PlanLayer) -> float:
    kept = next(item["kept_weights"] for item in about["layers"] if item["name"] == layer.name)
    return float(kept) / layer.layer.weights
