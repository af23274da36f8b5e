"""Which of an option's methods a profile finds the fastest, and which ones a plan's layers run by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from advisor.patterns.narrowed import thinned
from advisor.runtime.execution import executions
from advisor.runtime.methods import Method, known_methods, method_here, ways

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Layer, Network
    from advisor.patterns.option import Option
    from advisor.plans.plan import Plan


def fastest(
    layer: Layer,
    option: Option,
    profile: Profile,
    *,
    training: bool = False,
    saved: Mapping[str, float] | None = None,
) -> Method:
    """The method of least time among those that the profile has timed anywhere; the masked dense one is always there.

    Measured and predicted times count by their medians. An extrapolated one counts by the upper end of its interval:
    a method must not be chosen for what nobody has seen of it.

    Args:
        saved: layer → ms that the sparse kernels save beside the layer's own time (`Whole.saved`).
    """
    found = known_methods(profile.methods, ways(layer, option, training=training, device=profile.device))
    if len(found) == 1:
        return found[0]
    costs = {method: _stake(layer, option, profile, method, training=training) for method in found}
    if "direct" in costs and saved is not None:
        costs["direct"] -= saved.get(layer.name, 0.0) * thinned(layer, option)[0].out_channels / layer.out_channels
    return min(found, key=costs.__getitem__)


def _stake(layer: Layer, option: Option, profile: Profile, method: Method, *, training: bool) -> float:
    total = 0.0
    for execution, calls in executions(layer, option, training=training, method=method).items():
        time = profile.latency(execution)
        total += calls * (time.high_ms if time.origin == "extrapolated" else time.median_ms)
    return total


def planned_methods(
    network: Network, plan: Plan, profile: Profile, *, training: bool = False
) -> tuple[dict[str, Method], tuple[str, ...]]:
    """Layer → the method that runs it where the profile was made, as `Plan.apply` would choose there; and remarks.

    That is the method that the plan recorded, or else the one that is taken without a profile.
    """
    have = "direct" in profile.methods
    found: dict[str, Method] = {}
    other: Counter[Method] = Counter()
    for planned in plan.layers:
        layer = network.layer(planned.name)
        found[planned.name], reason = method_here(
            layer, planned.option, planned.method, training=training, device=profile.device, have=have
        )
        if reason:
            other[found[planned.name]] += 1
    notes = [
        f"the plan runs {count} layers by methods of which profile {profile.name!r} holds no times; they are predicted "
        f"as {method}"
        for method, count in sorted(other.items())
    ]
    return found, tuple(notes)


def count_methods(methods: Mapping[str, Method]) -> dict[str, int]:
    """Method → how many layers run by it, the most used first."""
    return dict(sorted(Counter(methods.values()).items(), key=lambda item: (-item[1], item[0])))
