"""`modelopt`: plans as the weight sparsity of NVIDIA's Model Optimizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from advisor.errors import PlanError
from advisor.files import read_json
from advisor.plans.export.exporter import Exported, Exporter, Source, own_modules, owner, register
from advisor.plans.export.masks import ENDING, counted
from advisor.plans.export.provenance import from_json, provenance
from advisor.plans.export.tensors import check_fit, masks_bytes, read_masks

if TYPE_CHECKING:
    from advisor.plans.plan import PlanLayer

_CLASSES = {"linear": "nn.Linear", "conv2d": "nn.Conv2d"}
_SEARCHED = "2:4 sparsity"  # the one pattern that the library searches for by itself


@register
class ModelOpt(Exporter):
    """`mode`: the library's own mode and rules, under which exactly the plan's layers are sparse; masks beside it.

    The library's search knows 2:4 alone, and skips layers whose outputs are no multiple of 8 or inputs none of 16; its
    modules take any mask. So `load_modelopt` sets the plan's masks, whatever the pattern. Where all sparse layers are
    2:4 and of such sizes, `search` stands in the file, and the library may choose the weights itself::

        mts.sparsify(model, [tuple(document["mode"])], document["search"])
    """

    name = "modelopt"
    suffix = ".modelopt.json"
    line = "rules and masks for NVIDIA ModelOpt (JSON, and masks beside it)"

    def export(self, source: Source) -> Exported:
        layers = own_modules(
            source, "ModelOpt", lambda layer: layer.kind in _CLASSES, "linear layers and two-dimensional convolutions"
        )
        rules: dict[str, dict[str, Any]] = {name: {"*": None} for name in _CLASSES.values()}
        for layer in layers:
            rules[_CLASSES[layer.kind]][_literal(owner(layer))] = {}
        about = provenance(source.plan, self.name)
        masks = masks_bytes(source.plan, {**about, "format": "sparsity-advisor/masks-1"}, lambda layer: layer.weight)
        document = {"provenance": about, "mode": ["sparse_magnitude", rules], "masks": source.stem + ENDING}
        other = next((layer for layer in layers if not _is_searched(layer)), None)
        notes: tuple[str, ...] = ()
        if other is None:
            document["search"] = {"pattern": _SEARCHED}
        else:
            notes = (
                f"layer {other.name} ({other.option.label}) is nothing that ModelOpt would find by itself (2:4, "
                "inputs a multiple of 16, outputs of 8); load_modelopt sets its mask all the same",
            )
        data = (json.dumps(document, indent=1) + "\n").encode()
        return Exported(data=data, beside={ENDING: masks}, numbers=counted(about, len(layers)), notes=notes)

    def provenance(self, data: bytes) -> dict[str, Any]:
        return from_json(data, self.name)


def load_modelopt(path: str | Path, module: nn.Module) -> nn.Module:
    """Makes the plan's layers of `module` sparse in ModelOpt, with the plan's masks, and returns the module.

    Raises:
        PlanError: ModelOpt is not installed, or the files are not those of this network.
    """
    place = Path(path)
    document = read_json(place, error=PlanError)
    from_json(json.dumps(document).encode(), ModelOpt.name)
    if Path(document["masks"]).name != document["masks"]:
        raise PlanError(f"{place}: masks {document['masks'][:100]!r} is no bare file name beside it")
    masks = read_masks(place.with_name(document["masks"]), "masks")
    check_fit(masks, module, place)
    try:
        from modelopt.torch.opt.conversion import apply_mode
        from modelopt.torch.sparsity.weight_sparsity.mode import SparsityModeRegistry
    except ImportError as error:
        raise PlanError(f"{place}: ModelOpt is not installed ({error}); pip install nvidia-modelopt") from error
    mode, rules = document["mode"]
    module = apply_mode(module, [(mode, rules)], registry=SparsityModeRegistry)
    for name, mask in masks.items():
        held: Any = module.get_submodule(name.rpartition(".")[0])
        held.set_mask(mask.to(held.weight.device))
    return module


def _is_searched(layer: PlanLayer) -> bool:
    given = layer.parameters
    fits = layer.layer.out_channels % 8 == 0 and layer.weight_shape[1] % 16 == 0
    return layer.pattern == "n:m" and (given["n"], given["m"]) == (2, 4) and fits


def _literal(name: str) -> str:
    """A module's name as a pattern of fnmatch that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
