"""Stochastic pruning of activation gradients in training, after Dai et al. 2020 (SparseTrain).

In any training loop:

    network = advisor.analyze(model, example_input)
    pruning = ActivationGradientPruning(model, place(network), p=0.9)
    for images, labels in batches:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        pruning.after_backward()
        optimizer.step()
    trace = pruning.finish().files["gradient-trace.jsonl"]

`advisor.devices.simulated.trace` reads and checks the trace; its docstring and JSON schema are the format.
"""

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
