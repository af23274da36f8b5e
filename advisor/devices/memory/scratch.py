"""What operators take and give back inside one call: a table of rules, one per operator that does so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from advisor.registry import registered


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Memory of one operator's call beside its inputs.

    Attributes:
        inside: bytes at the operator's worst moment beyond what was alive before it, its outputs included as far as
            they exist by then; 0: nothing but the outputs.
        kept: name of a buffer that stays with the process → bytes; calls share it, the largest counts.
        compiled: bytes of machine code that is made at the first such call and kept.
        unmade: places of outputs that the operator here returns but the real one never makes.
        unknown: what could not be counted, in words; "" where nothing.
    """

    inside: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    compiled: int = 0
    unmade: tuple[int, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator's call as the tracker sees it: its arguments by name, and the module that it runs in."""

    name: str  # "aten.convolution.default"
    args: Mapping[str, Any]  # by the schema's names, those left out included
    outputs: tuple[Any, ...]
    module: torch.nn.Module | None


NOTHING = Scratch()
Rule = Callable[[Call], Scratch]
_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enters a rule for the operators of these names."""
    return registered(_RULES, names, "scratch rules")


def scratch_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, module: Any) -> Scratch:
    """What `func` takes inside; `NOTHING` for operators without a rule."""
    name = str(func)
    found = _RULES.get(name)
    if found is None:
        return NOTHING
    given: dict[str, Any] = {}
    for place, parameter in enumerate(func._schema.arguments):
        if place < len(args):
            given[parameter.name] = args[place]
        elif parameter.name in kwargs:
            given[parameter.name] = kwargs[parameter.name]
        else:
            given[parameter.name] = parameter.default_value
    outputs = tuple(out) if isinstance(out, tuple | list) else (out,)
    return found(Call(name=name, args=given, outputs=outputs, module=module))


def nbytes(tensor: Any) -> int:
    """Bytes of a tensor's values; 0 for None. Meta and fake tensors say what real ones would take."""
    return tensor.numel() * tensor.element_size() if isinstance(tensor, torch.Tensor) else 0
