"""Rows of the cost table for attention layers, behind those of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.devices.energy import Coefficients, energy_mj
from advisor.errors import PlanError
from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.patterns.option import DENSE, Option
from advisor.planning.menu.attention import AttentionMenu
from advisor.planning.sensitivity import Given, estimate
from advisor.planning.table import CostTable

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.patterns.hierarchical import AttentionShape
    from advisor.plans.attention import PlanAttention

Floats = NDArray[np.float64]
FLOAT_BYTES = 4  # of activations, as energy counts them everywhere


def with_attention(
    table: CostTable,
    network: Network,
    menu: AttentionMenu,
    *,
    item: Mapping[str, int],
    coefficients: Coefficients,
    losses: Mapping[str, Floats],
) -> CostTable:
    """The table with a row for each attention layer of `menu`; what plain attention costs leaves the constants.

    Args:
        table: of the weights' layers, without times.
        network: that the table was made of.
        menu: options of the attention layers.
        item: layer → bytes of one element of its weight.
        coefficients: of energy.
        losses: attention layer → (K,), as `attention_losses` gives them.
    """
    if not menu.options:
        return table
    columns: dict[str, list[Floats]] = {key: [] for key in table.costs}
    for name, options in menu.options.items():
        shape = menu.sites[name].shape
        added = np.array([hierarchical.added_params(shape, option) for option in options], np.float64)
        columns["params"].append(added)
        columns["weight_memory"].append(added * item[menu.sites[name].projections[-1]])
        columns["macs"].append(np.array([hierarchical.macs(shape, option) for option in options], np.float64))
        columns["energy"].append(np.array([_energy(shape, option, coefficients) for option in options], np.float64))
    rows = tuple(menu.options)
    return replace(
        table,
        layers=(*table.layers, *rows),
        options=(*table.options, *menu.options.values()),
        costs={key: (*table.costs[key], *columns[key]) for key in table.costs},
        loss=(*table.loss, *(losses[name] for name in rows)),
        constants={
            key: value - sum(float(column[0]) for column in columns.get(key, ()))
            for key, value in table.constants.items()
        },
        dense=(*table.dense, *((0,) * len(rows))),
        requires=(*table.requires, *(((),) * len(menu.options[name]) for name in rows)),
    )


def attention_losses(
    network: Network,
    menu: AttentionMenu,
    sensitivity: str,
    *,
    exchange: Mapping[str, float] | None,
    given: Given,
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """What the options are taken to lose, and what has to be said of it.

    No formula or score tells what another operator loses before it is trained. So that it stands on the scale of the
    other losses at all, an option that computes the share d of the pairs of tokens is taken to lose what the layer's
    output projection would at density d (single weights), by the same sensitivity: an assumption, which an exchange
    rate for "hierarchical" scales.
    """
    if not any(len(options) > 1 for options in menu.options.values()):
        return {name: np.zeros(len(options)) for name, options in menu.options.items()}, ()
    asked: dict[str, tuple[Option, ...]] = {layer.name: (DENSE,) for layer in network.sparsifiable}
    stand_ins: dict[str, tuple[Option, ...]] = {}
    for name, options in menu.options.items():
        stand_ins[name] = tuple(
            DENSE if option.pattern == "dense" else Option(pattern="unstructured", density=option.density)
            for option in options
        )
        asked[menu.sites[name].projections[-1]] = _distinct(stand_ins[name])
    found = estimate(network, asked, sensitivity, given=given).losses
    rate = (exchange or {}).get(HIERARCHICAL, 1.0)
    losses = {}
    for name, options in stand_ins.items():
        projection = menu.sites[name].projections[-1]
        places = [asked[projection].index(option) for option in options]
        losses[name] = rate * found[projection][places]
    said = (
        "losses of hierarchical attention are assumed, not estimated: those of the output projection behind it at the "
        "same density"
    )
    scaled = f", times {rate:.4g} (exchange)" if rate != 1 else "; train the plan beside others before it is believed"
    return losses, (said + scaled,)


def replaced_loss(network: Network, layers: Sequence[PlanAttention], sensitivity: str, given: Given) -> float:
    """What a plan's replaced attention layers are taken to lose together, before any exchange rate.

    Raises:
        PlanError: a layer that the network lacks, or that cannot become hierarchical in it.
    """
    from advisor.runtime.attention.sites import attention_sites

    able = attention_sites(network).able
    for layer in layers:
        if layer.name not in able:
            raise PlanError(f"attention layer {layer.name} cannot become hierarchical in {network.name!r}; plan anew")
    menu = AttentionMenu(
        sites={layer.name: able[layer.name] for layer in layers},
        options={layer.name: (DENSE, layer.option) for layer in layers},
    )
    losses, _ = attention_losses(network, menu, sensitivity, exchange=None, given=given)
    return float(sum(column[1] for column in losses.values()))


def _distinct(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """Options of different windows and pools may stand for one density."""
    return tuple(option for place, option in enumerate(options) if option not in options[:place])


def _energy(shape: AttentionShape, option: Option, coefficients: Coefficients) -> float:
    """Of the products and the new projections; the operands of each are moved once, as for other layers."""
    tokens = shape.images * shape.tokens * shape.channels  # elements of one map of tokens

    def of(macs: int, elements: int) -> float:
        return energy_mj(macs, FLOAT_BYTES * elements, coefficients)

    if option.pattern != HIERARCHICAL:
        return of(shape.plain_macs, 2 * tokens)
    means = shape.images * hierarchical.pooled_tokens(shape, option.parameters) * shape.channels
    return (
        of(hierarchical.products_macs(shape, option.parameters), 4 * tokens)  # in and out, of two steps
        + of(hierarchical.projections_macs(shape, option.parameters), 2 * tokens + 3 * means + 3 * shape.channels**2)
    )
