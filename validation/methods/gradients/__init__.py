"""Stochastic pruning of activation gradients in training, after Dai et al. 2020 (SparseTrain)."""

from validation.methods.gradients.method import ActivationGradientPruning, GradientPruningSettings
from validation.methods.gradients.placement import Site, place
from validation.methods.gradients.prune import GradientPruner, prune_gradient, stochastic_prune
from validation.methods.gradients.threshold import ThresholdQueue, normal_added_variance, normal_zero_share

__all__ = [
    "ActivationGradientPruning",
    "GradientPruner",
    "GradientPruningSettings",
    "Site",
    "ThresholdQueue",
    "normal_added_variance",
    "normal_zero_share",
    "place",
    "prune_gradient",
    "stochastic_prune",
]
