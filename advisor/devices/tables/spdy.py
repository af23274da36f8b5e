"""SPDY's timing files (see `spdy_lines`) as a profile of the network whose layers they name.

The engine behind them skips any weight that is zero. A thinned layer is stored as the execution of the sparse kernels
(method "direct") with as many kept weights: single outputs for "unstructured", four outputs to a list for "block"
(there a block is four neighbouring inputs of one output; what both save is three quarters of the index).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advisor.devices.profile import Profile, Whole
from advisor.devices.settings import Settings
from advisor.devices.tables.header import error_of, machine_of, today
from advisor.devices.tables.merge import merged, noise_note
from advisor.devices.tables.spdy_lines import Timings, parse
from advisor.errors import ProfileError, unknown

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement
    from advisor.network import Layer, Network
    from advisor.runtime.execution import Execution

Pattern = Literal["unstructured", "block"]
_BLOCK = {"unstructured": 1, "block": 4}


def from_spdy(
    text: str,
    file: str,
    network: Network,
    *,
    pattern: Pattern | None = None,
    threads: int | None = None,
    machine: str | None = None,
) -> Profile:
    """A profile of `network` from such a file.

    Args:
        network: gives the layers' shapes, by name, and the batch size, which the file does not say.
        pattern: taken from the file's name where None ("4block" in it: block).

    Raises:
        ProfileError: a bad line, or a layer that the network does not have.
    """
    from advisor.devices.measuring.subject import batch_of

    found = parse(text, file)
    kind: Pattern = pattern or ("block" if "block" in Path(file).stem.lower() else "unstructured")
    measurements, deviation, told, left_out = _measurements(found, file, network, _BLOCK[kind])
    batch = batch_of(network)
    profile = Profile(
        name=Path(file).stem,
        origin="measured",
        source=f"SPDY timing file {Path(file).name}: one engine, layer by layer, measured by others",
        created=today(),
        machine=machine_of(machine, file),
        settings=Settings(
            device="cpu", batch=batch, threads=threads or 1, dtype="float32", training=False, kernels="as SPDY's engine"
        ),
        measurements=measurements,
        networks={},
        error=error_of(measurements),
    )
    whole = _whole(found, network, profile, deviation)
    notes = [
        "the file does not say under which batch size, threads and numbers it was made: written down as batch "
        f"{batch} (the example input's), threads {threads or 1}, float32",
        f"its pattern is {kind}: the engine skips single weights, here they stand as lists of inputs with as many kept "
        "weights; convolutions of several taps have such times under 'channel' and 'group', not under 'unstructured'",
        noise_note(deviation, told),
    ]
    missing = [layer.name for layer in network.sparsifiable if layer.name not in found.layers]
    if missing:
        notes.append(f"the file has no times of {len(missing)} layers, which are predicted: {', '.join(missing[:6])}")
    if left_out:
        notes.append(f"{len(left_out)} times have no execution here and were left out: rows {left_out[:6]}")
    dense = sum(rows[0][1] for rows in found.layers.values() if rows[0][2] == 0)
    if abs(difference := found.prunable / dense - 1) > 0.01:
        notes.append(f"'prunable' is {difference:+.1%} off the sum of the layers' dense times")
    return replace(profile, networks={whole.key: whole}, notes=tuple(notes))


def _measurements(
    found: Timings, file: str, network: Network, block: int
) -> tuple[dict[str, Measurement], float, bool, list[int]]:
    """As `merged`, and the lines that have no execution."""
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    known = {layer.name: layer for layer in network.sparsifiable}
    times: list[tuple[Execution, float]] = []
    left_out: list[int] = []
    for name, rows in found.layers.items():
        layer = known.get(name)
        if layer is None:
            raise ProfileError(
                f"{file} row {found.names[name]}, column layer: {unknown('layer', name, known)}; the file belongs to "
                f"another network than {network.name!r}"
            )
        for number, seconds, sparsity in rows:
            made = next(iter(executions(layer, DENSE))) if sparsity == 0 else _thinned(layer, 1 - sparsity, block)
            if made is None:
                left_out.append(number)
            else:
                times.append((made, 1e3 * seconds / len(layer.calls)))
    if not any(execution.method == "dense" for execution, _ in times):
        raise ProfileError(f"{file}: no layer has a time at sparsity 0, expected the dense time of each")
    return (*merged(times), left_out)


def _whole(found: Timings, network: Network, profile: Profile, deviation: float) -> Whole:
    from advisor.devices.measuring.work import network_hash
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    base, factor = 1e3 * found.base, math.exp(1.96 * deviation)
    layers_ms = sum(
        calls * profile.latency(execution).median_ms
        for layer in network.sparsifiable
        for execution, calls in executions(layer, DENSE).items()
    )
    return Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=base,
        low_ms=base / factor,
        high_ms=base * factor,
        repeats=1,
        eager_ms=base,
        layers_ms=layers_ms,
        network_hash=network_hash(network),
    )


def _thinned(layer: Layer, density: float, block: int) -> Execution | None:
    """The execution of the sparse kernels with this share of the weights; None where they have none for the layer."""
    from advisor.runtime.execution import Execution, canonical

    if layer.transposed or layer.kind == "conv3d" or not layer.calls:
        return None
    if (layer.out_channels // layer.groups) % block:
        block = 1
    lists = layer.out_channels // block
    kept = min(max(round(density * lists * layer.weight_shape[1]), 1), lists * layer.weight_shape[1])
    made = Execution(
        kind=layer.kind,
        method="direct",
        input_shape=layer.calls[0].input_shape,
        weight_shape=layer.weight_shape,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        output_padding=layer.output_padding,
        groups=layer.groups,
        bias=layer.bias,
        kept=kept,
        block=block,
    )
    return canonical(made)
