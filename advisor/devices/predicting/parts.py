"""The parts of a network's latency: what each layer takes under an option, and what lies between the layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from advisor.devices.predicting.choice import fastest
from advisor.devices.profile import Origin, Profile
from advisor.patterns.narrowed import is_narrowed
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, executions
from advisor.runtime.methods import Method

if TYPE_CHECKING:
    from advisor.network import Layer, Network

# Sum of isolated layers / whole network was 0.48 to 1.06 over fifteen networks on a CPU: what is assumed about
# whole / sum - 1 where a profile holds no whole network at all.
_BLIND_SHARE = (1 / 1.06 - 1, 1 / 0.48 - 1)
# One or two known networks say little about the rest of a third one: at least this much of its layers' time, each way.
_LEAST_SPREAD = 0.25
_RANK: dict[Origin, int] = {"measured": 0, "predicted": 1, "extrapolated": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """What one layer takes under one option by one method, all its calls together. `origin`: the worst of its parts."""

    name: str
    latency_ms: float
    low_ms: float
    high_ms: float
    origin: Origin
    method: Method = "dense"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What the dense network takes beside the sum of its layers; negative where layers alone are slower than in place.

    `whole_ms` is the measured whole (None: the profile does not know this network, and the rest is a guess from the
    networks that it knows). `low_ms`..`high_ms` is the range of the rest, not of the whole.

    Measured in place, `operators_ms` of it are operators that are no layers, `saved` is what a layer's sparse form
    saves of it (layer → ms), and `deviation` how far sums were from wholes (see `Whole`); `operators_ms` is None
    elsewhere.
    """

    rest_ms: float
    low_ms: float
    high_ms: float
    layers_ms: float  # the dense layers, one by one
    whole_ms: float | None
    whole_low_ms: float | None = None
    whole_high_ms: float | None = None
    operators_ms: float | None = None
    saved: Mapping[str, float] = field(default_factory=dict)
    deviation: float = 0.0
    origin: Origin = "measured"  # of the whole
    notes: tuple[str, ...] = ()

    def saved_by(self, name: str, method: Method, share: float = 1.0) -> float:
        """What a layer that runs by `method` saves beside its own time, in ms; `share`: of its outputs that is left."""
        return self.saved.get(name, 0.0) * share if method == "direct" else 0.0


def worst(origins: Iterable[Origin]) -> Origin:
    """The least certain of several origins; "measured" for none."""
    return max(origins, key=_RANK.__getitem__, default="measured")


def layer_time(
    layer: Layer,
    option: Option,
    profile: Profile,
    *,
    training: bool = False,
    method: Method | None = None,
    saved: Mapping[str, float] | None = None,
) -> LayerTime:
    """Looks up or predicts what `option` of `layer` takes: each execution's time, times how often it runs.

    It runs by `method`, by the profile's fastest where None; `saved` as in `choice.fastest`.
    One execution that runs n times has one error; how those of several combine, `spread` says.
    """
    method = method or fastest(layer, option, profile, training=training, saved=saved)
    found = executions(layer, option, training=training, method=method)
    times = {execution: profile.latency(execution) for execution in found}
    total = sum(calls * times[execution].median_ms for execution, calls in found.items())
    below, above = spread(found, profile)
    return LayerTime(
        name=layer.name,
        latency_ms=total,
        low_ms=max(total - below, 0.0),
        high_ms=total + above,
        origin=worst(time.origin for time in times.values()),
        method=method,
    )


def spread(coefficients: Mapping[Execution, int], profile: Profile) -> tuple[float, float]:
    """Half-widths below and above of Σ cₑ·tₑ, in ms.

    Errors of measured times are independent and add in quadrature. Predicted times come from one model and err
    together, so theirs add up: of sums of 5 to 20 times left out of seven profiles (ResNet-18 and -50, Inception V3,
    MobileNetV2, VGG-16) 85 to 100 % lay in such an interval, and 61 to 92 % in one of independent errors.
    """
    # half-width² = Σ_measured (cₑ·half-widthₑ)² + (Σ_predicted |cₑ|·half-widthₑ)²; a negative cₑ turns it round
    below, above = [0.0, 0.0], [0.0, 0.0]  # Σ_measured of squares, Σ_predicted
    for execution, count in coefficients.items():
        if count:
            time = profile.latency(execution)
            ends = count * (time.low_ms - time.median_ms), count * (time.high_ms - time.median_ms)
            for sides, half in ((below, -min(ends)), (above, max(ends))):
                if time.origin == "measured":
                    sides[0] += half**2
                else:
                    sides[1] += half
    return math.hypot(math.sqrt(below[0]), below[1]), math.hypot(math.sqrt(above[0]), above[1])


def rest_of(network: Network, profile: Profile, *, training: bool = False) -> Rest:
    """The rest of the dense network: measured whole minus its layers, or a guess from the profile's other networks."""
    counts: Counter[Execution] = Counter()
    for layer in network.sparsifiable:
        counts.update(executions(layer, DENSE, training=training))
    layers_ms = sum(calls * profile.latency(execution).median_ms for execution, calls in counts.items())
    whole = profile.whole(network)
    if whole is not None:
        rest = whole.median_ms - layers_ms
        below, above = spread(counts, profile)
        return Rest(
            rest_ms=rest,
            low_ms=rest - math.hypot(whole.median_ms - whole.low_ms, above),
            high_ms=rest + math.hypot(whole.high_ms - whole.median_ms, below),
            layers_ms=layers_ms,
            whole_ms=whole.median_ms,
            whole_low_ms=whole.low_ms,
            whole_high_ms=whole.high_ms,
            operators_ms=sum(whole.parts.values()) if whole.in_place else None,
            saved=whole.saved,
            deviation=whole.deviation,
            origin=whole.origin,
        )
    shares = [other.rest_ms / other.layers_ms for other in profile.networks.values()]
    if shares:
        share = median(shares)
        low, high = min(min(shares), share - _LEAST_SPREAD), max(max(shares), share + _LEAST_SPREAD)
        text = f"taken as {share:+.0%} of its layers, as in the {len(shares)} networks that it holds"
    else:
        share, (low, high) = 0.0, _BLIND_SHARE
        text = "left out: the profile holds no whole network"
    note = f"profile {profile.name!r} has not timed {network.name!r} as a whole; what lies between its layers is {text}"
    return Rest(
        rest_ms=share * layers_ms,
        low_ms=low * layers_ms,
        high_ms=high * layers_ms,
        layers_ms=layers_ms,
        whole_ms=None,
        notes=(note,),
    )


def rest_shares(network: Network) -> dict[str, float]:
    """Which part of the rest belongs to each layer: its share of the activations that all of them put out.

    What lies between the layers (activation functions, additions, pooling) works on their outputs, so under `width`
    a layer's part is taken to shrink with its output channels. Patterns that keep the outputs leave it alone.
    """
    outputs = {layer.name: float(layer.activation_elements) for layer in network.sparsifiable}
    total = sum(outputs.values()) or 1.0
    return {name: elements / total for name, elements in outputs.items()}


def output_share(layer: Layer, option: Option) -> float:
    """Kept output channels / all of them: 1 where width narrows nothing."""
    if not is_narrowed(option):
        return 1.0
    return int(option.parameters.get("out_channels", layer.out_channels)) / layer.out_channels
