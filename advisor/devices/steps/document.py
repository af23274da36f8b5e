"""Steps as plain JSON values, short: a device profile holds thousands."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from advisor.devices.steps.families import family_of
from advisor.devices.steps.step import Step
from advisor.runtime.execution import Execution


def step_document(step: Step) -> list[Any]:
    """[target, dtype, inputs, layouts, outputs, parameters, read, written, macs, marks, execution or None]."""
    marks = ("i" if step.in_place else "") + ("b" if step.backward else "") + ("v" if step.family == "view" else "")
    return [
        step.target,
        step.dtype,
        [list(shape) for shape in step.inputs],
        step.layouts,
        [list(shape) for shape in step.outputs],
        list(step.parameters),
        step.read_bytes,
        step.written_bytes,
        step.macs,
        marks,
        _execution(step.execution) if step.execution else None,
    ]


def step_from(document: list[Any]) -> Step:
    """The reverse of `step_document`.

    Raises:
        ValueError, TypeError: it is none.
    """
    target, dtype, inputs, layouts, outputs, parameters, read, written, macs, marks, execution = document
    return Step(
        target=str(target),
        family=family_of(str(target), view="v" in marks),
        inputs=tuple(tuple(int(n) for n in shape) for shape in inputs),
        layouts=str(layouts),
        outputs=tuple(tuple(int(n) for n in shape) for shape in outputs),
        parameters=tuple(int(n) for n in parameters),
        dtype=str(dtype),
        read_bytes=int(read),
        written_bytes=int(written),
        macs=int(macs),
        execution=None if execution is None else _execution_from(execution),
        in_place="i" in marks,
        backward="b" in marks,
    )


def _execution(execution: Execution) -> dict[str, Any]:
    """Its fields, without those that have their defaults."""
    values = {item.name: (getattr(execution, item.name), item.default) for item in fields(execution)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, (value, default) in values.items()
        if default is MISSING or value != default
    }


def _execution_from(document: dict[str, Any]) -> Execution:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in document.items()}
    return Execution(**values)
