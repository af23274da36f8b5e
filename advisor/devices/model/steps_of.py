"""The step that a layer takes when it runs: what a prediction of a layer that no run contains looks at."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from advisor.devices.steps.step import Step

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_ITEM = 4  # float32 and int32


def step_of(execution: Execution) -> Step:
    """The forward step of a layer, as `record_steps` would find it at inference. Gathering is taken for one, too."""
    e = execution
    inputs = [e.input_shape]
    if e.method == "direct":
        target = "advisor.sparse_linear" if e.kind == "linear" else "advisor.sparse_conv2d"
        inputs += [(e.kept, *e.weight_shape[2:], e.block), (e.out_channels // e.block + 1,), (e.kept,)]
        numbers = (*e.stride, *e.padding, *e.dilation)
    else:
        target = "linear" if e.kind == "linear" else e.kind
        inputs += [e.weight_shape]
        numbers = () if e.kind == "linear" else (*e.stride, *e.padding, *e.dilation, e.groups)
    inputs += [(e.out_channels,)] if e.bias else []
    return Step(
        target=target,
        family="layer",
        inputs=tuple(inputs),
        layouts="c" * len(inputs),
        outputs=(e.output_shape,),
        parameters=numbers,
        dtype="float32",
        read_bytes=_ITEM * sum(prod(shape) for shape in inputs),
        written_bytes=_ITEM * prod(e.output_shape),
        macs=e.macs,
        execution=e,
    )
