"""What attention layers may become, beside what the weights of a network may."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from advisor.errors import PlanError
from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.patterns.option import DENSE, Option
from advisor.planning.constraints.asked import Asked, Wanted

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.runtime.attention.sites import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMenu:
    """Options of every attention layer that can become hierarchical, the plain one first.

    Attributes:
        fixed: layer → why it has the plain one alone.
        notes: what is not offered, and why.
    """

    sites: Mapping[str, Site] = field(default_factory=dict)
    options: Mapping[str, tuple[Option, ...]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


NO_ATTENTION = AttentionMenu()


def attention_menu(network: Network, patterns: Sequence[str], asked: Asked, *, timed: bool = False) -> AttentionMenu:
    """The options of the pattern "hierarchical"; nothing where `patterns` does not name it.

    Offered are windows and pools that take fewer multiply-adds than plain attention, new projections included. A pin
    with a window and a pool adds its own where it is legal, also where it takes more.

    Args:
        network: analysed.
        patterns: what may be chosen from.
        asked: pins, among other rules.
        timed: the costs hold a time. No profile has one of hierarchical attention, so it is not offered then.

    Raises:
        PlanError: it is the only pattern, or pinned, and no layer can have it; the reasons.
    """
    if HIERARCHICAL not in patterns:
        return NO_ATTENTION
    from advisor.runtime.attention.sites import attention_sites

    sites = attention_sites(network)
    pins = [r for r in asked.rules if r.kind == "pin" and r.wanted is not None and r.wanted.pattern == HIERARCHICAL]
    alone = all(name in (HIERARCHICAL, "dense") for name in patterns)
    if timed:
        said = "no profile has timed hierarchical attention, so it is not offered where a profile gives times"
        if alone or pins:
            raise PlanError(f"{said}; leave the profile out and give budgets on macs, params or memory")
        return AttentionMenu(notes=(said,))
    options = {name: (DENSE, *_of(network, site, name, asked)) for name, site in sites.able.items()}
    fixed = {name: hierarchical.why_none(sites.able[name].shape) for name, found in options.items() if len(found) == 1}
    notes = _notes({**sites.refused, **fixed})
    if alone and all(len(found) == 1 for found in options.values()):
        raise PlanError(
            f"pattern {HIERARCHICAL!r}: no attention layer of {network.name!r} can have it"
            + (f": {'; '.join(notes)}" if notes else ", since none was found")
            + "; offer other patterns, too"
        )
    return AttentionMenu(sites=sites.able, options=options, fixed=fixed, notes=notes)


def held_layers(network: Network, patterns: Sequence[str]) -> frozenset[str]:
    """Projections of attention layers that may become hierarchical: width leaves their channels alone.

    What is added adds to the layer's own input, so its channels on all sides go together; coupling does not know that.
    """
    if HIERARCHICAL not in patterns:
        return frozenset()
    from advisor.runtime.attention.sites import attention_sites

    return frozenset(name for site in attention_sites(network).able.values() for name in site.projections)


def _of(network: Network, site: Site, name: str, asked: Asked) -> tuple[Option, ...]:
    found = list(hierarchical.options(site.shape))
    for rule in asked.of(name):
        if rule.kind != "pin" or rule.wanted is None or rule.wanted.pattern != HIERARCHICAL:
            continue
        option = _pinned(site, rule.wanted, f"{rule.text} for {rule.layers}")
        if option is not None and option not in found:
            found.append(option)
    return tuple(found)


def _pinned(site: Site, wanted: Wanted, where: str) -> Option | None:
    """The option of a pin that names window and pool; None where it leaves one of them open."""
    named = dict(wanted.parameters)
    if set(named) != {"window", "pool"}:
        return None
    if not all(value.isdecimal() for value in named.values()):
        raise PlanError(f"{where}: window and pool are whole numbers, as in hierarchical@window=7,pool=2")
    parameters = {key: int(value) for key, value in named.items()}
    if reason := hierarchical.problem(site.shape, parameters):
        raise PlanError(f"{where}: layer {site.layer}: {reason}")
    return hierarchical.hierarchical(site.shape, parameters["window"], parameters["pool"])


def _notes(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each reason, with the layers that it holds for."""
    layers: dict[str, list[str]] = defaultdict(list)
    for name, reason in reasons.items():
        layers[reason].append(name)
    return tuple(
        f"{HIERARCHICAL} is not offered for {names[0]}"
        + (f" and {len(names) - 1} more attention layers" if len(names) > 1 else "")
        + f": {reason}"
        for reason, names in layers.items()
    )
