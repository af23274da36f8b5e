"""A device that never was: times from a roofline with overhead, and noise from a fixed seed."""

import math
from collections.abc import Iterable

import numpy as np

from advisor.devices.profile import Measurement, Profile, Whole
from advisor.devices.settings import Machine, Settings
from advisor.network import Layer, Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, executions
from advisor.runtime.methods import methods_of

SETTINGS = Settings(device="cpu", batch=1, threads=1, dtype="float32", training=False)
MACHINE = Machine(name="Roofline", flags=("avx2",), cores=1, torch="2.14.1", system="Nowhere")
METHOD_SLOWDOWN = {"dense": 1.0, "direct": 1.3, "gather": 1.4, "packed": 1.2}


def true_ms(execution: Execution) -> float:
    """20 GMAC/s, 10 GB/s, 10 us a call; slow depthwise and slow gathering, as on real CPUs."""
    depthwise = 4.0 if execution.groups > 1 and execution.weight_shape[1] == 1 else 1.0
    arithmetic = execution.macs / 20e9 * depthwise * METHOD_SLOWDOWN[execution.method]
    return 1e3 * (math.hypot(arithmetic, execution.bytes_moved / 10e9) + 10e-6)


def measured(execution: Execution, generator: np.random.Generator, noise: float = 0.02) -> Measurement:
    """A measurement whose interval is as wide as its noise says."""
    median = true_ms(execution) * math.exp(noise * float(generator.standard_normal()))
    return Measurement(
        execution=execution,
        median_ms=median,
        low_ms=median * math.exp(-1.96 * noise),
        high_ms=median * math.exp(1.96 * noise),
        repeats=20,
    )


def width(layer: Layer, inputs: float, outputs: float) -> Option:
    """A width option with ceil rounding."""
    kept_in, kept_out = math.ceil(inputs * layer.in_channels), math.ceil(outputs * layer.out_channels)
    share = kept_in * kept_out / (layer.in_channels * layer.out_channels)
    parameters = {"in": inputs, "out": outputs, "in_channels": kept_in, "out_channels": kept_out, "rounding": "ceil"}
    return Option(pattern="width", density=share, parameters=parameters)


def widths(network: Network, levels: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)) -> dict[str, tuple[Option, ...]]:
    """DENSE and all pairs of levels of every layer that has no groups and is no end."""
    found = {}
    for layer in network.sparsifiable[1:-1]:
        if layer.groups == 1:
            pairs = [(i, o) for i in levels for o in levels if (i, o) != (1, 1)]
            found[layer.name] = (DENSE, *(width(layer, i, o) for i, o in pairs))
    return found


def all_executions(
    network: Network, options: dict[str, tuple[Option, ...]], *, have: bool = False, training: bool = False
) -> dict[str, Execution]:
    """Every distinct execution of the options, dense ones included, by key, on a machine with or without kernels."""
    found = {}
    for layer in network.sparsifiable:
        for option in (DENSE, *options.get(layer.name, ())):
            for method in methods_of(layer, option, training=training, have=have):
                made = executions(layer, option, training=training, method=method)
                found.update({execution.key: execution for execution in made})
    return found


def profile_of(
    network: Network, executed: Iterable[Execution], *, seed: int = 0, rest: float = 0.2, settings: Settings = SETTINGS
) -> Profile:
    """A profile that measured `executed`, and the whole network if `rest` (share of its layers' time) is given."""
    generator = np.random.default_rng(seed)
    measurements = {e.key: measured(e, generator) for e in executed}
    layers_ms = 0.0
    for layer in network.sparsifiable:
        for execution, calls in executions(layer, DENSE).items():
            known = measurements.get(execution.key)
            layers_ms += calls * (known.median_ms if known else true_ms(execution))
    whole_ms = layers_ms * (1 + rest)
    whole = Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=whole_ms,
        low_ms=0.99 * whole_ms,
        high_ms=1.02 * whole_ms,
        repeats=30,
        eager_ms=1.1 * whole_ms,
        layers_ms=layers_ms,
    )
    return Profile(
        name="synthetic",
        origin="measured",
        source="a roofline",
        created="2026-01-01",
        machine=MACHINE,
        settings=settings,
        measurements=measurements,
        networks={whole.key: whole},
    )
