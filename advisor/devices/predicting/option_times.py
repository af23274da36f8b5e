"""Every option of every layer as times for a cost table: their sum with the constant is the predicted latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.measuring.subject import batch_of, dtype_of
from advisor.devices.predicting.parts import LayerTime, layer_time, output_share, rest_of, rest_shares
from advisor.patterns.narrowed import is_narrowed
from advisor.runtime.execution import executions
from advisor.runtime.methods import known_methods, ways

if TYPE_CHECKING:
    from advisor.devices.profile import Origin, Profile
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.runtime.execution import Execution
    from advisor.runtime.methods import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTimes:
    """Per layer arrays (K,) in ms, in the order of its options.

    The latency of one choice is `rest_ms` + Σ latency_ms[layer][choice], equal to `compose.predict_options`: the part
    of the rest that goes with a layer's narrowed outputs, or that its sparse form saves, is in its option's time (which
    can be negative by that), and so is the negative rest of layers that were timed alone. `rest_ms` itself is a little
    below zero where operators under the clock took longer than the whole network without one.

    An option whose time is extrapolated counts by the upper end of its interval, where the prediction says its median:
    a plan must not rest on what nobody has seen. Dense kernels count by their median, also on weights with zeros.
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
    profile = profile.at(training=training) if profile.tables else profile
    warnings = profile.check(batch=batch_of(network), dtype=dtype_of(network), training=training)
    profile.look_ahead(_all_executions(network, profile, options, training=training))
    rest = rest_of(network, profile, training=training)
    shares = rest_shares(network)
    times: dict[str, list[LayerTime]] = {}
    moved: dict[str, np.ndarray] = {}
    # A negative rest of layers timed alone means that every layer takes less in place; a positive one, and what was
    # measured in place, stands beside the layers.
    beside, in_place = rest.rest_ms, 1.0
    if rest.operators_ms is None:
        beside = max(rest.rest_ms, 0.0)
        in_place = 1 + min(rest.rest_ms, 0.0) / rest.layers_ms
    shrinks = beside if rest.operators_ms is None else rest.operators_ms
    for layer in network.sparsifiable:
        choices = options.get(layer.name, ())
        found = [layer_time(layer, option, profile, training=training, saved=rest.saved) for option in choices]
        times[layer.name] = found
        left = np.array([output_share(layer, option) for option in choices], dtype=np.float64)
        saved = np.array(
            [rest.saved_by(layer.name, t.method, part) for t, part in zip(found, left.tolist(), strict=True)],
            dtype=np.float64,
        )
        moved[layer.name] = shrinks * shares[layer.name] * (left - 1) - saved
    return OptionTimes(
        latency_ms={n: moved[n] + in_place * _counted(options.get(n, ()), found) for n, found in times.items()},
        origins={name: tuple(t.origin for t in found) for name, found in times.items()},
        methods={name: tuple(t.method for t in found) for name, found in times.items()},
        rest_ms=beside,
        notes=(*rest.notes, *_beyond(options, times), *warnings),
    )


def _all_executions(
    network: Network, profile: Profile, options: Mapping[str, Sequence[Option]], *, training: bool
) -> Iterator[Execution]:
    """By every method that `choice.fastest` compares."""
    for layer in network.sparsifiable:
        for option in options.get(layer.name, ()):
            found = known_methods(profile.methods, ways(layer, option, training=training, device=profile.device))
            for method in found:
                yield from executions(layer, option, training=training, method=method)


def _counted(options: Sequence[Option], times: Sequence[LayerTime]) -> np.ndarray:
    """(K,) ms."""
    counted = [t.high_ms if _is_unseen(o, t) else t.latency_ms for o, t in zip(options, times, strict=True)]
    return np.array(counted, dtype=np.float64)


def _is_unseen(option: Option, time: LayerTime) -> bool:
    """Extrapolated, and no dense layer of its full width."""
    return time.origin == "extrapolated" and (time.method != "dense" or is_narrowed(option))


def _beyond(options: Mapping[str, Sequence[Option]], times: Mapping[str, Sequence[LayerTime]]) -> tuple[str, ...]:
    found = [name for name, known in times.items() if any(map(_is_unseen, options.get(name, ()), known))]
    if not found:
        return ()
    return (
        f"options of {len(found)} layers lie beyond what was measured and count by the upper end of their interval: "
        f"{', '.join(found[:4])}",
    )
