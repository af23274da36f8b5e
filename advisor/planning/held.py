"""What is asked of single layers, in plain plans: the closest thing to their one density or factor that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from advisor.network import Layer
from advisor.patterns.narrowed import is_narrowed
from advisor.patterns.option import DENSE, Option
from advisor.planning.constraints.asked import Asked, Rule
from advisor.planning.constraints.offered import pinned_options

At = Callable[[Layer, float], Option | None]


class Impossible(Exception):
    """A layer cannot be what was asked of it in this kind of plan; the text says which and why."""


def closest(layer: Layer, plain: Option, asked: Asked, name: str, at: At, *, free: bool) -> Option:
    """What a layer becomes: `plain` where it may, else the allowed option whose density is closest to that.

    Args:
        plain: what the plain plan would make of it.
        name: the plan's pattern.
        at: the pattern's option for a layer at a density; None where it stays dense.
        free: whether the plan may thin this layer out. One that it may not stays dense whatever globs say.

    Raises:
        Impossible: no option is allowed.
    """
    rules = asked.of(layer.name)
    if all(rule.allows(plain) for rule in rules):
        return plain
    if not free and not any(rule.layers == layer.name for rule in rules if not rule.allows(plain)):
        return plain
    allowed = [option for option in _others(layer, rules, name, at) if all(rule.allows(option) for rule in rules)]
    if not allowed:
        raise Impossible(f"layer {layer.name}: {asked.text_of(layer.name)} leaves {name} no option")
    return min(allowed, key=lambda option: (abs(option.density - plain.density), -option.density))


def _others(layer: Layer, rules: Sequence[Rule], name: str, at: At) -> Iterator[Option]:
    from advisor.patterns.base import pattern

    yield DENSE
    for rule in rules:
        if rule.kind in ("min_density", "max_density") and (option := at(layer, rule.density)) is not None:
            yield option
        if rule.kind == "pin" and rule.wanted is not None:
            yield from pinned_options(layer, rule.wanted, (name,))
            wanted = rule.wanted.pattern or name
            if "width" not in wanted and wanted != "dense":
                yield from pattern(wanted).options(layer)
    yield from pattern(name).options(layer)


def stay_wide(layers: Sequence[Layer], asked: Asked) -> frozenset[str]:
    """Layers that width may not narrow, by pins to something else, or by patterns allowed or forbidden."""
    return frozenset(layer.name for layer in layers if not all(map(_may_narrow, asked.of(layer.name))))


def _may_narrow(rule: Rule) -> bool:
    if rule.kind == "pin":
        wanted = rule.wanted
        return wanted is None or wanted.pattern == "width" or (wanted.pattern is None and (wanted.density or 0) < 1)
    if rule.kind == "allow":
        return "width" in rule.patterns
    return rule.kind != "forbid" or "width" not in rule.patterns


def broken(options: Mapping[str, Option], asked: Asked, kinds: Sequence[str] = ()) -> str:
    """The first rule of `kinds` (all where empty) that a choice breaks, with its layer; "" where it keeps to all.

    A glob says nothing to a layer that stays dense since nothing beside it can be narrowed.
    """
    for name, option in options.items():
        for rule in asked.of(name):
            lenient = rule.layers != name and not is_narrowed(option)
            if (not kinds or rule.kind in kinds) and not rule.allows(option) and not lenient:
                what = "dense" if option == DENSE else option.label
                return f"layer {name}, which is {what} there, breaks {rule.text}"
    return ""
