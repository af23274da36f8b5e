"""From a network and a profile to the cost table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.devices.energy import Coefficients, energy_mj
from advisor.errors import BudgetError
from advisor.patterns.option import Option
from advisor.planning.attention_rows import attention_losses, with_attention
from advisor.planning.menu.options import Menu
from advisor.planning.sensitivity import NOTHING_GIVEN, Given, estimate
from advisor.planning.table import CostTable, LevelGroup, Peaks

if TYPE_CHECKING:
    from advisor.devices.predicting.option_times import OptionTimes
    from advisor.devices.profile import Profile
    from advisor.network import Layer, Network
    from advisor.runtime.methods import Method

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Built:
    """The table, and what the plan has to say about its numbers."""

    table: CostTable
    menu: Menu
    methods: Mapping[str, tuple[Method, ...]]  # layer → by which method each option runs
    time_key: str | None = None  # which time the profile gave
    times: OptionTimes | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    given: Given = field(default=NOTHING_GIVEN, repr=False)  # what the losses came from; the selection may ask it, too


def build_table(
    network: Network,
    menu: Menu,
    *,
    profile: Profile | None = None,
    sensitivity: str = "erk",
    exchange: Mapping[str, float] | None = None,
    wanted: tuple[str, ...] = (),
    given: Given = NOTHING_GIVEN,
) -> Built:
    """Costs and losses of everything on the menu.

    The costs: `params` (the whole network's), `macs`, `weight_memory` (bytes of kept values, their positions, and all
    other parameters and buffers, as stored), `peak_memory` (that and the activations alive at the worst step; what an
    operator needs inside, such as a copy of gathered inputs, is left out), `energy` (mJ, of what really runs: a masked
    pattern without a kernel multiplies its zeros, too), and `latency` or `training_latency` (ms) as the profile's kind
    of run is. An option takes the time of the method that the profile finds the fastest, so one without a faster kernel
    takes the dense time; without times `method_of` says what runs.

    Args:
        network: analysed.
        menu: the options.
        profile: for times, and for energy where it holds coefficients.
        sensitivity: how losses are estimated.
        exchange: factors on the losses of patterns.
        wanted: costs that must be in the table.
        given: data, for sensitivities that need it.

    Raises:
        BudgetError: a time is wanted and there is no profile.
        ProfileError: the profile's settings do not fit the network or what is wanted.
    """
    layers = network.sparsifiable
    time_key, times = _times(network, menu, profile, wanted)
    methods = times.methods if times is not None else _by_rule(network, menu)
    columns: dict[str, list[Floats]] = {"params": [], "macs": [], "weight_memory": [], "energy": []}
    coefficients, notes = _coefficients(profile)
    item = item_bytes(network)
    for layer in layers:
        choices = menu.options[layer.name]
        columns["params"].append(np.array([_kept(layer, option) for option in choices], np.float64))
        columns["macs"].append(np.array([_macs(layer, option) for option in choices], np.float64))
        columns["weight_memory"].append(
            np.array([_bytes(layer, option, item[layer.name]) for option in choices], np.float64)
        )
        runs = zip(choices, methods[layer.name], strict=True)
        columns["energy"].append(np.array([_energy(layer, o, m, coefficients) for o, m in runs], np.float64))
    constants = {
        "params": network.params - _dense(columns["params"]),
        "macs": network.macs - _dense(columns["macs"]),
        "weight_memory": network.weight_bytes - _dense(columns["weight_memory"]),
        "energy": _other_energy(network, coefficients),
    }
    groups, peaks = _groups(network, menu, constants)
    costs = {key: tuple(values) for key, values in columns.items()}
    if time_key is not None and times is not None:
        costs[time_key], constants[time_key] = _not_negative(
            [times.latency_ms[layer.name] for layer in layers], times.rest_ms
        )
        notes += times.notes
        if profile is not None and profile.origin != "measured":
            notes += (f"the times of profile {profile.name!r} are {profile.origin}, not measured",)
    found = estimate(network, menu.options, sensitivity, exchange=exchange, given=given)
    loss, notes = found.losses, (*notes, *((found.note,) if found.note else ()))
    rows, said = attention_losses(network, menu.attention, sensitivity, exchange=exchange, given=given)
    table = CostTable(
        layers=tuple(layer.name for layer in layers),
        options=tuple(menu.options[layer.name] for layer in layers),
        costs=costs,
        loss=tuple(loss[layer.name] for layer in layers),
        constants=constants,
        groups=groups,
        requires=tuple(menu.requires[layer.name] for layer in layers),
        peaks=peaks,
    )
    table = with_attention(table, network, menu.attention, item=item, coefficients=coefficients, losses=rows)
    plain: Method = "dense"
    methods = {**methods, **{name: (plain,) * len(choices) for name, choices in menu.attention.options.items()}}
    notes = (*notes, *said)
    return Built(table=table, menu=menu, methods=methods, time_key=time_key, times=times, notes=notes, given=given)


def _times(
    network: Network, menu: Menu, profile: Profile | None, wanted: tuple[str, ...]
) -> tuple[str | None, OptionTimes | None]:
    asked = [key for key in ("latency", "training_latency") if key in wanted]
    if profile is None:
        if asked:
            raise BudgetError(
                f"budget {asked[0]} needs a profile; make one with: advisor profile MODEL --out FILE, then give "
                "--profile FILE"
            )
        return None, None
    if profile.settings is None and not asked:
        return None, None  # energy only
    if len(asked) == 2:
        raise BudgetError(
            "budgets latency and training_latency need two profiles, one made with --training; give one of them a plan"
        )
    from advisor.devices.predicting.option_times import option_times

    training = asked[0] == "training_latency" if asked else bool(profile.settings and profile.settings.training)
    times = option_times(network, profile, menu.options, training=training)
    return ("training_latency" if training else "latency"), times


def _not_negative(columns: list[Floats], constant: float) -> tuple[tuple[Floats, ...], float]:
    """The same totals with no column below zero: what is below moves into the constant."""
    least = [min(float(column.min(initial=0.0)), 0.0) for column in columns]
    moved = tuple(column - low for column, low in zip(columns, least, strict=True))
    return moved, constant + sum(least)


def _kept(layer: Layer, option: Option) -> int:
    from advisor.patterns.base import pattern

    return layer.weights if option.pattern == "dense" else pattern(option.pattern).kept_weights(layer, option)


def _macs(layer: Layer, option: Option) -> int:
    from advisor.patterns.base import pattern

    return layer.macs if option.pattern == "dense" else pattern(option.pattern).macs(layer, option)


def _bytes(layer: Layer, option: Option, item: int) -> int:
    from advisor.patterns.base import pattern

    return (
        layer.weights * item
        if option.pattern == "dense"
        else pattern(option.pattern).storage_bytes(layer, option, item)
    )


def _by_rule(network: Network, menu: Menu) -> dict[str, tuple[Method, ...]]:
    """Layer → the method of each option where no profile has timed any."""
    from advisor.runtime.methods import method_of

    return {
        layer.name: tuple(method_of(layer, option) for option in menu.options[layer.name])
        for layer in network.sparsifiable
    }


def _energy(layer: Layer, option: Option, method: Method, coefficients: Coefficients) -> float:
    from advisor.runtime.execution import executions

    # Energy is that of a forward pass; what trains as kept values alone is deployed with its zeros.
    runs = executions(layer, option, method="dense" if method == "packed" else method).items()
    return sum(calls * energy_mj(run.macs, run.bytes_moved, coefficients) for run, calls in runs)


def _other_energy(network: Network, coefficients: Coefficients) -> float:
    """Arithmetic outside the sparsifiable layers (attention, matrix products), its operands and results in float32."""
    return sum(
        energy_mj(call.macs, 4 * (prod(call.input_shape) + prod(call.output_shape)), coefficients)
        for layer in network.layers
        if layer.weight is None
        for call in layer.calls
        if call.macs
    )


def _coefficients(profile: Profile | None) -> tuple[Coefficients, tuple[str, ...]]:
    if profile is not None and profile.energy is not None:
        return profile.energy, ()
    from advisor.devices.profile import load_profile

    shipped = load_profile("energy-45nm")
    if shipped.energy is None:
        raise BudgetError("the shipped profile 'energy-45nm' holds no energy coefficients; reinstall the package")
    return shipped.energy, ("energy is a model of 45 nm circuits (profile energy-45nm), not a measurement",)


def item_bytes(network: Network) -> dict[str, int]:
    """Layer → bytes of one element of its weight; 4 where the graph does not hold the parameter."""
    sizes = {
        value.name: value.bytes // max(prod(value.shape), 1)
        for value in network.ops.values
        if value.origin == "parameter" and value.name is not None
    }
    return {layer.name: sizes.get(str(layer.weight), 4) for layer in network.sparsifiable}


def _dense(columns: list[Floats]) -> float:
    return sum(float(column[0]) for column in columns)


def _groups(network: Network, menu: Menu, constants: dict[str, float]) -> tuple[tuple[LevelGroup, ...], Peaks]:
    """What follows the width groups, taken out of the constants."""
    if menu.width is None:
        return (), Peaks(base=np.array([network.peak_activation_bytes], np.float64))
    groups = []
    for group in menu.width.groups:
        costs = {"params": group.params, "weight_memory": group.param_bytes + group.buffer_bytes}
        for key, column in costs.items():
            constants[key] -= float(column[0])
        groups.append(LevelGroup(name=group.name, levels=group.levels, costs=costs))
    levels = tuple(group.activation_bytes for group in menu.width.groups)
    return tuple(groups), Peaks(base=menu.width.base_bytes, levels=levels)
