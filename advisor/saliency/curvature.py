"""Scores from the curvature of the loss: the diagonal of the empirical Fisher matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.examples import Given
from advisor.saliency.registry import Scores, register

if TYPE_CHECKING:
    from advisor.network import Network


@register(
    "fisher",
    needs="gradients",
    trained=True,
    source="½ weight² x mean squared gradient of single examples (Theis et al. 2018; LeCun et al. 1990)",
)
def fisher(network: Network, given: Given) -> Scores:
    """½ w² mean over examples of g²: the second-order rise of the loss, with the diagonal of the empirical Fisher.

    Costs one pass forwards and backwards for every example by itself.
    """
    import torch

    from advisor.examples.subject import settled, undisturbed

    calibration = given.calibration
    assert calibration is not None
    with undisturbed(given.seed):
        subject = settled(network, calibration)
        total = [torch.zeros_like(p) for p in subject.parameters]
        for example in calibration.singles():
            for sum_, g in zip(total, subject.gradients(subject.loss(example, calibration)), strict=True):
                sum_ += g.square()
        scale = 0.5 / calibration.examples
        return subject.named([scale * f * p.detach().square() for f, p in zip(total, subject.parameters, strict=True)])
