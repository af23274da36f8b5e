"""`masks`: which weights stay, for any training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from advisor.plans.export.exporter import Exported, Exporter, Source, register
from advisor.plans.export.provenance import provenance
from advisor.plans.export.tensors import check_fit, masks_bytes, metadata, read_masks, thinned_layers

ENDING = ".masks.safetensors"


@register
class Masks(Exporter):
    """A bool tensor for each parameter that loses weights, under the parameter's own name and in its shape.

    A training loop multiplies each of these parameters by its mask after every step. Layers that stay dense are named
    in the metadata alone. Under width a mask spans the dense weight: what it leaves computes what the narrower network
    computes, except where a norm works across channels.
    """

    name = "masks"
    suffix = ENDING
    line = "a bool mask for each weight (safetensors), for any training loop"

    def export(self, source: Source) -> Exported:
        about = provenance(source.plan, self.name)
        held = masks_bytes(source.plan, about, lambda layer: layer.weight)
        return Exported(data=held, numbers=counted(about, len(thinned_layers(source.plan))))

    def provenance(self, data: bytes) -> dict[str, Any]:
        return metadata(data, self.name)


def counted(about: dict[str, Any], masked: int) -> dict[str, int | float]:
    """What an export with masks holds, in numbers."""
    return {
        "layers": len(about["layers"]),
        "thinned_layers": masked,
        "kept_weights": sum(layer["kept_weights"] for layer in about["layers"]),
    }


def mask_weights(path: str | Path, module: nn.Module) -> dict[str, torch.Tensor]:
    """Sets the weights of `module` to zero where the masks in a file say so, in place.

    Returns:
        The masks, on their parameters' devices; keep them to multiply the parameters by after every optimiser step.

    Raises:
        PlanError: no file of masks, or masks of another network; nothing has been changed.
    """
    masks = read_masks(path, Masks.name)
    check_fit(masks, module, path)
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = module.get_parameter(name)
            masks[name] = mask.to(parameter.device)
            parameter.mul_(masks[name])
    return masks
