"""Finding filters that have died in training, by scale and by activation (Mehta, Kim and Theobalt 2019, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advisor.trace import evaluation
from validation.methods.filters.sites import FilterSite

Images = Callable[[], Iterable[Tensor]]
SCALE, ACTIVATION, FIRES = 1e-3, 1e-12, 1e-3  # the paper's thresholds


@dataclass(frozen=True, kw_only=True)
class LayerFilters:
    """What one convolution's filters do.

    Attributes:
        scale: (filters,) |gamma| of the batch norm behind it; None where there is none.
        largest: (filters,) the largest |activation| anywhere on any image; NaN where one was NaN.
        by_scale: (filters,) inactive: |gamma| < threshold, which the threshold itself is not.
        by_activation: (filters,) inactive: `largest` < threshold.
    """

    site: FilterSite
    scale: Tensor | None
    largest: Tensor
    by_scale: Tensor
    by_activation: Tensor

    @property
    def filters(self) -> int:
        return len(self.largest)


def inspect(
    module: nn.Module,
    sites: Sequence[FilterSite],
    images: Iterable[Tensor],
    *,
    gamma: float = SCALE,
    activation: float = ACTIVATION,
) -> tuple[LayerFilters, ...]:
    """Judges every filter by both criteria; costs one pass over `images` in evaluation mode.

    Args:
        module: with the names of the network that `sites` were read off.
        images: batches `B C H W` of the training set, on the module's device.
        gamma: threshold of the scale.
        activation: threshold of the largest |activation|.
    """
    largest: dict[str, Tensor] = {}
    for name, pooled in _pooled(module, sites, images):
        top = pooled.amax(0)
        largest[name] = torch.maximum(largest[name], top) if name in largest else top
    found = []
    for site in sites:
        norm = None if site.norm is None else module.get_submodule(site.norm).get_parameter("weight")
        scale = None if norm is None else norm.detach().abs().cpu()
        most = largest.get(site.layer.name, torch.full((site.layer.out_channels,), float("nan")))
        found.append(
            LayerFilters(
                site=site,
                scale=scale,
                largest=most,
                by_scale=torch.zeros(len(most), dtype=torch.bool) if scale is None else scale < gamma,
                by_activation=most < activation,
            )
        )
    return tuple(found)


def universality(
    module: nn.Module, filters: Sequence[LayerFilters], images: Iterable[Tensor], *, fires: float = FIRES
) -> dict[str, Tensor]:
    """Layer → (filters,) the share of images on which each filter fires.

    A filter fires where its pooled activation is above `fires` times the largest that it has on any image. Selectivity
    is 1 - universality. A filter without any activation fires nowhere.

    Args:
        filters: what `inspect` found on the same images.
    """
    largest = {one.site.layer.name: one.largest for one in filters}
    fired: dict[str, Tensor] = {}
    count = 0
    first = filters[0].site.layer.name if filters else ""
    for name, pooled in _pooled(module, [one.site for one in filters], images):
        over = (pooled > fires * largest[name]) & (pooled > 0)
        fired[name] = fired.get(name, torch.zeros(over.shape[1], dtype=torch.int64)) + over.sum(0)
        count += len(pooled) if name == first else 0
    return {name: number.double() / max(count, 1) for name, number in fired.items()}


def _pooled(module: nn.Module, sites: Sequence[FilterSite], images: Iterable[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """(layer, (B filters) the largest |activation| on the map), for every batch and call, on the CPU."""
    found: list[tuple[str, Tensor]] = []
    with torch.no_grad(), evaluation(module), _watched(module, sites, found):
        for batch in images:
            module(batch)
            yield from found
            found.clear()


@contextmanager
def _watched(module: nn.Module, sites: Sequence[FilterSite], found: list[tuple[str, Tensor]]) -> Iterator[None]:
    def look(site: FilterSite) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, args: Any, made: Tensor) -> None:
            activations = site.activate(made, module).abs()
            found.append((site.layer.name, activations.flatten(2).amax(2).float().cpu()))

        return hook

    hooks = [module.get_submodule(site.at).register_forward_hook(look(site)) for site in sites]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
