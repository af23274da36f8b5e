"""What there is to measure in a network, and in which order when time is short."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.patterns.option import DENSE, Option

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.runtime.execution import Execution

WIDTH_LEVELS = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)
# Work near these many MACs takes about a millisecond: long enough to time, short enough to stand beside everything.
_REFERENCE_MACS = {"cpu": 5e7, "cuda": 2e9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One distinct execution. `dense_macs` sums the layers that would run it, so it stands for their share of time."""

    execution: Execution
    dense: bool
    dense_macs: int
    family: tuple[object, ...]  # layer shape, pattern, parameters and method: within it only the density varies
    density: float
    flat: bool = False  # hardly changes with the density, and stands beside a method that does


def options_of(
    network: Network, patterns: tuple[str, ...] | None, *, include_ends: bool = False, rounding: str = "ceil"
) -> dict[str, tuple[Option, ...]]:
    """Every candidate of every layer: what a plan could choose, so what a profile should know.

    Patterns within width are as many as all others together, so they are among it only where they are named.
    """
    from advisor.patterns.base import combined_names
    from advisor.patterns.candidates import candidates

    names = patterns if patterns is not None else _all_patterns()
    if set(names) & set(combined_names()):
        from advisor.planning.menu.options import menu

        return dict(menu(network, names, rounding=rounding, include_ends=include_ends).options)
    found = dict(candidates(network, tuple(n for n in names if n != "width"), include_ends=include_ends))
    if "width" in names:
        from advisor.planning.menu.width import width_options

        for layer, options in width_options(network, WIDTH_LEVELS, rounding).items():
            found[layer] = (*found.get(layer, (DENSE,)), *options)
    return found


def _all_patterns() -> tuple[str, ...]:
    from advisor.patterns.base import pattern_names

    return tuple(name for name in pattern_names() if name != "dense")


def tasks_of(
    network: Network, options: Mapping[str, tuple[Option, ...]], *, training: bool, device: str = "cpu"
) -> list[Task]:
    """The distinct executions behind `options` by every method that is a candidate for them on `device`, the dense
    ones of every layer always among them.
    """
    from advisor.runtime.execution import executions
    from advisor.runtime.methods import methods_of

    found: dict[str, Task] = {}
    for layer in network.sparsifiable:
        counted: set[str] = set()  # many options of a layer may run the same work: its arithmetic counts once
        for option in (DENSE, *(o for o in options.get(layer.name, ()) if o.pattern != "dense")):
            ways = methods_of(layer, option, training=training, device=device)
            runs = {e: m for m in ways for e in executions(layer, option, training=training, method=m)}
            for execution, method in runs.items():
                dense = option.pattern == "dense"
                known = found.get(execution.key)
                family = _family(layer.weight_shape, layer.input_shape, option)
                found[execution.key] = Task(
                    execution=execution,
                    dense=dense or (known is not None and known.dense),
                    dense_macs=(known.dense_macs if known else 0) + (0 if execution.key in counted else layer.macs),
                    family=known.family if known else (*family, method),
                    density=known.density if known else option.density,
                    flat=known.flat if known else method == "packed" and len(ways) > 1,
                )
                counted.add(execution.key)
    return list(found.values())


def _family(weight: tuple[int, ...], inputs: tuple[int, ...], option: Option) -> tuple[object, ...]:
    own = option.parameters.items() if option.pattern != "width" else ()
    return (weight, inputs, option.pattern, tuple(sorted((k, str(v)) for k, v in own if k != "within")))


def in_order(tasks: list[Task]) -> list[Task]:
    """Dense executions first, the costliest first; then options by what knowing them is worth.

    Within a family the middle densities come first, then the ends, then what lies between (its time can be
    interpolated); every further member counts half of the one before. A family counts as much as the arithmetic of
    the layers that it could speed up, and a quarter of that where it is the masked way beside a faster one.
    """
    worth = worths(tasks)
    dense = sorted((t for t in tasks if t.dense), key=lambda t: (-t.dense_macs, t.execution.key))
    rest = sorted((t for t in tasks if not t.dense), key=lambda t: (-worth[t.execution.key], t.execution.key))
    return dense + rest


def worths(tasks: Sequence[Task]) -> dict[str, float]:
    """Key → what knowing an option's execution is worth, before anything is known; dense ones are left out."""
    worth: dict[str, float] = {}
    families: dict[tuple[object, ...], list[Task]] = defaultdict(list)
    for task in tasks:
        if not task.dense:
            families[task.family].append(task)
    for members in families.values():
        members.sort(key=lambda task: (-task.density, task.execution.key))
        for rank, index in enumerate(_middle_out(len(members))):
            member = members[index]
            worth[member.execution.key] = member.dense_macs / 2 ** min(rank + (2 if member.flat else 0), 30)
    return worth


def _middle_out(count: int) -> list[int]:
    """0..count-1: the middle, both ends, then the middles of the gaps."""
    if count == 0:
        return []
    order, gaps = [count // 2], [(-1, count // 2), (count // 2, count)]
    for end in (0, count - 1):
        if end not in order:
            order.append(end)
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            if middle not in order:
                order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order


def reference_of(tasks: list[Task], device: str) -> Task:
    """The dense execution that stands beside every measurement. The same in every run, so that a run can go on."""
    wanted = math.log(_REFERENCE_MACS[device])
    dense = [task for task in tasks if task.dense]
    return min(dense, key=lambda t: (abs(math.log(max(t.execution.macs, 1)) - wanted), t.execution.key))


def network_hash(network: Network) -> str:
    """Names the network's layers and shapes in 16 hexadecimal digits; weights do not count."""
    layers = [
        [x.name, x.kind, x.weight_shape, [[c.input_shape, c.macs] for c in x.calls], x.stride, x.padding, x.dilation]
        for x in network.layers
    ]
    text = json.dumps([network.input_shapes, network.macs, layers], default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
