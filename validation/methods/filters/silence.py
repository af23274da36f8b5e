"""Making an inactive filter constant: what is left of it is set to zero, so that its removal is exact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from validation.methods.filters.detector import LayerFilters


def silence(module: nn.Module, filters: Sequence[LayerFilters], *, by: str = "either") -> dict[str, Tensor]:
    """Changes `module` so that the outputs of inactive filters are constants.

    Inactive by scale: gamma, which is all but 0, becomes 0 and leaves beta, the mean of what the filter gave over the
    training set. Inactive by activation: gamma and beta become 0 (without a norm: the filter's weights and its bias),
    for it gave 0 on every image seen; not where an activation makes something else of 0.

    Args:
        filters: what `inspect` found in this module.
        by: "gamma", "activation" or "either".

    Returns:
        Layer → (filters,) which of its filters are constant now.
    """
    done: dict[str, Tensor] = {}
    with torch.no_grad():
        for one in filters:
            gone = torch.zeros(one.filters, dtype=torch.bool)
            site = one.site
            if by in ("activation", "either") and one.by_activation.any() and site.at_zero(module) == 0:
                gone |= _emptied(module.get_submodule(site.at), one.by_activation, transposed=site.layer.transposed)
            if by in ("gamma", "either") and site.norm is not None:
                _zero(module.get_submodule(site.norm).get_parameter("weight"), one.by_scale)
                gone |= one.by_scale
            if gone.any():
                done[site.layer.name] = gone
    return done


def _emptied(owner: nn.Module, rows: Tensor, *, transposed: bool) -> Tensor:
    """Zeros in weight and bias of a norm or a convolution; which rows that reached."""
    weight = owner.get_parameter("weight")
    if transposed and weight.dim() > 1:  # stored by inputs, a filter is not a row of it
        return torch.zeros_like(rows)
    _zero(weight, rows)
    if owner._parameters.get("bias") is not None:
        _zero(owner.get_parameter("bias"), rows)
    return rows


def _zero(tensor: Tensor, rows: Tensor) -> None:
    tensor[rows.to(tensor.device)] = 0
