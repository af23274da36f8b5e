"""Scores from gradients of the loss: SNIP, and Taylor expansions of first and second order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.examples import Given
from advisor.saliency.registry import Scores, register

if TYPE_CHECKING:
    import torch

    from advisor.network import Network


@register("snip", needs="gradients", source="|gradient x weight| (Lee, Ajanthan and Torr, ICLR 2019)")
def snip(network: Network, given: Given) -> Scores:
    """|g w| / Σ |g w| with g the gradient of the mean loss over the data.

    Batch norm without statistics normalises by each batch, as in training, where the authors apply it.
    """
    import torch

    from advisor.examples.subject import settled, undisturbed

    calibration = given.calibration
    assert calibration is not None
    with undisturbed(given.seed):
        subject = settled(network, calibration, fresh="batch")
        total = [torch.zeros_like(p) for p in subject.parameters]
        for batch in calibration.batches:
            share = batch.size / calibration.examples
            for sum_, g in zip(total, subject.gradients(subject.loss(batch, calibration)), strict=True):
                sum_ += share * g
        scores = subject.named([(g * p).abs() for g, p in zip(total, subject.parameters, strict=True)])
    whole = sum(float(values.sum()) for values in scores.values()) or 1.0
    return {name: values / whole for name, values in scores.items()}


@register(
    "taylor1",
    needs="gradients",
    trained=True,
    source="(gradient x weight)² (Molchanov et al., CVPR 2019, eq. 8)",
)
def taylor1(network: Network, given: Given) -> Scores:
    """Mean over the batches of (g w)²: the squared change of a batch's loss, to first order, when a weight goes."""
    return _squared_changes(network, given, second=False)


@register(
    "taylor2",
    needs="gradients",
    trained=True,
    source="(gradient x weight − ½ weight x Hessian·weights)² (Molchanov et al., CVPR 2019, eq. 7)",
)
def taylor2(network: Network, given: Given) -> Scores:
    """Mean over the batches of (g w − ½ w (H w))², H w being one Hessian-vector product with all weights."""
    return _squared_changes(network, given, second=True)


def _squared_changes(network: Network, given: Given, *, second: bool) -> Scores:
    import torch

    from advisor.examples.subject import settled, undisturbed

    calibration = given.calibration
    assert calibration is not None
    with undisturbed(given.seed):
        subject = settled(network, calibration)
        total = [torch.zeros_like(p) for p in subject.parameters]
        weights = [p.detach() for p in subject.parameters]
        for batch in calibration.batches:
            share = batch.size / calibration.examples
            gradients = subject.gradients(subject.loss(batch, calibration), again=second)
            changes = [g.detach() * w for g, w in zip(gradients, weights, strict=True)]
            if second:
                curved = hessian_product(subject.parameters, gradients, weights, "taylor2")
                changes = [c - w * h / 2 for c, w, h in zip(changes, weights, curved, strict=True)]
            for sum_, change in zip(total, changes, strict=True):
                sum_ += share * change.square()
        return subject.named(total)


def hessian_product(
    parameters: list[torch.nn.Parameter],
    gradients: tuple[torch.Tensor, ...],
    vector: list[torch.Tensor],
    name: str,
) -> tuple[torch.Tensor, ...]:
    """The Hessian times `vector`, from gradients that can be differentiated again.

    Raises:
        PlanError: an operator of the network has no second derivative.
    """
    import torch

    from advisor.errors import PlanError

    product = sum((g * v).sum() for g, v in zip(gradients, vector, strict=True))
    if not isinstance(product, torch.Tensor) or not product.requires_grad:
        return tuple(torch.zeros_like(p) for p in parameters)  # the loss is linear in the weights
    try:
        found = torch.autograd.grad(product, parameters, allow_unused=True)
    except (RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PlanError(
            f"{name} needs second derivatives, which an operator of this network lacks: {reason}; take snip or fisher"
        ) from error
    return tuple(torch.zeros_like(p) if h is None else h for p, h in zip(parameters, found, strict=True))
