"""SynFlow: how much each weight carries of all that can flow through the network, without any data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.errors import PlanError
from advisor.examples import Given
from advisor.saliency.registry import Scores, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advisor.examples.subject import Subject
    from advisor.network import Network

ROUNDS, LAST = 100, 0.01  # of the iterated form, and the share of weights that its last round keeps
# The input's size. Scores are linear in it, and signals so small meet no activation's upper end (ReLU6, sigmoid); very
# deep networks need the output made smaller, too, to fit into float64.
_SMALL = 1e-150


@register("synflow", needs="weights", source="|weight x ∂R/∂weight| (Tanaka et al., NeurIPS 2020), one round")
def synflow(network: Network, given: Given) -> Scores:
    """Scores of the dense network: per layer they sum to R in a network of layers, ReLU and poolings alone.

    R is the sum of the outputs for an input of ones when every parameter is made absolute, in float64 and evaluation
    mode. So that R is the flow and nothing else, biases and the means and shifts of batch norm are left out (the
    authors' networks have next to none), and norms over other axes than the batch pass signals as they are.
    """
    return _flow(network, given, rounds=1)


@register("synflow100", needs="weights", source="SynFlow in 100 rounds (Tanaka et al., NeurIPS 2020)")
def synflow100(network: Network, given: Given) -> Scores:
    """SynFlow as its authors prune: round k of 100 keeps the share 0.01^(k/100) of the highest scores.

    A weight's worth is its share of what was left when it went, and never below that of those that went before, so
    that the smallest worth goes first as it does there.
    """
    return _flow(network, given, rounds=ROUNDS)


def _flow(network: Network, given: Given, *, rounds: int) -> Scores:
    import torch

    from advisor.examples.subject import subject, undisturbed

    with undisturbed(given.seed):
        looked = subject(network)
        _make_absolute(looked.module)
        inputs = _ones(network, looked)
        scores = flows(looked, inputs)
        if scores is None:
            raise PlanError("synflow: nothing flows from the input of this network to its output; take erk or snip")
        if rounds == 1:
            return looked.named(scores)
        alive = [torch.ones_like(p, dtype=torch.bool) for p in looked.parameters]
        worth = [torch.zeros_like(p) for p in looked.parameters]
        count, floor = sum(p.numel() for p in looked.parameters), 0.0
        for step in range(1, rounds + 1):
            if scores is None:  # so few weights are left that no path is whole: they are worth what the last one was
                break
            whole = float(torch.stack([s.sum() for s in scores]).sum()) or 1.0
            flat = torch.cat([(s / whole)[a] for s, a in zip(scores, alive, strict=True)])
            keep = max(1, round(count * LAST ** (step / rounds)))
            limit = float(flat.kthvalue(max(1, len(flat) - keep))[0]) if len(flat) > keep else -1.0
            for score, living, value, weight in zip(scores, alive, worth, looked.parameters, strict=True):
                relative = (score / whole).clamp_min(floor)
                value[living] = relative[living]
                living &= score / whole > limit
                weight.data.mul_(living)
            floor = float(np.nextafter(max(floor, limit), np.inf))  # what stays is worth more than what went
            scores = flows(looked, inputs) if step < rounds else None
        return looked.named(worth)


def flows(subject: Subject, inputs: Any) -> list[Tensor] | None:
    """|w ∂R/∂w| of every weight of a network made absolute, up to a factor where that is beyond float64; None where
    nothing flows.

    Raises:
        PlanError: more flows than float64 holds.
    """
    import torch
    from torch.utils._pytree import tree_leaves, tree_map

    small = tree_map(lambda x: x * _SMALL if x.is_floating_point() else x, inputs)
    for scale in (1.0, _SMALL):
        found = subject.module(*small)
        parts = [x.sum() * scale for x in tree_leaves(found) if isinstance(x, torch.Tensor) and x.is_floating_point()]
        flow = torch.stack(parts).sum() if parts else torch.zeros(())
        if not flow.requires_grad or float(flow.detach()) == 0:
            return None
        if np.isfinite(float(flow.detach())):
            scores = [(g * p.detach()).abs() for g, p in zip(subject.gradients(flow), subject.parameters, strict=True)]
            if _are_finite(scores):
                whole = [score / (_SMALL * scale) for score in scores]
                return whole if _are_finite(whole) else scores
    raise PlanError(
        "synflow: the flow through this network is more than float64 holds, or its weights hold NaN or infinity; "
        "take erk or snip"
    )


def _are_finite(scores: list[Tensor]) -> bool:
    return all(bool(score.isfinite().all()) for score in scores)


def _make_absolute(module: nn.Module) -> None:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.instancenorm import _InstanceNorm

    module.double()
    for name, parameter in module.named_parameters():
        parameter.data = parameter.data.abs()
        if name.rpartition(".")[2].endswith("bias"):
            parameter.data.zero_()
    for child in module.modules():
        if isinstance(child, _BatchNorm) and child.running_mean is not None:
            child.running_mean.zero_()
        elif isinstance(child, _BatchNorm | _InstanceNorm | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm):
            child.forward = _passed  # type: ignore[method-assign]


def _passed(x: Tensor, *_: Any) -> Tensor:
    return x


def _ones(network: Network, looked: Subject) -> tuple[Any, ...]:
    """The example inputs with every floating element at 1; numbers of tokens stay what they are."""
    import torch
    from torch.utils._pytree import tree_map

    device = looked.parameters[0].device

    def one(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        if item.is_floating_point():
            return torch.ones(item.shape, dtype=torch.float64, device=device)
        return torch.zeros(item.shape, dtype=item.dtype, device=device) if item.is_meta else item.to(device)

    found: tuple[Any, ...] = tree_map(one, tuple(network.example_inputs))
    return found
