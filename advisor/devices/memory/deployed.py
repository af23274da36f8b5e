"""The module whose memory is in question: dense or under a plan, to train or as it would be deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from advisor.devices.measuring.subject import as_it_runs, module_of, real_inputs, weighted_module

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
    inputs = real_inputs(network, "cpu")
    return as_it_runs(network, weighted_module(network), plan, inputs, training=training)[0]
