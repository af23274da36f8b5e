"""GraSP: what keeps the gradients flowing in a network that is yet to be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.examples import Given
from advisor.saliency.gradients import hessian_product
from advisor.saliency.registry import Scores, register

if TYPE_CHECKING:
    from advisor.network import Network

TEMPERATURE = 200.0  # of the logits, as in the authors' code


@register(
    "grasp", needs="gradients", signed=True, source="weight x (Hessian·gradient) (Wang, Zhang and Grosse, ICLR 2020)"
)
def grasp(network: Network, given: Given) -> Scores:
    """w (H g): the authors remove the highest of −w (H g) first.

    To first order, a weight's removal lowers the squared norm of the gradient by twice its score; those below 0 raise
    it. g is the mean gradient over all data, H g is summed over the batches. Logits are divided by 200. Batch norm
    without statistics normalises by each batch, as in training.
    """
    import torch

    from advisor.examples.subject import settled, undisturbed

    calibration = given.calibration
    assert calibration is not None
    with undisturbed(given.seed):
        subject = settled(network, calibration, fresh="batch")
        mean = [torch.zeros_like(p) for p in subject.parameters]
        curved = [torch.zeros_like(p) for p in subject.parameters]
        for batch in calibration.batches:
            share = batch.size / calibration.examples
            loss = subject.loss(batch, calibration, temperature=TEMPERATURE)
            for sum_, g in zip(mean, subject.gradients(loss), strict=True):
                sum_ += share * g
        for batch in calibration.batches:
            share = batch.size / calibration.examples
            loss = subject.loss(batch, calibration, temperature=TEMPERATURE)
            gradients = subject.gradients(loss, again=True)
            for sum_, h in zip(curved, hessian_product(subject.parameters, gradients, mean, "grasp"), strict=True):
                sum_ += share * h
        return subject.named([p.detach() * h for p, h in zip(subject.parameters, curved, strict=True)])
