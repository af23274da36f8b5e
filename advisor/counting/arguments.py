"""An operator's arguments by name, and which outputs share memory with which inputs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch

from advisor.network import Op, Ref


@lru_cache(maxsize=4096)
def schema(target: str) -> Any:
    """The schema of "aten.conv2d.default", or None for an operator that torch does not know here."""
    namespace, _, rest = target.partition(".")
    name, _, overload = rest.rpartition(".")
    try:
        return getattr(getattr(getattr(torch.ops, namespace), name), overload)._schema
    except (AttributeError, RuntimeError):
        return None


def bind(op: Op) -> dict[str, Any]:
    """Every argument by name, defaults filled in; positional names "0", "1", … where there is no schema."""
    known = schema(op.target)
    if known is None:
        return {str(i): item for i, item in enumerate(op.args)} | dict(op.kwargs)
    bound: dict[str, Any] = {}
    for position, argument in enumerate(known.arguments):
        if position < len(op.args):
            bound[argument.name] = op.args[position]
        elif argument.name in op.kwargs:
            bound[argument.name] = op.kwargs[argument.name]
        else:
            default = argument.default_value
            bound[argument.name] = tuple(default) if isinstance(default, list) else default
    return bound


def refs(item: Any) -> Iterator[int]:
    """Indices of the Values inside an argument, in order."""
    if isinstance(item, Ref):
        yield item.index
    elif isinstance(item, tuple):
        for child in item:
            yield from refs(child)


def operands(op: Op) -> tuple[int, ...]:
    """Indices of all Values that the operator reads, in the order of its arguments."""
    found = list(refs(op.args))
    for item in op.kwargs.values():
        found.extend(refs(item))
    return tuple(found)


def base_name(target: str) -> str:
    """ "aten.relu_.default" → "relu": the operator whatever its overload, in place or not."""
    name = target.split(".")[1] if target.count(".") >= 1 else target
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def shared_operand(op: Op) -> int | None:
    """The Value whose memory the outputs share (a view, or an in-place result), or None for fresh memory."""
    name = base_name(op.target)
    if name in {"dropout", "feature_dropout", "alpha_dropout"} and len(op.args) > 2 and op.args[2] is False:
        return next(refs(op.args), None)
    if name in {"_unsafe_view", "type_as"} and not op.copies:
        return next(refs(op.args), None)  # views that their schema does not own up to
    known = schema(op.target)
    if op.copies or known is None or not known.returns or known.returns[0].alias_info is None:
        return None
    bound = bind(op)
    for argument in known.arguments:
        if argument.alias_info is not None:
            return next(refs(bound[argument.name]), None)
    return None


def written_operands(op: Op) -> tuple[int, ...]:
    """Indices of the Values that the operator overwrites in place."""
    known = schema(op.target)
    if known is None or not any(argument.is_write for argument in known.arguments):
        return ()
    bound = bind(op)
    return tuple(index for argument in known.arguments if argument.is_write for index in refs(bound[argument.name]))
