"""Every option of every layer as times for a cost table: their sum with the constant is the predicted latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.parts import LayerTime, layer_time, output_share, rest_of, rest_shares
from advisor.devices.subject import batch_of, dtype_of

if TYPE_CHECKING:
    from advisor.devices.profile import Origin, Profile
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.runtime.methods import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTimes:
    """Per layer arrays (K,) in ms, in the order of its options.

    The latency of one choice is `rest_ms` + Σ latency_ms[layer][choice], equal to `compose.predict_options`: the part
    of the rest that goes with a layer's narrowed outputs is in its option's time (which can be negative by that), and
    so is a negative rest.
    """

    latency_ms: Mapping[str, np.ndarray]
    origins: Mapping[str, tuple[Origin, ...]]
    methods: Mapping[str, tuple[Method, ...]]  # the fastest of each option, whose time it is
    rest_ms: float
    notes: tuple[str, ...]


def option_times(
    network: Network, profile: Profile, options: Mapping[str, tuple[Option, ...]], *, training: bool = False
) -> OptionTimes:
    """Times of all `options` (layer → options) by a profile made for this batch size and kind of run.

    Raises:
        ProfileError: the profile holds no times, or was made under other settings.
    """
    warnings = profile.check(batch=batch_of(network), dtype=dtype_of(network), training=training)
    rest = rest_of(network, profile, training=training)
    shares = rest_shares(network)
    times: dict[str, list[LayerTime]] = {}
    moved: dict[str, np.ndarray] = {}
    # A negative rest means that every layer takes less in place than alone; a positive one stands beside the layers.
    beside = max(rest.rest_ms, 0.0)
    in_place = 1 + min(rest.rest_ms, 0.0) / rest.layers_ms
    for layer in network.sparsifiable:
        choices = options.get(layer.name, ())
        times[layer.name] = [layer_time(layer, option, profile, training=training) for option in choices]
        lost = [output_share(layer, option) - 1 for option in choices]
        moved[layer.name] = beside * shares[layer.name] * np.array(lost, dtype=np.float64)
    return OptionTimes(
        latency_ms={n: moved[n] + in_place * np.array([t.latency_ms for t in found]) for n, found in times.items()},
        origins={name: tuple(t.origin for t in found) for name, found in times.items()},
        methods={name: tuple(t.method for t in found) for name, found in times.items()},
        rest_ms=beside,
        notes=(*rest.notes, *warnings),
    )
