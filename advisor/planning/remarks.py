"""What a reader of a plan has to know beside its numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor.patterns.option import Option
from advisor.planning.budgets import cost_text
from advisor.planning.build import Built
from advisor.planning.table import Choice

if TYPE_CHECKING:
    from advisor.plans.attention import PlanAttention
    from advisor.plans.plan import CostLine
    from advisor.runtime.methods import Method

# What methods do, for notes.
_COPIES: Mapping[Method, str] = {"gather": "gather", "direct": "pad"}
_RUNS: Mapping[Method, str] = {"direct": "the sparse kernels", "gather": "gathering their inputs"}


def uncertain(lines: Mapping[str, CostLine]) -> list[str]:
    """Budgets that the plan meets, though its interval reaches over them."""
    return [
        f"{key} is predicted within its budget of {cost_text(key, line.budget)}, but its interval reaches "
        f"{cost_text(key, line.high)}; measure it (advisor latency --plan --verify)"
        for key, line in lines.items()
        if line.budget is not None and line.high is not None and line.high > line.budget
    ]


def is_masked(option: Option) -> bool:
    return option.pattern not in ("dense", "width")


def remarks(
    built: Built, choice: Choice | Sequence[int], options: Mapping[str, Option], methods: Mapping[str, Method]
) -> list[str]:
    """What a reader of the plan has to know: how it runs, what saves no time, and times that were not measured."""
    slow: Counter[str] = Counter()
    fast: Counter[Method] = Counter()
    saved: dict[str, float] = defaultdict(float)
    for name, option in options.items():
        if not is_masked(option):
            continue
        if methods[name] in ("dense", "packed"):
            slow[option.pattern] += 1
            saved[option.pattern] += _saved_ms(built, name, choice)
        else:
            fast[methods[name]] += 1
    found = [f"layers run by {_RUNS[method]}: {count}" for method, count in sorted(fast.items())]
    for pattern, count in sorted(slow.items()):
        text = f"{pattern} runs masked here on {count} layers, as no kernel is faster than the dense one"
        found.append(f"{text}: {saved[pattern]:.3g} ms saved" if built.time_key else f"{text}: it saves no time")
    if built.times is not None:
        origins = Counter(built.times.origins[name][k] for name, k in zip(built.table.layers, choice, strict=True))
        parts = [f"{origins[kind]} {kind}" for kind in ("measured", "predicted", "extrapolated") if origins[kind]]
        found.append(f"{built.time_key} of the plan's {len(options)} layers: {', '.join(parts)}")
    return found


def memory_remarks(
    options: Mapping[str, Option], methods: Mapping[str, Method], limits: Mapping[str, float]
) -> list[str]:
    """Where a limited memory is that of the stored network, and a run takes more."""
    counted = Counter(methods[name] for name, option in options.items() if is_masked(option))
    masked = counted["dense"] + counted["packed"]
    limited = [key for key in ("weight_memory", "peak_memory") if key in limits]
    found = []
    if limited and masked:
        found.append(
            f"{' and '.join(limited)} count kept values and their positions, as stored; while they run, the weights of "
            f"{masked} masked layers are dense"
        )
    copying = [f"{counted[m]} layers {what}" for m, what in _COPIES.items() if counted[m]]
    if "peak_memory" in limits and copying:
        found.append(f"peak_memory leaves out the copies of their inputs that {' and '.join(copying)}")
    return found


def attention_remarks(replaced: Sequence[PlanAttention], limits: Mapping[str, float]) -> list[str]:
    """What becomes of plain attention that the plan replaces."""
    if not replaced:
        return []
    added = sum(layer.added_params for layer in replaced)
    found = [
        f"attention layers that become hierarchical: {len(replaced)}; their projections stay, {added:,} new parameters "
        "come in untrained, so the network has to be trained; their densities are shares of token pairs"
    ]
    if "peak_memory" in limits:
        found.append("peak_memory counts the activations of plain attention in their place")
    return found


def _saved_ms(built: Built, name: str, choice: Choice | Sequence[int]) -> float:
    if built.time_key is None:
        return 0.0
    index = built.table.layers.index(name)
    column = built.table.costs[built.time_key][index]
    return float(column[built.table.dense[index]] - column[choice[index]])
