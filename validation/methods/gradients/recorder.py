"""What goes past a layer in a recorded step: densities, counted on the device and fetched once a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advisor.devices.simulated.trace import Trace, TracedLayer, TracedStep
from validation.methods.gradients.placement import Site

COUNTED = ("input", "output_gradient", "before", "after")  # the densities of `TracedStep`, less their ending


def counted(tensor: Tensor) -> Tensor:
    """How many elements are not zero, and how many there are: `2`, on the tensor's device."""
    nonzero = torch.count_nonzero(tensor.detach())
    return torch.stack([nonzero, torch.full_like(nonzero, tensor.numel())])


@dataclass(slots=True)
class Counts:
    """One layer's counts of one step, `2` each (nonzero, all); None where nothing was seen."""

    seen: dict[str, Tensor] = field(default_factory=dict)
    threshold: Tensor | None = None

    def add(self, what: str, count: Tensor) -> None:
        self.seen[what] = self.seen[what] + count if what in self.seen else count


class Recorder:
    """Collects the steps of a trace, and the epoch's totals for the learning curve."""

    def __init__(self, model: str, settings: dict[str, float | bool | str], sites: Sequence[Site]) -> None:
        self.model, self.settings = model, settings
        self.layers = tuple(_traced(site) for site in sites)
        self._steps: list[TracedStep] = []
        self._totals = dict.fromkeys(COUNTED, (0, 0))

    def end_step(self, step: int, batch: int, counts: Sequence[Counts]) -> None:
        """Fetches a step's counts (one wait for the device) and keeps them."""
        numbers = _fetched(counts)
        lists: dict[str, tuple[float | None, ...]] = {}
        for what in COUNTED:
            pairs = [layer.get(what) for layer in numbers]
            lists[f"{what}_density"] = tuple(None if pair is None else pair[0] / max(pair[1], 1) for pair in pairs)
            there = [pair for pair in pairs if pair is not None]
            nonzero, elements = self._totals[what]
            self._totals[what] = (
                nonzero + int(sum(pair[0] for pair in there)),
                elements + int(sum(pair[1] for pair in there)),
            )
        thresholds = tuple(layer["threshold"][0] if "threshold" in layer else None for layer in numbers)
        self._steps.append(TracedStep(step=step, batch=batch, threshold=thresholds, **lists))

    def end_epoch(self) -> dict[str, float]:
        """Densities over all elements of the epoch's recorded steps; what was never seen is left out."""
        names = {
            "input": "activation_density",
            "output_gradient": "output_gradient_density",
            "before": "gradient_density_before",
            "after": "gradient_density",
        }
        found = {names[what]: nonzero / count for what, (nonzero, count) in self._totals.items() if count}
        self._totals = dict.fromkeys(COUNTED, (0, 0))
        return found

    def trace(self) -> Trace:
        return Trace(model=self.model, settings=self.settings, layers=self.layers, steps=tuple(self._steps))

    def state(self) -> list[dict[str, Any]]:
        """The steps so far, as plain lists and numbers."""
        names = TracedStep.__slots__
        return [
            {name: list(value) if isinstance(value := getattr(step, name), tuple) else value for name in names}
            for step in self._steps
        ]

    def load(self, state: Sequence[dict[str, Any]]) -> None:
        self._steps = [
            TracedStep(**{name: tuple(value) if isinstance(value, list) else value for name, value in step.items()})
            for step in state
        ]


def _fetched(counts: Sequence[Counts]) -> list[dict[str, list[float]]]:
    tensors: list[Tensor] = []
    for layer in counts:
        tensors += [count.double() for count in layer.seen.values()]
        if layer.threshold is not None:
            tensors.append(layer.threshold.double().reshape(1))
    numbers = iter(torch.cat(tensors).tolist() if tensors else ())
    found: list[dict[str, list[float]]] = []
    for layer in counts:
        one = {what: [next(numbers), next(numbers)] for what in layer.seen}
        if layer.threshold is not None:
            one["threshold"] = [next(numbers)]
        found.append(one)
    return found


def _traced(site: Site) -> TracedLayer:
    layer = site.layer
    return TracedLayer(
        name=layer.name,
        kind=layer.kind,
        weight_shape=layer.weight_shape,
        input_shape=layer.input_shape,
        output_shape=layer.output_shape,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        pruned_at=site.at,
        why=site.why,
        reads_input=site.reads_input,
        masked=site.masked,
    )
