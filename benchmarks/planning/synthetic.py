"""Cost tables of any size, with the sizes of layers and the shape of times as real networks have them."""

from __future__ import annotations

import numpy as np

from advisor.patterns.option import DENSE, Option
from advisor.planning.table import CostTable


def synthetic(seed: int, layers: int = 105, options: int = 42) -> CostTable:
    """Times fall with the density, less than in proportion, and noisily; parameters and MACs in proportion.

    The loss is -ln(density) times a weight per layer that is drawn from a lognormal distribution; weights sum to 1.
    """
    rng = np.random.default_rng(seed)
    densities = np.append(1.0, np.geomspace(0.95, 0.01, options - 1))
    params = np.exp(rng.normal(11, 1.2, layers))
    macs = np.exp(rng.normal(17, 1.0, layers))
    weight = rng.lognormal(0, 1, layers)
    ms = macs / 1e8
    choices = (DENSE, *(Option(pattern="unstructured", density=float(d)) for d in densities[1:]))
    return CostTable(
        layers=tuple(f"layer{index}" for index in range(layers)),
        options=(choices,) * layers,
        costs={
            "params": tuple(np.ceil(n * densities) for n in params),
            "macs": tuple(np.ceil(n * densities) for n in macs),
            "latency": tuple(n * (0.15 + 0.85 * densities) * rng.uniform(0.9, 1.1, options) for n in ms),
        },
        loss=tuple(w * np.abs(np.log(densities)) for w in weight / weight.sum()),
    )
