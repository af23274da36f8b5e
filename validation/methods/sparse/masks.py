"""Dense weights under masks, kept exactly: nothing that an optimiser does reaches a weight that is masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.errors import PlanError
from advisor.network import Layer
from advisor.patterns.base import pattern
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.option import Option
from advisor.plans.masks import connections_of
from validation.methods.method import Method, MethodSettings, Run
from validation.methods.registry import register_method
from validation.methods.sparse.modules import masked_module

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


class MaskedWeight:
    """A dense weight of which some units live (connections, blocks or single weights, as its pattern says).

    Attributes:
        layer: as width leaves it; `option` is what is masked in it.
        parameter: the dense weight, in the stored shape.
        units: which live, in the pattern's shape.
        gone: on the parameter's device and in its shape and order of axes: True where a weight is masked.
    """

    def __init__(self, layer: Layer, option: Option, parameter: nn.Parameter, units: Bools) -> None:
        if tuple(parameter.shape) != tuple(layer.weight_shape):
            raise PlanError(
                f"layer {layer.name}: its weight has shape {tuple(parameter.shape)}, expected {layer.weight_shape}; "
                "train the module that masked_module(dense, plan) makes"
            )
        self.layer, self.option, self.parameter = layer, option, parameter
        self.gone = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False)
        self.take(units)

    def take(self, units: Bools) -> None:
        """Other units live from now on. No value moves: call `clear` on what must follow."""
        mask = pattern(self.option.pattern).mask(self.layer, self.option, connections=units)
        self.units = units
        self.gone.copy_(torch.from_numpy(~mask))
        self._whole = bool(mask.all())

    @property
    def density(self) -> float:
        """The share of its weights that live."""
        return 1.0 - float(self.gone.sum()) / self.gone.numel()

    @torch.no_grad()
    def clear(self, tensor: torch.Tensor) -> None:
        """Zero where a weight is masked, in place. Not a product, so that NaN and infinity go, too."""
        if not self._whole:
            tensor.masked_fill_(self.gone, 0)

    def quota_sets(self) -> NDArray[np.int64]:
        """The number of each unit's quota set; made anew, since it takes eight bytes a unit."""
        return pattern(self.option.pattern).quota_sets(self.layer, self.option)

    def norms(self, tensor: torch.Tensor) -> Floats:
        """The L1 norm of each unit of a tensor in the weight's shape, in float64 on the CPU."""
        values = tensor.detach().abs().double().cpu().numpy()
        return pattern(self.option.pattern).unit_sums(self.layer, self.option, values)


def masked_weights(module: nn.Module, plan: Plan) -> list[MaskedWeight]:
    """A plan's masked layers on the weights of `masked_module(dense, plan)`, tied weights once.

    Raises:
        PlanError: the module is not of this plan.
    """
    found: list[MaskedWeight] = []
    for planned in plan.layers:
        if planned.is_masked:
            layer, option = planned.thinned
            found.append(MaskedWeight(layer, option, weight_of(module, planned.weight), connections_of(plan, planned)))
    return found


def weight_of(module: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that dotted name.

    Raises:
        PlanError: there is none, as in a module that a plan was applied to.
    """
    try:
        return module.get_parameter(name)
    except AttributeError as error:
        raise PlanError(
            f"the module has no parameter {name!r}; masks lie on dense weights: train the module that "
            "masked_module(dense, plan) makes, not plan.apply(dense)"
        ) from error


class Masked(Method):
    """Trains dense weights under masks: the same steps as those of the kept values alone, in every optimiser.

    Masked weights are zero before every forward pass. Their gradients and what the optimiser remembers of them are zero
    before every step, so that neither momentum nor decay moves them, and afterwards they are set to zero once more for
    optimisers that mix elements. Before `after_backward` the gradient is that of the dense weight: methods that move
    masks read it there.

    Args:
        weights: what is masked; see `masked_weights`.
        optimizer: of the weights. Of its state, what has a weight's shape is kept zero with it.
    """

    def __init__(self, weights: Iterable[MaskedWeight], optimizer: torch.optim.Optimizer) -> None:
        self.weights: dict[str, MaskedWeight] = {one.layer.name: one for one in weights}
        self.optimizer = optimizer
        self.steps = 0  # of the optimiser, so far
        for one in self.weights.values():
            one.clear(one.parameter)

    def after_backward(self) -> None:
        for one in self.weights.values():
            if one.parameter.grad is not None:
                one.clear(one.parameter.grad)

    def after_step(self) -> None:
        self.steps += 1
        for one in self.weights.values():
            one.clear(one.parameter)

    def move(self, one: MaskedWeight, units: Bools) -> Bools:
        """Lets other units live. The optimiser forgets what it knew of both kinds that change.

        Returns:
            Which units are new; their weights are zero, since masked weights are.
        """
        old = one.gone.clone()
        born = units & ~one.units
        one.take(units)
        one.clear(one.parameter)
        changed = old ^ one.gone
        for value in self.optimizer.state.get(one.parameter, {}).values():
            if isinstance(value, torch.Tensor) and value.shape == one.parameter.shape:
                value.masked_fill_(changed, 0)
        return born

    @property
    def density(self) -> float:
        """The share of all weights under masks that live; 1 where there are none."""
        total = sum(one.gone.numel() for one in self.weights.values())
        return 1.0 - sum(float(one.gone.sum()) for one in self.weights.values()) / total if total else 1.0

    def state_dict(self) -> dict[str, Any]:
        units = {name: torch.from_numpy(np.packbits(one.units)) for name, one in self.weights.items()}
        return {"steps": self.steps, "units": units}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])
        packed: Mapping[str, torch.Tensor] = state["units"]
        for name, one in self.weights.items():
            bits = np.unpackbits(packed[name].cpu().numpy(), count=one.units.size)
            one.take(bits.astype(np.bool_).reshape(one.units.shape))


@register_method("masked", target="plan")
@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedSettings(MethodSettings):
    """Dense weights under the plan's masks, where a plan trains its kept values alone: the same training otherwise."""

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> nn.Module:
        return masked_module(dense, needed(plan, self.name), rescale=rescale)

    def attach(self, run: Run) -> Masked:
        return Masked(masked_weights(run.module, needed(run.plan, self.name)), run.optimizer)


def needed(plan: Plan | None, method: str) -> Plan:
    """The plan, which a method cannot do without.

    Raises:
        PlanError: there is none.
    """
    if plan is None:
        raise PlanError(
            f"{method}: the dense network has no connections to choose; write {method}@plan, so that a plan says how "
            "many each layer keeps"
        )
    return plan
