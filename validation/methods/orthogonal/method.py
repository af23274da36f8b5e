"""Orthogonality as a penalty of training, for any loop: which layers, which form, and what a step pays for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from advisor.errors import AdvisorError
from advisor.network import Layer, Network
from advisor.patterns.candidates import end_layers
from advisor.runtime.sparse_layer import Sparse
from validation.methods.method import Method, MethodSettings, Outcome, Run
from validation.methods.orthogonal.existence import cautions, existence
from validation.methods.orthogonal.loss import conv_orthogonality, kernel_orthogonality
from validation.methods.registry import register_method

Form = Literal["conv", "kernel"]
TIMED = 5  # penalties with their gradients that the median of the time is over


def regularised(network: Network, *, linear: bool = False) -> tuple[Layer, ...]:
    """Every convolution but those that read the image, and linear layers on request.

    The authors' code takes fewer: of a ResNet-18's basic block the first 3x3 convolution and the 1x1 of the shortcut,
    of a bottleneck all. It leaves the image's convolution out, too, whose training became unstable with it.

    Raises:
        AdvisorError: there is no such layer.
    """
    ends = end_layers(network)
    kinds = ("conv", "linear") if linear else ("conv",)
    found = tuple(
        layer
        for layer in network.sparsifiable
        if layer.kind.startswith(kinds) and ends.get(layer.name) != "reads the network's input"
    )
    if not found:
        raise AdvisorError(
            f"orthogonality: network {network.name} has no convolution behind its first; linear=true takes its linear "
            "layers"
        )
    return found


class Orthogonality(Method):
    """Adds strength x sum over layers of their distance from orthogonality to the loss (Wang et al. 2020).

    Each layer counts by the smaller side of its Gram matrix, so that 0 is the best for all that can be orthogonal.
    Half-precision weights are judged in float32.

    Args:
        module: what trains; plain, masked and sparse layers are found by name.
        layers: of `regularised(network)`, or any others of it.
        form: "conv" for the convolution's matrix, "kernel" for the flattened kernel alone.
        squared: the squared Frobenius norm of the paper; False the norm, as the authors' code has it, whose default
            strength is 0.1.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        *,
        strength: float = 0.1,
        form: Form = "conv",
        squared: bool = False,
    ) -> None:
        self.layers, self.strength, self.form, self.squared = tuple(layers), strength, form, squared
        if not self.layers:
            raise AdvisorError("orthogonality: got no layers; give those of regularised(network)")
        self._modules = [_module(module, layer) for layer in self.layers]

    def penalty(self) -> Tensor:
        """The scalar to add to the loss."""
        return self.strength * self._sum(self.form, self.squared)

    def distance(self) -> float:
        """The squared distance of the convolutions' matrices from orthogonality, summed, whatever `form` trains."""
        with torch.no_grad():
            return float(self._sum("conv", True))

    def step_ms(self) -> float:
        """What the penalty and its gradient take on this device now: a median, which a busy machine lengthens."""
        parameters = [p for layer in self._modules for p in layer.parameters() if p.requires_grad]
        times = []
        with torch.enable_grad():
            for _ in range(TIMED + 1):
                began = _clock(parameters[0].device)
                torch.autograd.grad(self.penalty(), parameters, allow_unused=True)
                times.append(_clock(parameters[0].device) - began)
        return 1e3 * median(times[1:])

    def after_epoch(self) -> dict[str, float]:
        return {"orthogonality_distance": self.distance()}

    def finish(self) -> Outcome:
        """Distance and milliseconds per step, and which layers cannot be orthogonal."""
        numbers = {
            "orthogonality_distance": self.distance(),
            "orthogonality_layers": float(len(self.layers)),
            "orthogonality_step_ms": self.step_ms(),
        }
        notes = [f"{layer.name} cannot be orthogonal: {why}" for layer in self.layers if (why := existence(layer))]
        warned: dict[str, list[str]] = {}
        for layer in self.layers:
            for caution in cautions(layer):
                warned.setdefault(caution, []).append(layer.name)
        notes += [f"{_several(names)}: {caution}" for caution, names in warned.items()]
        return Outcome(numbers=numbers, notes=tuple(notes))

    def _sum(self, form: Form, squared: bool) -> Tensor:
        losses = []
        for layer, module in zip(self.layers, self._modules, strict=True):
            weight = _weight(module)
            with torch.autocast(weight.device.type, enabled=False):
                losses.append(_loss(weight, layer, int(getattr(module, "groups", layer.groups)), form, squared))
        return torch.stack(losses).sum()


def _loss(weight: Tensor, layer: Layer, groups: int, form: Form, squared: bool) -> Tensor:
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if form == "kernel":
        return kernel_orthogonality(weight, groups=groups, squared=squared)
    return conv_orthogonality(
        weight,
        layer.stride or 1,
        dilation=layer.dilation or 1,
        groups=groups,
        side="smaller",
        squared=squared,
    )


def _module(module: nn.Module, layer: Layer) -> nn.Module:
    try:
        found = module.get_submodule(layer.name)
        _weight(found)
    except AttributeError as error:
        raise AdvisorError(
            f"orthogonality: the module has no layer {layer.name!r} with a weight; give the module that was analysed"
        ) from error
    return found


def _weight(module: nn.Module) -> Tensor:
    weight: Tensor = module.dense_weight() if isinstance(module, Sparse) else module.weight
    return weight


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@register_method("orthogonal", target="dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class OrthogonalSettings(MethodSettings):
    """Convolutions drawn towards orthogonal maps, or their flattened kernels with form=kernel (Wang et al. 2020)."""

    strength: float = 0.1
    form: str = "conv"
    squared: bool = False
    linear: bool = False

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise AdvisorError(f"orthogonality: got form={self.form!r}, expected {' or '.join(get_args(Form))}")
        if not self.strength > 0:
            raise AdvisorError(f"orthogonality: got strength={self.strength}, expected more than 0; 0.1 is usual")

    def attach(self, run: Run) -> Orthogonality:
        layers = regularised(run.network, linear=self.linear)
        form: Any = self.form
        return Orthogonality(run.module, layers, strength=self.strength, form=form, squared=self.squared)
