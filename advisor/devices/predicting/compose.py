"""The latency of a whole network, dense or under a plan, put together from a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import hypot, sqrt
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.subject import batch_of, dtype_of
from advisor.devices.predicting.choice import planned_methods
from advisor.devices.predicting.parts import (
    LayerTime,
    Rest,
    layer_time,
    output_share,
    rest_of,
    rest_shares,
    spread,
    worst,
)
from advisor.devices.profile import Origin, Profile
from advisor.errors import PlanError, unknown
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, executions
from advisor.runtime.methods import Method

if TYPE_CHECKING:
    from advisor.devices.predicting.predict import Estimate
    from advisor.network import Network
    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The latency of a network under a plan. `latency_ms` = Σ layers + `rest_ms`.

    `low_ms`..`high_ms` combines the 95 % intervals of measured and the 80 % intervals of predicted executions (see
    `parts.spread`) with the uncertainty of the rest (see `predict_options`): a range to plan with, not a bound.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    origin: Origin
    layers: tuple[LayerTime, ...]
    rest_ms: float
    settings: str = ""
    notes: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)  # by a device profile: family of operators → ms

    def to_json(self) -> dict[str, Any]:
        return {
            "latency_ms": self.latency_ms,
            "low_ms": self.low_ms,
            "high_ms": self.high_ms,
            "origin": self.origin,
            "rest_ms": self.rest_ms,
            "settings": self.settings,
            "layers": [asdict(layer) for layer in self.layers],
            "notes": list(self.notes),
            **({"parts": dict(self.parts)} if self.parts else {}),
        }


def predict_latency(
    network: Network, profile: Profile, plan: Plan | None = None, *, training: bool = False
) -> Prediction:
    """What `network` takes, dense or under `plan`, by a profile of the same device settings. See `predict_options`.

    A plan's layers run by the methods that it recorded.

    Raises:
        ProfileError: the profile holds no times, or was made with another batch size, number type or kind of run.
        PlanError: the plan belongs to another network.
    """
    if profile.estimator is not None:
        return _predict_run(network, profile, plan, training=training)
    if plan is None:
        return predict_options(network, profile, {}, training=training)
    options = plan_options(network, plan)
    methods, notes = planned_methods(network, plan, profile, training=training)
    made = predict_options(network, profile, options, training=training, methods=methods)
    made = replace(made, notes=(*made.notes, *notes, *_untimed(plan, profile)))
    if tuple(plan.input_shapes) != tuple(network.input_shapes):
        note = f"the plan was made for inputs {plan.input_shapes}, the times are for {network.input_shapes}"
        made = replace(made, notes=(*made.notes, note))
    return made


def _untimed(plan: Plan, profile: Profile) -> tuple[str, ...]:
    if not plan.attention:
        return ()
    return (
        f"attention layers that become hierarchical: {len(plan.attention)}; profile {profile.name!r} has no time of "
        "that, so they count as plain attention; measure the whole (advisor latency --plan --verify)",
    )


def _predict_run(network: Network, profile: Profile, plan: Plan | None, *, training: bool) -> Prediction:
    """By a device profile: the operators of the run as deployed, so what is fused or narrowed is what will run."""
    from advisor.devices.predicting.whole import predict_layers, predict_run

    warnings = profile.check(batch=batch_of(network), dtype=dtype_of(network), training=training)
    options = plan_options(network, plan) if plan is not None else {}
    methods, notes = planned_methods(network, plan, profile, training=training) if plan is not None else ({}, ())
    run, of_step = predict_layers(network, profile, plan) if training else (predict_run(network, profile, plan), {})
    layers = tuple(
        _trained(layer.name, of_step[layer.name], methods.get(layer.name, "dense"))
        if layer.name in of_step
        else layer_time(layer, options.get(layer.name, DENSE), profile, method=methods.get(layer.name))
        for layer in network.sparsifiable
    )
    remarks = [f"profile {profile.name!r} is {profile.origin}, not measured"] if profile.origin != "measured" else []
    return Prediction(
        latency_ms=run.median_ms,
        low_ms=run.low_ms,
        high_ms=run.high_ms,
        origin=run.origin,
        layers=layers,
        rest_ms=run.median_ms - sum(layer.latency_ms for layer in layers),
        settings=profile.settings.text if profile.settings else "",
        notes=(*remarks, *run.notes, *notes, *warnings),
        parts=dict(run.parts),
    )


def _trained(name: str, found: Estimate, method: Method) -> LayerTime:
    return LayerTime(
        name=name,
        latency_ms=found.median_ms,
        low_ms=found.low_ms,
        high_ms=found.high_ms,
        origin=found.origin,
        method=method,
    )


def predict_options(
    network: Network,
    profile: Profile,
    options: Mapping[str, Option],
    *,
    training: bool = False,
    methods: Mapping[str, Method] | None = None,
) -> Prediction:
    """What `network` takes under `options` (layer → option; dense where absent).

    Layers run by `methods` (layer → method), by the profile's fastest one where absent.

    The latency is the measured whole, plus what the changed executions take, minus what they took: a dense network
    that the profile has timed is predicted by its own measurement. The error of the executions that changed
    (`parts.spread`; one error per execution, however often it runs) is added in quadrature to the whole's.

    The operators between the layers are scaled by the share of activations that `width` leaves. In a profile that was
    measured in place a layer that runs by sparse kernels saves the activation and the addition that it takes in, and
    the interval reaches as far as measured networks with sparse layers were from the sum of their parts.

    Where layers were timed alone, the rest may as well be constant, or come from colder caches and scale with the
    layers' own time (a negative one is taken to); and where layers in place differ from layers alone by the rest, so
    may what is saved. The interval then reaches over all of these, both ways.

    Raises:
        ProfileError: as `predict_latency`.
    """
    profile = profile.at(training=training) if profile.tables else profile
    warnings = profile.check(batch=batch_of(network), dtype=dtype_of(network), training=training)
    rest = rest_of(network, profile, training=training)
    shares = rest_shares(network)
    changed: Counter[Execution] = Counter()
    layers: list[LayerTime] = []
    kept, saved = 1.0, 0.0  # share of the activations between the layers; what sparse layers take over of their work
    for layer in network.sparsifiable:
        option = options.get(layer.name, DENSE)
        method = (methods or {}).get(layer.name)
        time = layer_time(layer, option, profile, training=training, method=method, saved=rest.saved)
        layers.append(time)
        changed.update(executions(layer, option, training=training, method=time.method))
        if rest.whole_ms is not None:
            changed.subtract(executions(layer, DENSE, training=training))
        left = output_share(layer, option)
        kept += shares[layer.name] * (left - 1)
        saved += rest.saved_by(layer.name, time.method, left)
    layers_ms = sum(layer.latency_ms for layer in layers)
    rest_ms, least, most = _rest_under(rest, saved, layers_ms, kept)
    below, above = spread(changed, profile)
    if rest.whole_ms is not None and rest.whole_low_ms is not None and rest.whole_high_ms is not None:
        down, up = rest.whole_ms - rest.whole_low_ms, rest.whole_high_ms - rest.whole_ms
    else:
        down, up = rest.rest_ms - rest.low_ms, rest.high_ms - rest.rest_ms
    apart = rest.deviation * (layers_ms + rest_ms) * sqrt(_changed_share(layers, options))
    below = hypot(below, down, rest_ms - least, apart)
    above = hypot(above, up, most - rest_ms, apart)
    total = layers_ms + rest_ms
    dense = all(option.pattern == "dense" for option in options.values())
    origin: Origin = "measured" if dense else "predicted"
    if rest.whole_ms is None:
        origin = "extrapolated"
    elif not dense or rest.origin != "measured" or profile.origin != "measured":
        origin = worst(("predicted", rest.origin, *(layer.origin for layer in layers)))
    notes = list(rest.notes)
    if profile.origin != "measured":
        notes.append(f"profile {profile.name!r} is {profile.origin}, not measured")
    guessed = [layer.name for layer in layers if layer.origin != "measured"]
    if guessed:
        notes.append(
            f"{len(guessed)} of {len(layers)} layers were not timed under this option: {', '.join(guessed[:4])}"
        )
    return Prediction(
        latency_ms=total,
        low_ms=max(total - below, 0.0),
        high_ms=total + above,
        origin=origin,
        layers=tuple(layers),
        rest_ms=rest_ms,
        settings=profile.settings.text if profile.settings else "",
        notes=(*notes, *warnings),
    )


def _rest_under(rest: Rest, saved: float, layers_ms: float, kept: float) -> tuple[float, float, float]:
    """The rest where layers take `layers_ms` and `kept` of the activations are left; the least and most it may be."""
    if rest.operators_ms is not None:
        known = rest.rest_ms + rest.operators_ms * (kept - 1) - saved
        return known, known, known
    guesses = (rest.rest_ms, rest.rest_ms * kept, rest.rest_ms * layers_ms / rest.layers_ms)
    likely = guesses[1] if rest.rest_ms >= 0 else guesses[2]
    doubt = abs(guesses[0] - guesses[2])
    return likely, likely - max(likely - min(guesses), doubt), likely + max(max(guesses) - likely, doubt)


def _changed_share(layers: Sequence[LayerTime], options: Mapping[str, Option]) -> float:
    """Which share of the layers' time belongs to layers that are not dense."""
    changed = [x.latency_ms for x in layers if options.get(x.name, DENSE).pattern != "dense"]
    return min(sum(changed) / (sum(x.latency_ms for x in layers) or 1.0), 1.0)


def plan_options(network: Network, plan: Plan) -> dict[str, Option]:
    """Layer → option of a plan.

    Raises:
        PlanError: the plan names a layer that the network lacks, or one of another shape.
    """
    from advisor.plans.checks import check_has_network

    check_has_network(plan)
    known = {layer.name: layer for layer in network.sparsifiable}
    for planned in plan.layers:
        layer = known.get(planned.name)
        if layer is None:
            raise PlanError(
                f"plan for {plan.model!r}: {unknown('layer', planned.name, known)}; it belongs to another network than "
                f"{network.name!r}"
            )
        if tuple(planned.weight_shape) != layer.weight_shape:
            raise PlanError(
                f"plan for {plan.model!r}: layer {planned.name} has a weight of shape {tuple(planned.weight_shape)}, "
                f"in {network.name!r} it has {layer.weight_shape}; make the plan anew for this network"
            )
    return {planned.name: planned.option for planned in plan.layers}
