"""Which operators of the dense network a sparse layer takes in: the addition and the activation that follow it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.devices.inplace.deployed import work_of
from advisor.devices.inplace.stopwatch import Stopwatch
from advisor.recording import Paths
from advisor.runtime.watch import watched_by

if TYPE_CHECKING:
    from advisor.devices.inplace.deployed import Deployed

_ACTIVATIONS = {"relu": ("relu", "threshold"), "relu6": ("hardtanh", "relu6", "clamp"), "silu": ("silu",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call of a sparse layer does beside the layer."""

    residual: bool
    activation: str


def calls_of(network: Deployed) -> dict[str, list[Call]]:
    """Layer → what its calls take in, seen in one run."""
    found: dict[str, list[Call]] = defaultdict(list)
    watch = Stopwatch(one_thread=False)  # kernels show themselves only where somebody watches torch, too
    with Paths(network.module) as paths:

        def look(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            if name in ("advisor.sparse_conv2d", "advisor.sparse_linear"):
                activation = next((value for value in args if isinstance(value, str)), "none")
                residual = name.endswith("conv2d") and args[5] is not None
                found[paths.here].append(Call(residual=residual, activation=activation))
            return watch.own(name, function, args)

        with watch, watched_by(look):
            network.call()
    return dict(found)


def taken_in(dense: Deployed, calls: dict[str, list[Call]]) -> dict[str, list[int]]:
    """Layer → which steps of the dense network its sparse form makes needless."""
    found: dict[str, list[int]] = {}
    gone: set[int] = set()
    seen: dict[str, int] = defaultdict(int)
    for index, site in enumerate(dense.sites):
        if site is None or site not in calls:
            continue
        call = calls[site][min(seen[site], len(calls[site]) - 1)]
        seen[site] += 1
        mine = found.setdefault(site, [])
        at = index
        for wanted, targets in ((call.residual, ("add",)), (True, _ACTIVATIONS.get(call.activation, ()))):
            after = _next(dense, at, targets, gone) if wanted else None
            if after is not None:
                gone.add(after)
                mine.append(after)
                at = after
    return found


def _next(dense: Deployed, index: int, targets: tuple[str, ...], gone: set[int]) -> int | None:
    """The first step after `index` that is one of `targets` and puts out what that step does."""
    shape = dense.steps[index].outputs[:1]
    for at in range(index + 1, len(dense.steps)):
        step = dense.steps[at]
        if at not in gone and work_of(step) and step.target in targets and step.outputs[:1] == shape:
            return at
    return None
