"""One layer thinned out at a time in the trained network, and what that does to its loss on data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PlanError
from advisor.examples import Given
from advisor.patterns.narrowed import is_narrowed, thinned
from advisor.patterns.option import Option
from advisor.planning.narrowing import Narrowing
from advisor.planning.sensitivity.curve import loss_at, spread
from advisor.planning.sensitivity.registry import Floats, Losses, Options, register
from advisor.planning.sensitivity.shapes import kept_share

if TYPE_CHECKING:
    from advisor.examples.batches import Calibration
    from advisor.examples.subject import Subject
    from advisor.network import Layer, Network

Bools = NDArray[np.bool_]
Family = tuple[str, tuple[tuple[str, Any], ...]]
POINTS = 3  # densities that are tried of each layer and form of a pattern, and of each width group
LARGE = 32  # examples of a batch whose statistics stand for those of all data
_SIDES = ("in", "out")


@register("probe", needs="data", trained=True, chooses=True)
def probe(network: Network, options: Options, given: Given) -> Losses:
    """The rise of the loss on the data when one layer alone is thinned out by magnitude, in nats, at least 0.

    Batch norm is measured anew for each evaluation, of the dense network, too: over each batch by itself where all hold
    32 examples or more, else over the data in a pass of its own. Of each layer and form of a pattern up to 3 densities
    are tried; between them the loss is linear in −ln(kept share), and it never falls as more goes. Width is tried by
    group, since coupled layers narrow together; what a group costs is shared out evenly over the sides of the layers
    that it touches, so that a plan's sum counts it once.

    Costs a pass over the data for each try, about 3 x layers x forms of patterns of them; two with small batches.
    """
    import torch

    from advisor.examples.subject import subject, undisturbed
    from advisor.saliency import scores_of

    calibration = given.calibration
    assert calibration is not None
    squares = scores_of(network, "magnitude", given)
    with undisturbed(given.seed), torch.no_grad():
        looked = subject(network)
        dense = _loss(looked, calibration)
        plan = _masked_tries(network, options) + _width_tries(network, options)
        narrowing = Narrowing(network, squares)
        tries = _shown(len(plan))
        measured: dict[Any, list[tuple[float, float]]] = {}
        for key, share, option in plan:
            if isinstance(key, int):
                other = _narrowed(network, looked, narrowing.classes(key, share, str(option.parameters["rounding"])))
            else:
                other = _masked(looked, network.layer(key[0]), option, squares[key[0]])
            with other as changed:
                measured.setdefault(key, []).append((share, _loss(changed, calibration) - dense))
            tries()
    return _at_options(network, options, measured)


Try = tuple[Any, float, Option]


def _masked_tries(network: Network, options: Options) -> list[Try]:
    found: list[Try] = []
    for layer in network.sparsifiable:
        families: dict[Family, dict[float, Option]] = {}
        for option in options.get(layer.name, ()):
            if option.pattern != "dense" and not is_narrowed(option):
                families.setdefault(_family(option), {}).setdefault(kept_share(layer, option), option)
        for family, choices in families.items():
            found += [((layer.name, family), share, choices[share]) for share in spread(list(choices), POINTS)]
    return found


def _width_tries(network: Network, options: Options) -> list[Try]:
    groups: dict[int, dict[float, Option]] = {}
    for name, choices in options.items():
        for option in choices:
            for side, group in _groups(network, name, option):
                groups.setdefault(group, {}).setdefault(float(option.parameters[side]), option)
    return [(g, level, levels[level]) for g, levels in sorted(groups.items()) for level in spread(list(levels), POINTS)]


def _groups(network: Network, name: str, option: Option) -> Iterator[tuple[str, int]]:
    """The sides of a layer that an option narrows, with their groups."""
    if is_narrowed(option):
        for side, group in zip(_SIDES, network.coupling.of(name), strict=True):
            if group is not None:
                yield side, group


def _family(option: Option) -> Family:
    """What the forms of a pattern have in common at all densities: n of m is a density of the form m."""
    same = {key: value for key, value in option.parameters.items() if key != "n"}
    return option.pattern, tuple(sorted(same.items()))


def _at_options(network: Network, options: Options, measured: Mapping[Any, list[tuple[float, float]]]) -> Losses:
    touched: dict[int, int] = {}
    for name, choices in options.items():
        for _, group in {pair for option in choices for pair in _groups(network, name, option)}:
            touched[group] = touched.get(group, 0) + 1

    def loss(layer: Layer, option: Option) -> float:
        found = sum(
            float(loss_at([float(option.parameters[side])], measured[group])[0]) / touched[group]
            for side, group in _groups(network, layer.name, option)
            if group in measured
        )
        smaller, inner = thinned(layer, option)
        if inner.pattern != "dense":
            found += float(loss_at([kept_share(smaller, inner)], _points(layer, inner, measured))[0])
        return found

    layers = {layer.name: layer for layer in network.sparsifiable}
    return {name: np.array([loss(layers[name], o) for o in choices], np.float64) for name, choices in options.items()}


def _points(
    layer: Layer, option: Option, measured: Mapping[Any, list[tuple[float, float]]]
) -> list[tuple[float, float]]:
    """What was measured of this form; within a narrowed layer of the nearest form that the whole layer has."""
    exact = measured.get((layer.name, _family(option)))
    if exact:
        return exact
    alike = sorted(
        (key[1][0] != option.pattern, str(key), points)
        for key, points in measured.items()
        if not isinstance(key, int) and key[0] == layer.name
    )
    if not alike:
        raise PlanError(
            f"layer {layer.name}: {option.label} within fewer channels cannot be probed by itself; allow the pattern "
            f"{option.pattern!r}, too"
        )
    return alike[0][2]


def _loss(looked: Subject, calibration: Calibration) -> float:
    """The mean loss with batch norm measured anew."""
    from advisor.examples.norms import measure_norms

    seen: list[float] = []

    def passes() -> None:
        seen.extend(float(looked.loss(batch, calibration)) * batch.size for batch in calibration.batches)

    measure_norms(looked.module, passes)
    if seen and min(batch.size for batch in calibration.batches) >= LARGE:
        return sum(seen) / calibration.examples
    return looked.mean_loss(calibration)


@contextmanager
def _masked(looked: Subject, layer: Layer, option: Option, squares: Floats) -> Iterator[Subject]:
    """The subject with one layer's connections gone, all but the largest; it is itself again afterwards."""
    import torch

    from advisor.patterns.base import pattern
    from advisor.patterns.saliency import unit_worth

    kind = pattern(option.pattern)
    mask = kind.mask(layer, option, scores=unit_worth(layer, option, squares))
    weight = looked.weights[layer.name]
    before = weight.data.clone()
    weight.data.mul_(torch.from_numpy(np.ascontiguousarray(mask)).to(weight.device))
    try:
        yield looked
    finally:
        weight.data.copy_(before)


@contextmanager
def _narrowed(network: Network, looked: Subject, flags: Bools) -> Iterator[Subject]:
    """A narrower copy of the subject."""
    import copy

    from advisor.examples.subject import Subject as Narrower
    from advisor.runtime.narrow import narrow_to

    module = narrow_to(copy.deepcopy(looked.module), network, network.coupling, flags)
    yield Narrower(
        module=module, weights={layer.name: module.get_parameter(str(layer.weight)) for layer in network.sparsifiable}
    )


def _shown(total: int) -> Callable[[], None]:
    """Advances a bar on standard error, where somebody watches it."""
    import sys

    from tqdm import tqdm

    bar = tqdm(total=total, desc="probing", file=sys.stderr, disable=None, leave=False)

    def advance() -> None:
        bar.update()
        if bar.n >= total:
            bar.close()

    return advance
