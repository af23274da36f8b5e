"""What goes past a layer in a recorded step: densities, counted on the device and fetched once a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from advisor.devices.simulated.trace import Trace, TracedLayer, TracedStep
from advisor.network import Layer, Shape
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
        self._sites = tuple(sites)
        self._shapes: dict[str, tuple[Shape, Shape, int]] = {}  # input, output, groups
        self._steps: list[TracedStep] = []
        self._totals = dict.fromkeys(COUNTED, (0, 0))

    def observe(self, name: str, inputs: Shape, outputs: Shape, groups: int, batch: int) -> None:
        """Shapes of a layer as it runs, which are smaller than the analysed ones where a plan narrowed it."""
        if name not in self._shapes:
            first, second = ((shape[0] // batch, *shape[1:]) for shape in (inputs, outputs))
            self._shapes[name] = first, second, groups

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
        layers = tuple(_traced(site, self._shapes.get(site.layer.name)) for site in self._sites)
        return Trace(model=self.model, settings=self.settings, layers=layers, steps=tuple(self._steps))

    def state(self) -> dict[str, Any]:
        """The steps so far, as plain tuples and numbers."""
        return {"shapes": dict(self._shapes), "steps": [asdict(step) for step in self._steps]}

    def load(self, state: dict[str, Any]) -> None:
        self._shapes = dict(state["shapes"])
        self._steps = [TracedStep(**step) for step in state["steps"]]


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


def _traced(site: Site, shapes: tuple[Shape, Shape, int] | None) -> TracedLayer:
    layer = site.layer
    analysed = (1, *layer.input_shape[1:]), (1, *layer.output_shape[1:]), layer.groups
    inputs, outputs, groups = shapes or analysed
    return TracedLayer(
        name=layer.name,
        kind=layer.kind,
        weight_shape=_weight_shape(layer, inputs, outputs, groups),
        input_shape=inputs,
        output_shape=outputs,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=groups,
        pruned_at=site.at,
        why=site.why,
        reads_input=site.reads_input,
        masked=site.masked,
    )


def _weight_shape(layer: Layer, inputs: Shape, outputs: Shape, groups: int) -> Shape:
    if not layer.is_conv:
        return outputs[-1], inputs[-1]
    if layer.transposed:
        return inputs[1], outputs[1] // groups, *layer.kernel
    return outputs[1], inputs[1] // groups, *layer.kernel
