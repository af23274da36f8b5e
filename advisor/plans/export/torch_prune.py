"""`torch-prune`: masks as torch.nn.utils.prune keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.utils import prune

from advisor.plans.export.exporter import Exported, Exporter, Source, own_modules, register
from advisor.plans.export.masks import counted
from advisor.plans.export.provenance import provenance
from advisor.plans.export.tensors import check_fit, masks_bytes, metadata, read_masks

_ENDING = "_mask"


@register
class TorchPrune(Exporter):
    """The masks under the names of torch's own buffers: `conv1.weight_mask` for the parameter `conv1.weight`.

    `load_torch_prune` takes them into a module, and so do four lines without this package::

        for name, mask in safetensors.torch.load_file(path).items():
            owner, _, parameter = name.removesuffix("_mask").rpartition(".")
            prune.custom_from_mask(model.get_submodule(owner), parameter, mask)

    Torch prunes a parameter in its module's forward pass. A weight that other modules use as well (an attention's
    output projection, tied embeddings) would be masked once, when it is loaded, and never again: it is refused.
    """

    name = "torch-prune"
    suffix = ".torch-prune.safetensors"
    line = "the same for torch.nn.utils.prune"

    def export(self, source: Source) -> Exported:
        layers = own_modules(source, "torch.nn.utils.prune", lambda layer: True, "any layer")
        about = provenance(source.plan, self.name)
        held = masks_bytes(source.plan, about, lambda layer: layer.weight + _ENDING)
        return Exported(data=held, numbers=counted(about, len(layers)))

    def provenance(self, data: bytes) -> dict[str, Any]:
        return metadata(data, self.name)


def load_torch_prune(path: str | Path, module: nn.Module) -> nn.Module:
    """Prunes `module` in place by `prune.custom_from_mask` and returns it; `prune.remove` makes it permanent.

    Raises:
        PlanError: no such file, or masks of another network; nothing has been changed.
    """
    masks = read_masks(path, TorchPrune.name)
    check_fit(masks, module, path, _ENDING)
    for name, mask in masks.items():
        owner, _, parameter = name.removesuffix(_ENDING).rpartition(".")
        held = module.get_submodule(owner)
        prune.custom_from_mask(held, parameter, mask.to(getattr(held, parameter).device))  # type: ignore[no-untyped-call]
    return module
