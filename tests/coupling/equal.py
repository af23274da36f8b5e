"""The oracle of narrowing: a dense network whose dropped channels are all zero computes the same as the narrow one."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from advisor.coupling.keep import Flags, distinct_levels, kept_classes
from advisor.coupling.structure import Coupling
from advisor.coupling.trial import tried
from advisor.network import Network
from advisor.runtime.narrow import kept_channels, narrow


def levels_at(network: Network, level: float, rounding: str = "ceil") -> dict[str, float]:
    """Every group that can be at `level`, there."""
    coupling = tried(network)
    return {
        group.name: level
        for i, group in enumerate(coupling.groups)
        if level in distinct_levels(coupling, i, (level,), rounding)[1:]
    }


def zeroed(network: Network, coupling: Coupling, flags: Flags) -> nn.Module:
    """The dense network with zeros wherever a parameter follows a dropped channel."""
    module = copy.deepcopy(network.module)
    assert module is not None
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for cut in coupling.cuts:
            if cut.name in parameters and cut.groups == 1:
                gone = torch.from_numpy((~flags[coupling.class_of[cut.nodes]]).nonzero()[0])
                parameters[cut.name].index_fill_(cut.axis, gone, 0)
    return module


def compare(network: Network, levels: Mapping[str, float], example: torch.Tensor) -> tuple[nn.Module, float]:
    """(narrowed module, largest difference to the zeroed dense one), with random channels kept."""
    generator = np.random.Generator(np.random.PCG64(7))
    weights = {layer.name: generator.random(layer.weight_shape) for layer in network.sparsifiable}
    keep = {name: outputs for name, (_, outputs) in kept_channels(network, levels, weights=weights).items()}
    flags = kept_classes(network.coupling, levels, keep=keep)
    assert network.module is not None
    small = narrow(network.module, network, levels, keep=keep).eval()
    with torch.no_grad():
        expected = zeroed(network, network.coupling, flags).eval()(example)
        return small, float((small(example) - expected).abs().max())
