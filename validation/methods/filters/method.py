"""The detector as a training method: it watches any training, and takes dead filters out at the end where asked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from advisor.errors import AdvisorError
from advisor.trace import evaluation
from validation.methods.filters.detector import ACTIVATION, FIRES, SCALE, Images, LayerFilters, inspect, universality
from validation.methods.filters.removal import remove_filters
from validation.methods.filters.silence import silence
from validation.methods.filters.sites import filter_sites
from validation.methods.method import Method, MethodSettings, Outcome, Run
from validation.methods.registry import register_method

if TYPE_CHECKING:
    from advisor.network import Network

FILE, WEIGHTS = "filters.json", "removed.safetensors"
CRITERIA = ("gamma", "activation", "either")
BATCH = 250
_PROBED = 256  # images on which the outputs before and after removal are compared


class FilterDetector(Method):
    """Counts the inactive filters of a network after every epoch (Mehta, Kim and Theobalt 2019).

    Such filters die by themselves under batch norm, ReLU, an adaptive optimiser and L2; see the file that `finish`
    leaves for each filter's scale, largest activation and universality.

    Args:
        module: what trains; its names are those of `network`.
        network: the analysis.
        images: gives the training images in batches `B C H W`, anew at every call, on the module's device.
        gamma: a filter is inactive by scale below this |gamma|.
        activation: and by activation where the largest |activation| over all images and places is below this.
        fires: a filter fires on an image above this share of its largest activation.
        remove: take inactive filters out when training ends, into a narrower network.
        by: which of them: "gamma", "activation" or "either".
    """

    def __init__(
        self,
        module: nn.Module,
        network: Network,
        images: Images,
        *,
        gamma: float = SCALE,
        activation: float = ACTIVATION,
        fires: float = FIRES,
        remove: bool = False,
        by: str = "either",
    ) -> None:
        self.module, self.network, self.images = module, network, images
        self.gamma, self.activation, self.fires, self.remove, self.by = gamma, activation, fires, remove, by
        self.sites = filter_sites(network)
        if not self.sites:
            raise AdvisorError(
                f"filters: {network.name} has no convolution whose filters one could watch; leave it out"
            )

    def inspect(self) -> tuple[LayerFilters, ...]:
        """Every filter as it is now; a pass over the images."""
        return inspect(self.module, self.sites, self.images(), gamma=self.gamma, activation=self.activation)

    def after_epoch(self) -> dict[str, float]:
        return _counts(self.inspect())

    def finish(self) -> Outcome:
        filters = self.inspect()
        shares = universality(self.module, filters, self.images(), fires=self.fires)
        numbers = _counts(filters) | _universality(filters, shares)
        files = {FILE: self._file(filters, shares)}
        if not self.remove:
            return Outcome(numbers=numbers, files=files)
        removed = self._removed(filters)
        return Outcome(
            plan=removed.plan,
            numbers=numbers | dict(removed.numbers),
            files=files | dict(removed.files),
            notes=removed.notes,
        )

    def _removed(self, filters: Sequence[LayerFilters]) -> Outcome:
        """The module itself becomes the narrower one."""
        before = self._outputs()
        silent = silence(self.module, filters, by=self.by)
        keep = {name: (~gone).nonzero().flatten().tolist() for name, gone in silent.items()}
        if not keep:
            return Outcome(numbers={"removed_filters": 0.0}, notes=("no filter is inactive, so none was removed",))
        try:
            found = remove_filters(self.network, self.module, keep)
        except AdvisorError as error:
            return Outcome(numbers={"removed_filters": 0.0}, notes=(f"inactive filters stay: {error}",))
        if not found.removed:
            return Outcome(numbers={"removed_filters": 0.0}, notes=found.notes)
        self.module.__dict__.update(found.module.__dict__)  # whoever holds the module sees the narrower one
        numbers = {
            "removed_filters": float(sum(len(gone) for gone in found.removed.values())),
            "largest_change": _distance(before, self._outputs()),
        }
        for name, line in found.plan.costs.items():
            numbers |= {f"{name}_before": float(line.dense), f"{name}_after": float(line.plan)}
        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.module.state_dict().items()}
        return Outcome(plan=found.plan, numbers=numbers, files={WEIGHTS: save(state)}, notes=found.notes)

    def _outputs(self) -> list[Tensor]:
        """What the module gives on the first images."""
        found: list[Tensor] = []
        seen = 0
        with torch.no_grad(), evaluation(self.module):
            for batch in self.images():
                if seen >= _PROBED:
                    break
                seen += len(batch)
                found += [item.double().cpu() for item in tree_leaves(self.module(batch)) if isinstance(item, Tensor)]
        return found

    def _file(self, filters: Sequence[LayerFilters], shares: dict[str, Tensor]) -> bytes:
        document = {
            "schema": "sparsity-advisor/filters-1",
            "model": self.network.name,
            "thresholds": {"gamma": self.gamma, "activation": self.activation, "fires": self.fires},
            "totals": _counts(filters),
            "layers": [
                {
                    "name": one.site.layer.name,
                    "norm": one.site.norm,
                    "filters": one.filters,
                    "inactive_by_gamma": one.by_scale.nonzero().flatten().tolist(),
                    "inactive_by_activation": one.by_activation.nonzero().flatten().tolist(),
                    "gamma": None if one.scale is None else _listed(one.scale),
                    "largest_activation": _listed(one.largest),
                    "universality": _listed(shares[one.site.layer.name]),
                }
                for one in filters
                if one.site.layer.name in shares
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False).encode()


def _listed(values: Tensor) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]


def _counts(filters: Sequence[LayerFilters]) -> dict[str, float]:
    return {
        "filters": float(sum(one.filters for one in filters)),
        "inactive_by_gamma": float(sum(int(one.by_scale.sum()) for one in filters)),
        "inactive_by_activation": float(sum(int(one.by_activation.sum()) for one in filters)),
    }


def _universality(filters: Sequence[LayerFilters], shares: dict[str, Tensor]) -> dict[str, float]:
    """The mean over the filters that are active at all."""
    alive = [shares[one.site.layer.name][~one.by_activation] for one in filters if one.site.layer.name in shares]
    together = torch.cat(alive) if alive else torch.zeros(0)
    return {"universality": float(together.mean())} if len(together) else {}


def _distance(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    return max((float((left - right).abs().max()) for left, right in zip(before, after, strict=True)), default=0.0)


@register_method("filters", target="dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings(MethodSettings):
    """Counts filters that died, by scale and by activation; remove=true takes them out exactly at the end.

    `images`: how many training images to look at after every epoch; 0 for all.
    """

    gamma: float = SCALE
    activation: float = ACTIVATION
    fires: float = FIRES
    images: int = 0
    remove: bool = False
    by: str = "either"

    def __post_init__(self) -> None:
        for key in ("gamma", "activation", "fires", "images"):
            if (value := getattr(self, key)) < 0:
                raise AdvisorError(f"method filters: got {key}={value}, expected 0 or more")
        if self.by not in CRITERIA:
            raise AdvisorError(f"method filters: got by={self.by!r}, expected one of {', '.join(CRITERIA)}")

    def attach(self, run: Run) -> Method:
        if self.remove and run.plan is not None:
            raise AdvisorError(
                "method filters: remove=true takes filters out of the dense network, got a run under a plan; write "
                "filters@dense:remove=true, or leave remove out to count alone"
            )
        images: Any = partial(run.sample, self.images or run.train_size, BATCH)
        return FilterDetector(
            run.module,
            run.network,
            images,
            gamma=self.gamma,
            activation=self.activation,
            fires=self.fires,
            remove=self.remove,
            by=self.by,
        )
