"""What is asked of single layers: pinned options, allowed and forbidden patterns, least and most densities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from advisor.errors import PlanError, unknown
from advisor.patterns.option import Option

T = TypeVar("T")
_NEAR = 1e-9  # two densities are one


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An option as people write it; what is None may be anything.

    "dense", 0.25, "channel", "channel@0.25", "group@0.25,block=16", "width@in=0.5,out=0.5", or an option's own label,
    "group d=0.25 block=16".
    """

    text: str
    pattern: str | None = None
    density: float | None = None
    parameters: tuple[tuple[str, str], ...] = ()

    def is_met_by(self, option: Option) -> bool:
        if option.label == self.text:
            return True
        if self.pattern is not None and option.pattern != self.pattern:
            return False
        if self.density is not None and abs(option.density - self.density) > _NEAR:
            return False
        have = option.parameters
        return all(key in have and _same(have[key], value) for key, value in self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that was asked of the layers that `layers` names: a name, or a glob such as "layer4.*"."""

    layers: str
    kind: str  # "pin", "allow", "forbid", "min_density", "max_density"
    wanted: Wanted | None = None
    patterns: tuple[str, ...] = ()
    density: float = 0.0

    def allows(self, option: Option) -> bool:
        match self.kind:
            case "pin":
                return self.wanted is None or self.wanted.is_met_by(option)
            case "allow":
                return option.pattern == "dense" or option.pattern in self.patterns
            case "forbid":
                return option.pattern not in self.patterns
            case "min_density":
                return option.density >= self.density - _NEAR
            case _:
                return option.density <= self.density + _NEAR

    @property
    def text(self) -> str:
        """As it may be written on the command line, without the layer."""
        if self.wanted is not None:
            return f"pin {self.wanted.text}"
        return f"{self.kind} {','.join(self.patterns) if self.patterns else f'{self.density:g}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Everything that was asked. A rule for a layer by its name goes before one by a glob, the last glob before others.

    Rules of different kinds hold together, of `forbid` all; but a pin of a layer by its name is an exception from what
    globs say of it.
    """

    rules: tuple[Rule, ...] = ()

    def of(self, layer: str) -> list[Rule]:
        """What holds for one layer."""
        found: list[Rule] = []
        for kind in dict.fromkeys(rule.kind for rule in self.rules):
            rules = [rule for rule in self.rules if rule.kind == kind and matches(rule.layers, layer)]
            named = [rule for rule in rules if rule.layers == layer]
            found += rules if kind == "forbid" else (named or rules)[-1:]
        pinned = any(rule.kind == "pin" and rule.layers == layer for rule in found)
        return [rule for rule in found if rule.layers == layer] if pinned else found

    def text_of(self, layer: str) -> str:
        """ "pin dense and min_density 0.5"; "" where nothing was asked of this layer."""
        return " and ".join(rule.text for rule in self.of(layer))

    def check_names(self, layers: Sequence[str]) -> None:
        """Raises PlanError for a rule that names no layer."""
        for rule in self.rules:
            if not any(matches(rule.layers, layer) for layer in layers):
                raise PlanError(f"{rule.text}: {unknown('layer', rule.layers, layers)}")


def matches(name: str, layer: str) -> bool:
    return name == layer or fnmatchcase(layer, name)


def asked_of(
    *,
    pins: Mapping[str, str | float | Option] | None = None,
    allowed: Mapping[str, Sequence[str]] | None = None,
    forbidden: Mapping[str, Sequence[str]] | None = None,
    min_density: float | Mapping[str, float] | None = None,
    max_density: float | Mapping[str, float] | None = None,
) -> Asked:
    """The arguments of `advisor.plan` as rules.

    Args:
        pins: layer or glob → its option, see `Wanted`.
        allowed: layer or glob → the patterns that it may take; dense is always one of them.
        forbidden: layer or glob → patterns that it may not take; "dense" among them thins it out in any case.
        min_density, max_density: of every layer, or layer or glob → density. Under a most density below 1 a layer
            cannot stay dense.

    Raises:
        PlanError: not such a mapping, or a value that cannot be read.
    """
    rules = [
        Rule(layers=name, kind="pin", wanted=wanted_of(value, f"pin {name}")) for name, value in _items(pins, "pins")
    ]
    for kind, given in (("allow", allowed), ("forbid", forbidden)):
        rules += [
            Rule(layers=name, kind=kind, patterns=_names(value, kind, name)) for name, value in _items(given, kind)
        ]
    for kind, bound in (("min_density", min_density), ("max_density", max_density)):
        each = bound if isinstance(bound, Mapping) or bound is None else {"*": bound}
        rules += [
            Rule(layers=name, kind=kind, density=_density(value, f"{kind} {name}"))
            for name, value in _items(each, kind)
        ]
    return Asked(rules=tuple(rules))


def wanted_of(value: object, where: str) -> Wanted:
    """An option as people write it. `where` names it in complaints.

    Raises:
        PlanError: it cannot be read.
    """
    if isinstance(value, Option):
        exact = tuple((key, str(setting)) for key, setting in value.parameters.items())
        return Wanted(text=value.label, pattern=value.pattern, density=value.density, parameters=exact)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Wanted(text=f"{value:g}", density=_density(value, where))
    text = " ".join(str(value).split())
    if not isinstance(value, str) or not text:
        raise PlanError(f"{where}={str(value)[:60]!r}; expected an option such as dense, 0.25, channel or channel@0.25")
    if _number(text) is not None:
        return Wanted(text=text, density=_density(_number(text), where))
    pattern, at, rest = text.partition("@")
    density: float | None = 1.0 if pattern == "dense" else None
    parameters: list[tuple[str, str]] = []
    for part in (part.strip() for part in rest.split(",") if at):
        key, equals, setting = part.partition("=")
        if equals:
            parameters.append((key.strip(), setting.strip()))
        else:
            density = _density(_number(part) if _number(part) is not None else part, f"{where}={text[:60]}")
    return Wanted(text=text, pattern=pattern.strip(), density=density, parameters=tuple(parameters))


def _items(given: Mapping[str, T] | None, what: str) -> list[tuple[str, T]]:
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise PlanError(f"{what}={str(given)[:60]!r}; expected a mapping from layers to what is asked of them")
    return [(str(name), value) for name, value in given.items()]


def _names(value: Any, kind: str, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence) or not all(isinstance(pattern, str) for pattern in value):
        raise PlanError(f"{kind} {name}={str(value)[:60]!r}; expected patterns, for example channel,group")
    found = tuple(pattern.strip() for pattern in value if pattern.strip())
    if not found:
        raise PlanError(f"{kind} {name}: no pattern; expected one or more, for example channel,group")
    return found


def _density(value: object, where: str) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number <= 1:
        raise PlanError(f"{where}: got density {str(value)[:60]}, expected a number above 0, up to 1")
    return float(number)


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _same(have: Any, text: str) -> bool:
    number = _number(text)
    if number is not None and isinstance(have, int | float):
        return abs(have - number) < _NEAR
    return str(have) == text
