"""The steps that a layer takes in training: what a prediction of a layer that no run contains looks at."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from advisor.devices.model.steps_of import step_of
from advisor.devices.steps.families import family_of
from advisor.devices.steps.step import Step

if TYPE_CHECKING:
    from advisor.network import Shape
    from advisor.runtime.execution import Execution

_ITEM, _INDEX = 4, 8  # float32; int64, by which kept values are scattered


def training_steps_of(execution: Execution) -> tuple[Step, ...]:
    """Forward, backward (with the gradient of the input) and the update by SGD with momentum, as `record_steps` finds
    them inside a network; in no particular order.

    Args:
        execution: dense, direct or packed.
    """
    e = execution
    if e.method == "direct":
        weight: Shape = (e.kept, *e.weight_shape[2:], e.block)
        steps = [step_of(e), *_sparse_backward(e, weight)]
    elif e.method == "packed":
        unit = e.block or 1
        weight = (e.kept // unit, unit)
        dense = replace(e, method="dense", kept=0, block=0)
        steps = [*_scattered(weight, (prod(e.weight_shape) // unit, unit)), *_dense(dense)]
    else:
        weight = e.weight_shape
        steps = _dense(e)
    parameters = [weight, *([(e.out_channels,)] if e.bias else [])]
    return (*steps, *(update for shape in parameters for update in _update(shape)))


def _dense(e: Execution) -> list[Step]:
    if e.kind == "linear":
        return _linear(e)
    numbers = (*e.stride, *e.padding, *e.dilation, int(e.transposed), *_output_padding(e), e.groups)
    bias = [(e.out_channels,)] if e.bias else []
    forward = replace(step_of(e), target="convolution", parameters=numbers)
    backward = _step(
        "convolution_backward",
        [e.output_shape, e.input_shape, e.weight_shape],
        [e.input_shape, e.weight_shape, *bias],
        (e.out_channels if e.bias else 0, *numbers, 1, 1, int(e.bias)),
        macs=2 * prod(e.input_shape if e.transposed else e.output_shape) * prod(e.weight_shape[1:]),
        backward=True,
    )
    return [forward, backward]


def _output_padding(e: Execution) -> tuple[int, ...]:
    return e.output_padding or (0,) * len(e.stride)


def _linear(e: Execution) -> list[Step]:
    """Rows x weight, and the products of the gradient with both."""
    rows, (c_out, c_in) = prod(e.input_shape[:-1]), e.weight_shape
    given, made, bias = (rows, c_in), (rows, c_out), (c_out,)
    turned = ((c_in, c_out), _turned(c_out, c_in))
    head = [bias] if e.bias else []
    found = [
        _step(
            "addmm" if e.bias else "mm",
            [*head, given, turned[0]],
            [made],
            (1, 1) if e.bias else (),
            layouts="c" * (len(head) + 1) + turned[1],
            macs=e.macs,
        ),
        _step("mm", [made, e.weight_shape], [given], macs=e.macs),
        _step("mm", [(c_out, rows), given], [e.weight_shape], layouts=_turned(rows, c_out) + "c", macs=e.macs),
    ]
    return found + ([_step("sum", [made], [(1, c_out)], (0, 1))] if e.bias else [])


def _turned(rows: int, columns: int) -> str:
    """The layout of a transposed matrix of contiguous rows; one row or column is contiguous either way."""
    return "c" if min(rows, columns) == 1 else "s"


def _sparse_backward(e: Execution, weight: Shape) -> list[Step]:
    linear = e.kind == "linear"
    target = "advisor.sparse_linear" if linear else "advisor.sparse_conv2d"
    lists: list[Shape] = [(e.out_channels // e.block + 1,), (e.kept,)]
    at = () if linear else (*e.stride, *e.padding, *e.dilation)
    places = prod(e.output_shape) // e.out_channels
    to_input = _step(
        f"{target}_grad_input",
        [e.output_shape, weight, *lists],
        [e.input_shape],
        (e.weight_shape[1],) if linear else (*e.input_shape, *at),
        macs=places * prod(weight),
        backward=True,
    )
    to_weight = _step(
        f"{target}_grad_weight",
        [e.output_shape, e.input_shape, *lists],
        [weight],
        (e.kept,) if linear else (*weight, *at),
        macs=places * prod(weight),
        backward=True,
    )
    axes = (0,) if linear else (0, 2, 3)
    bias = _step("sum", [e.output_shape], [(e.out_channels,)], (*axes, 0))
    return [to_input, to_weight, *([bias] if e.bias else [])]


def _scattered(kept: Shape, full: Shape) -> list[Step]:
    """Kept values into the dense weight and back; the positions are int64."""
    index = (kept[0],)
    moved = _ITEM * (prod(full) + prod(kept)) + _INDEX * kept[0]
    return [
        replace(_step("new_zeros", [kept], [full], (*full, 0)), read_bytes=_ITEM * prod(kept)),
        replace(_step("index_copy", [full, index, kept], [full], (0,), in_place=True), read_bytes=moved),
        replace(_step("index_select", [full, index], [kept], (0,)), read_bytes=_ITEM * prod(full) + _INDEX * kept[0]),
    ]


def _update(shape: Shape) -> list[Step]:
    """Momentum times its factor, plus the gradient; then the weight moves along it."""
    return [
        _step("mul", [shape], [shape], in_place=True),
        _step("add", [shape, shape], [shape], (1,), in_place=True),
        _step("add", [shape, shape], [shape], in_place=True),
    ]


def _step(
    target: str,
    inputs: list[Shape],
    outputs: list[Shape],
    parameters: tuple[int, ...] = (),
    *,
    layouts: str = "",
    macs: int = 0,
    in_place: bool = False,
    backward: bool = False,
) -> Step:
    return Step(
        target=target,
        family=family_of(target),
        inputs=tuple(inputs),
        layouts=layouts or "c" * len(inputs),
        outputs=tuple(outputs),
        parameters=parameters,
        dtype="float32",
        read_bytes=_ITEM * sum(map(prod, inputs)),
        written_bytes=_ITEM * sum(map(prod, outputs)),
        macs=macs,
        in_place=in_place,
        backward=backward,
    )
