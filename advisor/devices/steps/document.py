"""Steps as plain JSON values, short: a device profile holds thousands."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from advisor.devices.steps.families import family_of
from advisor.devices.steps.step import Step
from advisor.errors import PatternError
from advisor.network import Shape
from advisor.runtime.execution import Execution

_NAMED = (
    "target", "dtype", "inputs", "layouts", "outputs", "parameters", "read_bytes", "written_bytes", "macs",
)  # fmt: skip
_VALUES = len(_NAMED) + 2
_MOST = 10**15  # bytes, multiply-adds or elements of one operator
_SCALARS: dict[str, type] = {"kind": str, "method": str, "groups": int, "bias": bool, "kept": int, "block": int}


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


def listed(document: Any) -> Any:
    """A step by the names of its fields, as older profiles have it, as the list that `step_document` makes."""
    if type(document) is not dict:
        return document
    marks = (("i", document["in_place"]), ("b", document["backward"]), ("v", document["family"] == "view"))
    return [document[name] for name in _NAMED] + ["".join(mark for mark, said in marks if said), None]


def step_from(document: list[Any]) -> Step:
    """The reverse of `step_document`.

    Raises:
        ValueError: it is none, said in one line.
    """
    if type(document) is not list or len(document) != _VALUES:
        raise ValueError(f"a step of {str(document)[:60]}; expected a list of {_VALUES}")
    target, dtype, inputs, layouts, outputs, parameters, read, written, macs, marks, execution = document
    if not (type(target) is str and target and type(dtype) is str and type(layouts) is str and type(marks) is str):
        raise ValueError(f"step {str(target)[:60]!r}: its names and marks are no texts")
    given, made = _shapes(target, inputs), _shapes(target, outputs)
    if len(layouts) != len(given) or not set(layouts) <= set("clse") or not set(marks) <= set("ibv"):
        raise ValueError(f"step {target[:60]!r}: layouts {layouts[:40]!r} of {len(given)} inputs, marks {marks[:40]!r}")
    if type(parameters) is not list or any(type(n) is not int for n in parameters):
        raise ValueError(f"step {target[:60]!r}: parameters {str(parameters)[:60]}; expected whole numbers")
    for count in (read, written, macs):
        if type(count) is not int or not 0 <= count <= _MOST:
            raise ValueError(f"step {target[:60]!r}: counts {str(count)[:40]}; expected a whole number of 0 or more")
    return Step(
        target=target,
        family=family_of(target, view="v" in marks),
        inputs=given,
        layouts=layouts,
        outputs=made,
        parameters=tuple(parameters),
        dtype=dtype,
        read_bytes=read,
        written_bytes=written,
        macs=macs,
        execution=None if execution is None else _execution_from(target, execution),
        in_place="i" in marks,
        backward="b" in marks,
    )


def _shapes(target: str, shapes: Any) -> tuple[Shape, ...]:
    if type(shapes) is not list or any(type(shape) is not list for shape in shapes):
        raise ValueError(f"step {target[:60]!r}: {str(shapes)[:60]}; expected a list of shapes")
    for shape in shapes:
        for size in shape:
            if type(size) is not int or not 0 <= size <= _MOST:
                raise ValueError(f"step {target[:60]!r}: a tensor of shape {str(shape)[:60]}")
    return tuple(map(tuple, shapes))


def _execution(execution: Execution) -> dict[str, Any]:
    """Its fields, without those that have their defaults."""
    values = {item.name: (getattr(execution, item.name), item.default) for item in fields(execution)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, (value, default) in values.items()
        if default is MISSING or value != default
    }


def _execution_from(target: str, document: Any) -> Execution:
    if type(document) is not dict:
        raise ValueError(f"step {target[:60]!r}: {str(document)[:60]}; expected an execution")
    values: dict[str, Any] = {}
    for name, value in document.items():
        if type(value) is list:
            if any(type(size) is not int or not 0 <= size <= _MOST for size in value):
                raise ValueError(f"step {target[:60]!r}: {str(name)[:40]} of {str(value)[:60]}")
            value = tuple(value)
        elif type(value) is not _SCALARS.get(name):
            raise ValueError(f"step {target[:60]!r}: {str(name)[:40]} of {str(value)[:60]}")
        values[name] = value
    try:
        return Execution(**values)
    except (TypeError, IndexError, PatternError) as error:
        raise ValueError(f"step {target[:60]!r} describes no layer: {error}") from error
