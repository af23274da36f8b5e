"""`torch-pruning`: plans of width as the ratios of the library Torch-Pruning (Fang et al. 2023)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advisor.errors import PlanError
from advisor.files import read_json
from advisor.plans.export.exporter import Exported, Exporter, Source, own_modules, owner, register
from advisor.plans.export.provenance import from_json, provenance, shapes
from advisor.plans.ranges import count, from_ranges
from advisor.runtime.execution import shape_under

# The library keeps int(channels * (1 - ratio)); this keeps that product above the number that is meant.
_SLACK = 1e-9


@register
class TorchPruning(Exporter):
    """`pruning_ratio_dict`: module → share of its output channels that goes, for the library's pruners.

    The ratio that every other layer gets must be 0 there (`pruning_ratio=0.0`). The library chooses channels by its own
    scores; `kept_outputs` says which ones the plan keeps, and `pruner_arguments` hands both over, so that the library
    cuts out the plan's own channels.
    """

    name = "torch-pruning"
    suffix = ".torch-pruning.json"
    line = "ratios per layer for Torch-Pruning; plans of the pattern width alone"

    def export(self, source: Source) -> Exported:
        plan = source.plan
        if masked := next((layer for layer in plan.layers if layer.is_masked), None):
            raise PlanError(
                f"{source.label}: Torch-Pruning takes channels out and knows no masks, and layer {masked.name} has "
                f"pattern {masked.pattern!r}; plan with --patterns width, or export to masks or torch-prune"
            )
        own_modules(source, "Torch-Pruning", lambda layer: True, "convolutions and linear layers")
        narrowed = [layer for layer in plan.layers if layer.is_narrowed]
        ratios, kept = {}, {}
        for layer in narrowed:
            outputs = count(layer.kept_outputs)
            if outputs < layer.layer.out_channels:
                ratios[owner(layer)] = 1 - outputs / layer.layer.out_channels - _SLACK
                kept[owner(layer)] = [list(pair) for pair in layer.kept_outputs]
        about = provenance(plan, self.name)
        document = {
            "provenance": about,
            "pruning_ratio": 0.0,
            "pruning_ratio_dict": ratios,
            "kept_outputs": kept,
            "shapes": {layer.weight: list(shape_under(layer.layer, layer.option)[0]) for layer in plan.layers},
        }
        numbers = {
            "layers": len(plan.layers),
            "pruned_layers": len(ratios),
            "kept_weights": sum(layer["kept_weights"] for layer in about["layers"]),
        }
        return Exported(data=(json.dumps(document, indent=1) + "\n").encode(), numbers=numbers)

    def provenance(self, data: bytes) -> dict[str, Any]:
        return from_json(data, self.name)


@dataclass(frozen=True)
class KeptChannels:
    """An importance for the library's pruners: 1 for channels that the plan keeps, 0 for the others.

    Attributes:
        kept: module → whether each of its output channels stays.
    """

    kept: Mapping[nn.Module, torch.Tensor] = field(default_factory=dict)

    def __call__(self, group: Any) -> torch.Tensor | None:
        """Scores of the channels of a group's first layer that has any, as the library numbers them; else None."""
        size = len(group[0].idxs)
        for member in group:
            flags = self.kept.get(member.dep.target.module)
            if flags is not None and len(flags) == size == len(member.idxs) and "out" in member.dep.handler.__name__:
                return flags[torch.as_tensor(member.idxs)].float()
        return None


def pruner_arguments(path: str | Path, module: nn.Module) -> dict[str, Any]:
    """Keyword arguments for a pruner of Torch-Pruning, which then cuts the plan's channels out of `module`::

        pruner = tp.pruner.BasePruner(module, example_inputs, **pruner_arguments(path, module))
        pruner.step()
        check_pruned(path, module)

    Raises:
        PlanError: no such file, or one for another network.
    """
    document = _read(path)
    found = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
    for name, shape in shapes(document["provenance"]).items():
        if found.get(name) != shape:
            raise PlanError(
                f"{path}: parameter {name} has shape {found.get(name)} in the module, expected {shape}; the plan "
                "belongs to another network"
            )
    kept = {}
    for name, pairs in document["kept_outputs"].items():
        held = module.get_submodule(name)
        flags = torch.zeros(_outputs(held), dtype=torch.bool)
        flags[torch.from_numpy(from_ranges(tuple((first, end) for first, end in pairs)))] = True
        kept[held] = flags
    return {
        "importance": KeptChannels(kept),
        "pruning_ratio": document["pruning_ratio"],
        "pruning_ratio_dict": {
            module.get_submodule(name): ratio for name, ratio in document["pruning_ratio_dict"].items()
        },
        "global_pruning": False,
    }


def check_pruned(path: str | Path, module: nn.Module) -> None:
    """Whether the library cut every layer down to the plan's channels.

    Raises:
        PlanError: the first layer that it did not.
    """
    for name, shape in _read(path)["shapes"].items():
        found = tuple(module.get_parameter(name).shape)
        if found != tuple(shape):
            raise PlanError(
                f"{path}: Torch-Pruning left {name} with shape {found}, the plan has {tuple(shape)}; it couples these "
                "channels otherwise: narrow the network with plan.apply instead"
            )


def _outputs(held: nn.Module) -> int:
    found = getattr(held, "out_channels", None) or getattr(held, "out_features", None)
    if not isinstance(found, int):
        raise PlanError(f"a {type(held).__name__} has no output channels that Torch-Pruning could take")
    return found


def _read(path: str | Path) -> dict[str, Any]:
    document: dict[str, Any] = read_json(path, error=PlanError)
    try:
        from_json(json.dumps(document).encode(), TorchPruning.name)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    return document
