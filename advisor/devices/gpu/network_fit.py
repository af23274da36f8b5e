"""Rates, launch and constant from the times of whole networks, judged on families of networks left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from advisor.devices.gpu.classes import KERNELS
from advisor.devices.gpu.rates import Rates, fit_rates, joined
from advisor.devices.gpu.shapes import Array

Classes = Mapping[str, float]


def fit_networks(
    networks: Sequence[Classes],
    times: Array,
    *,
    base: Rates | None = None,
    launches: bool = False,
    firmness: float = 0.1,
) -> Rates:
    """Rates of one GPU from whole networks.

    Args:
        networks: what each runs, see `classes`.
        times: (N,) ms.
        base: another GPU's rates to start from and stay near; few networks need it.
        launches: fit the launch-bound branch, too: worth it where batches are small.
        firmness: see `fit_rates`.
    """
    start = base or Rates(inverse={})
    if not launches:
        return fit_rates(networks, times, base=start, firmness=firmness)
    sums = np.array([start.sum_ms(row) for row in networks])
    kernels = np.array([row.get(KERNELS, 0.0) for row in networks])
    goal = np.log(times)

    def off(x: Array) -> float:
        scale, launch, constant, p = np.exp(x)
        error = np.log(joined(scale * sums, launch * kernels, p) + constant) - goal
        # Robust: a network off by half counts little more than one off by a quarter.
        return float(np.log1p((error / 0.12) ** 2).sum()) + 0.1 * float(x[0] ** 2 + (x[3] - np.log(3.0)) ** 2)

    least = float(np.min(times / np.maximum(kernels, 1)))
    starts = [np.log([s, least * f, 0.3, 3.0]) for s in (0.7, 1.3) for f in (0.7, 1.2)]
    best = min((minimize(off, s, method="Nelder-Mead", options={"maxiter": 800}) for s in starts), key=lambda r: r.fun)
    scale, launch, constant, sharpness = map(float, np.exp(best.x))
    scaled = Rates(
        inverse={name: scale * start.of(name) for name in sorted(set().union(*networks)) if name != KERNELS},
        kernel_ms=scale * start.kernel_ms,
        launch_ms=launch,
        constant_ms=constant,
        sharpness=float(np.clip(sharpness, 1.0, 10.0)),
    )
    refined = fit_rates(networks, times, base=scaled, firmness=max(firmness, 0.2))
    # Classes that these networks do not have follow the common scale.
    rest = {name: scale * value for name, value in start.inverse.items() if name not in refined.inverse}
    return replace(refined, inverse={**rest, **refined.inverse})


def left_out(
    networks: Sequence[Classes],
    times: Array,
    families: Sequence[str],
    *,
    base: Rates | None = None,
    launches: bool = False,
    firmness: float = 0.1,
    parts: int | None = None,
) -> Array:
    """(N,) ms of each network by rates that saw none of its family.

    Args:
        parts: families are left out in so many groups instead of one by one, which is quicker.
    """
    names = sorted(set(families))
    order = np.random.default_rng(0).permutation(len(names)) % (parts or len(names))
    group = dict(zip(names, order, strict=True))
    mine = np.array([group[family] for family in families])
    found = np.empty(len(times))
    for index in np.unique(mine):
        out = mine == index
        seen = [row for row, gone in zip(networks, out, strict=True) if not gone]
        rates = fit_networks(seen, times[~out], base=base, launches=launches, firmness=firmness)
        found[out] = [rates.whole_ms(row) for row, gone in zip(networks, out, strict=True) if gone]
    return found
