"""Plain plans of one size: one density everywhere, ERK-shaped densities, one width factor; the largest that fits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from advisor.errors import AdvisorError
from advisor.examples import NOTHING_GIVEN, Given
from advisor.patterns.narrowed import inner_option
from advisor.patterns.option import DENSE, NOTHING, Option
from advisor.planning.allocation import erk_scores, scaled
from advisor.planning.budgets import TIMES, cost_text
from advisor.planning.build import Built, build_table
from advisor.planning.constraints.asked import Asked
from advisor.planning.held import Impossible, broken, closest, stay_wide
from advisor.planning.menu.options import Menu, with_width

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Layer, Network
    from advisor.plans.plan import Plan

_STEPS = 24  # bisections: densities to 1e-7
_FACTORS = 512  # width factors are multiples of 1/512


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One baseline at one size, and its totals."""

    menu: Menu
    choice: tuple[int, ...]
    totals: Mapping[str, float]

    @property
    def options(self) -> dict[str, Option]:
        """Layer → its option."""
        return {name: options[k] for (name, options), k in zip(self.menu.options.items(), self.choice, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What every trial is measured against."""

    network: Network
    plan: Plan
    profile: Profile | None
    limits: Mapping[str, float]
    given: Given = NOTHING_GIVEN
    asked: Asked = field(default_factory=Asked)

    def trial(self, menu: Menu, choice: tuple[int, ...]) -> Trial:
        # Losses play no part in meeting budgets; those of the plan's sensitivity may take long.
        return Trial(menu=menu, choice=choice, totals=self.table(menu, "uniform").table.totals(choice))

    def table(self, menu: Menu, sensitivity: str) -> Built:
        return build_table(
            self.network,
            menu,
            profile=self.profile,
            sensitivity=sensitivity,
            wanted=tuple(self.limits),
            given=self.given,
        )

    def over(self, trial: Trial) -> list[str]:
        return [key for key, limit in self.limits.items() if trial.totals[key] > limit]


class CannotMeet(AdvisorError):
    """A baseline is over a budget even at its smallest."""


def _largest(
    question: Question,
    make: Callable[[float], Trial],
    smallest: float,
    steps: int,
    what: str,
    too_large: Callable[[Trial], str] = lambda trial: "",
) -> tuple[Trial, float]:
    """The trial of the largest size in [smallest, 1] that meets the limits; costs fall with the size, near enough.

    `too_large` says why a trial is, whatever it costs; "" where it is not.
    """
    best, low, high = make(1.0), smallest, 1.0
    if not question.over(best) and not too_large(best):
        return best, 1.0
    best = make(smallest)
    if problem := too_large(best):
        raise CannotMeet(f"{what}: {problem}")
    if over := question.over(best):
        key = over[0]
        raise CannotMeet(
            f"{what} reaches {key} {cost_text(key, best.totals[key], up=True)} at the least, over the budget of "
            f"{cost_text(key, question.limits[key])}"
        )
    for _ in range(steps):
        middle = (low + high) / 2
        trial = make(middle)
        if question.over(trial) or too_large(trial):
            high = middle
        else:
            best, low = trial, middle
    return best, low


def masked(question: Question, kind: str) -> tuple[Trial, tuple[str, ...], tuple[str, ...]]:
    """Uniform or ERK-shaped densities of one pattern."""
    problem: CannotMeet | None = None
    for name in _patterns(question.plan, question.limits):
        layers = _thinnable(question, name)
        make = partial(_at, question, kind, name, layers)
        try:
            trial, size = _largest(question, make, 1e-6, _STEPS, f"{kind} {name}")
        except CannotMeet as error:
            problem = problem or error
            continue
        except Impossible as error:
            problem = problem or CannotMeet(f"{kind}: {error}")
            continue
        text = f"one density {size:.4g}" if kind == "uniform" else f"ERK-shaped densities (scale {size:.4g})"
        notes = [f"baseline {kind}: {text} of pattern {name!r} in {len(layers)} of {len(question.plan.layers)} layers"]
        return trial, (name,), tuple(notes)
    raise problem or CannotMeet(f"{kind}: no layer may be thinned out")


def _at(question: Question, kind: str, name: str, layers: Mapping[str, Layer], size: float) -> Trial:
    # ERK: density = scale · score / weights, capped at 1. `size` 1 is the scale at which every layer is dense.
    weights = np.array([layer.weights for layer in layers.values()], np.float64)
    scores = erk_scores([layer.weight_shape for layer in layers.values()]) if kind == "erk" else weights
    densities = scaled(scores, weights, size * float(np.max(weights / scores)) if len(weights) else 1.0)
    sizes = dict(zip(layers, map(float, densities), strict=True))
    options: dict[str, tuple[Option, ...]] = {}

    def at(layer: Layer, density: float) -> Option | None:
        return _legal(layer, name, density, question.plan)

    for layer in question.network.sparsifiable:
        free = layer.name in sizes
        plain = (at(layer, sizes[layer.name]) if free else None) or DENSE
        option = closest(layer, plain, question.asked, name, at, free=free)
        options[layer.name] = (DENSE,) if option == DENSE else (DENSE, option)
    menu = with_width(question.network, options, rounding=question.plan.rounding, levels=())
    return question.trial(menu, tuple(len(choices) - 1 for choices in options.values()))


def _legal(layer: Layer, name: str, density: float, plan: Plan) -> Option | None:
    """The pattern at this density, or at its next lower legal one; None where the layer stays dense."""
    from advisor.patterns.base import pattern

    if density >= 1:
        return None
    kind = pattern(name)
    for parameters in _parameters(layer, name, plan):
        option = Option(pattern=name, density=density, parameters=parameters)
        if not kind.problem(layer, option):
            return option if kind.kept_weights(layer, option) < layer.weights else None
    offered = kind.options(layer)  # n:m has a few fixed densities
    return next((option for option in offered if option.density <= density), offered[-1] if offered else None)


def _parameters(layer: Layer, name: str, plan: Plan) -> Iterator[Mapping[str, object]]:
    """The pattern's own parameters to try: this layer's in the plan, the plan's most used, then what is offered."""
    from advisor.patterns.base import pattern

    used = {planned.name: inner_option(planned.option) for planned in plan.layers}
    used = {layer: option for layer, option in used.items() if option.pattern == name}
    yield from (option.parameters for planned, option in used.items() if planned == layer.name)
    counted = Counter(tuple(sorted(option.parameters.items())) for option in used.values())
    yield from (dict(parameters) or NOTHING for parameters, _ in counted.most_common())
    yield from (option.parameters for option in pattern(name).options(layer))


def _patterns(plan: Plan, limits: Mapping[str, float]) -> tuple[str, ...]:
    """The plan's most used masked pattern, within width or alone, else channel; where a time is limited, group, too."""
    used = Counter(inner_option(layer.option).pattern for layer in plan.layers if layer.is_masked)
    name = used.most_common(1)[0][0] if used else "channel"
    return (name, "group") if name != "group" and any(key in limits for key in TIMES) else (name,)


def _thinnable(question: Question, name: str) -> dict[str, Layer]:
    """Layers that the pattern fits: the ends only where the plan itself thins one out."""
    from advisor.patterns.base import pattern
    from advisor.patterns.candidates import end_layers

    network = question.network
    masked = {layer.name for layer in question.plan.layers if layer.is_masked}
    ends = set(end_layers(network))
    fixed = set() if ends & masked else ends
    return {
        layer.name: layer for layer in network.sparsifiable if layer.name not in fixed and pattern(name).options(layer)
    }


def width(question: Question) -> tuple[Trial, tuple[str, ...], tuple[str, ...]]:
    """One factor for every group that can be narrowed, and that nobody wants wide."""
    network, asked = question.network, question.asked
    wide = stay_wide(network.sparsifiable, asked)
    dense: dict[str, tuple[Option, ...]] = {layer.name: (DENSE,) for layer in network.sparsifiable}

    def factor(size: float) -> float:
        return math.ceil(size * _FACTORS) / _FACTORS

    def make(size: float) -> Trial:
        levels = () if factor(size) >= 1 else (1.0, factor(size))
        menu = with_width(network, dense, rounding=question.plan.rounding, levels=levels, dense=wide)
        return question.trial(menu, _narrowest(menu, wide))

    def too_wide(trial: Trial) -> str:
        return broken(trial.options, asked, ("max_density",))

    trial, size = _largest(question, make, 1 / _FACTORS, _STEPS // 2, "width", too_wide)
    if problem := broken(trial.options, asked):
        raise CannotMeet(f"width: {problem}")
    if size < 1 and all(choices == (DENSE,) for choices in trial.menu.options.values()):
        raise CannotMeet("width: no layer of this network can be narrowed")
    return trial, ("width",), (f"baseline width: every group of channels at {factor(size):.4g}",)


def _narrowest(menu: Menu, wide: frozenset[str] = frozenset()) -> tuple[int, ...]:
    """Per layer the option with every group at its last level, but for the groups beside the layers in `wide`."""
    if menu.width is None:
        return (0,) * len(menu.options)
    last = [len(group.levels) - 1 for group in menu.width.groups]
    for name in wide:
        for group, _ in menu.requires[name][0]:
            last[group] = 0
    return tuple(
        next(k for k, needs in enumerate(pairs) if all(level == last[group] for group, level in needs))
        for pairs in menu.requires.values()
    )
