"""The module whose memory is in question: dense or under a plan, to train or as it would be deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from advisor.devices.measuring.subject import inference_ready, module_of, real_inputs, real_module
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan


def module_for(network: Network, plan: Plan | None, *, training: bool) -> nn.Module:
    """As it will run. What is dense and trains stays without memory where the network is; the rest gets weights.

    Folding and fusing look at values, and try what they make, so a network without memory gets random weights for
    them; they are freed with the module.
    """
    if plan is None and training:
        return module_of(network)
    return ready(network, plan, weighted(network), training=training)


def ready(network: Network, plan: Plan | None, module: nn.Module, *, training: bool) -> nn.Module:
    """`module` (the network's, with memory) under the plan, folded and fused where it does not train."""
    from advisor.plans.apply import apply_plan

    if plan is None:
        return module if training else inference_ready(network, module)
    inputs = real_inputs(network, "cpu")
    return apply_plan(plan, module, for_inference=not training, example_inputs=inputs).module


def weighted(network: Network) -> nn.Module:
    """The network with weights on the CPU; built anew by its name where it holds tables that cannot be made up."""
    try:
        return real_module(network, "cpu")
    except ProfileError:
        from advisor.models import load_model

        return load_model(network.name, device="cpu", seed=0).module
