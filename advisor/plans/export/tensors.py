"""Masks as safetensors, with the provenance in the file's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from advisor.errors import PlanError
from advisor.files import parse_json
from advisor.plans.export.provenance import checked, line_of
from advisor.plans.masks import mask_of

if TYPE_CHECKING:
    from torch import nn

    from advisor.plans.plan import Plan, PlanLayer

KEY = "sparsity_advisor"  # of the metadata; a single key, since their order in the file is not defined
_MAX_HEADER = 100 * 1024 * 1024  # what safetensors itself allows


def thinned_layers(plan: Plan) -> list[PlanLayer]:
    """The layers that lose weights, by a mask or by width."""
    return [layer for layer in plan.layers if layer.is_masked or layer.is_narrowed]


def masks_bytes(plan: Plan, about: Mapping[str, Any], name_of: Callable[[PlanLayer], str]) -> bytes:
    """A safetensors file with the mask of every layer that loses weights: bool, in the weight's stored shape.

    Args:
        about: goes into the metadata.
        name_of: what a layer's mask is called.
    """
    held = {name_of(layer): np.ascontiguousarray(mask_of(plan, layer)) for layer in thinned_layers(plan)}
    return bytes(save(held, metadata={KEY: line_of(about)}))


def metadata(data: bytes, format_name: str) -> dict[str, Any]:
    """The provenance in a safetensors file.

    Raises:
        PlanError: no safetensors file, or not one of this format.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MAX_HEADER):
        raise PlanError("no safetensors file: its header is longer than the file; it was cut off, export the plan anew")
    header = parse_json(data[8 : 8 + size], "header of the safetensors file", error=PlanError)
    held = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    text = held.get(KEY) if isinstance(held, dict) else None
    if not isinstance(text, str):
        raise PlanError(f"the safetensors file has no {KEY!r} in its metadata; expected one of 'advisor export'")
    return checked(parse_json(text.encode(), f"metadata {KEY!r}", error=PlanError), format_name)


def read_masks(path: str | Path, format_name: str) -> dict[str, torch.Tensor]:
    """The masks of a file of this format, by name.

    Raises:
        PlanError: one line: missing, not of this format, or masks of another type than bool.
    """
    place = Path(path)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise PlanError(f"cannot read {place}: {error.strerror or error}") from error
    try:
        metadata(data, format_name)
        held = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise PlanError(f"{place}: no safetensors file: {' '.join(str(error).split())[:200]}") from error
    except PlanError as error:
        raise PlanError(f"{place}: {error}") from error
    if wrong := next((name for name, mask in held.items() if mask.dtype != np.bool_), None):
        raise PlanError(f"{place}: mask {wrong[:100]!r} is {held[wrong].dtype}, expected bool; export the plan anew")
    return {name: torch.from_numpy(held[name]) for name in sorted(held)}


def check_fit(masks: Mapping[str, torch.Tensor], module: nn.Module, where: str | Path, ending: str = "") -> None:
    """Refuses masks that are not those of the module's parameters; `ending` stands behind a parameter's name in them.

    Raises:
        PlanError: the first one that does not fit.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        parameter = parameters.get(name.removesuffix(ending))
        if parameter is None:
            raise PlanError(
                f"{where}: the module has no parameter {name.removesuffix(ending)[:200]!r}; it is another's"
            )
        if parameter.shape != mask.shape:
            raise PlanError(
                f"{where}: parameter {name.removesuffix(ending)} has shape {tuple(parameter.shape)}, its mask "
                f"{tuple(mask.shape)}; it is another network's"
            )
