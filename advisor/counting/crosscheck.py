"""Sets other counters beside ours, and says where and why they differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from advisor.counting.arguments import base_name, bind
from advisor.counting.handlers import handler_of
from advisor.counting.others import OtherCount, count_with, fvcore_count, torch_count
from advisor.exporting import first_names
from advisor.network import Network

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCheck:
    """One module's own MACs by each counter (None: that counter failed), its children left out."""

    module: str
    macs: int
    fvcore: int | None
    torch: int | None
    reasons: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return all(other in (None, self.macs) for other in (self.fvcore, self.torch))


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """Our count of a network beside fvcore's and torch's."""

    macs: int
    counters: tuple[OtherCount, ...]
    modules: tuple[ModuleCheck, ...]

    def to_json(self) -> dict[str, Any]:
        """`counters[]` with `name`, `macs`, `difference` (theirs − ours), `failure`; `modules[]` where any counts."""
        return {
            "macs": self.macs,
            "counters": [
                {
                    "name": counter.name,
                    "macs": counter.macs,
                    "difference": None if counter.macs is None else counter.macs - self.macs,
                    "also_counts": dict(counter.extra),
                    "does_not_count": dict(_all_missed(counter)),
                    "ran_on": counter.ran_on,
                    "failure": counter.failure,
                }
                for counter in self.counters
            ],
            "modules": [
                {
                    "module": check.module,
                    "macs": check.macs,
                    "fvcore": check.fvcore,
                    "torch": check.torch,
                    "reasons": list(check.reasons),
                }
                for check in self.modules
            ],
        }

    def to_text(self) -> str:
        lines = [f"cross-check: ours {self.macs:,} MACs"]
        for counter in self.counters:
            if counter.macs is None:
                lines.append(f"{counter.name:<8} failed: {counter.failure}")
                continue
            delta = counter.macs - self.macs
            verdict = "equal" if not delta else f"{delta:+,}"
            lines.append(f"{counter.name:<8} {counter.macs:,} MACs, {verdict} (ran on {counter.ran_on})")
            if counter.extra:
                extra = ", ".join(f"{op} {number:,}" for op, number in sorted(counter.extra.items()))
                lines.append(f"         not in that number, since they are no products: {extra}")
        differing = [check for check in self.modules if not check.agrees]
        lines.append(f"{len(self.modules) - len(differing)} of {len(self.modules)} modules with products agree")
        if differing:
            rows = [
                [check.module or "(network)", _number(check.macs), _number(check.fvcore), _number(check.torch), reason]
                for check in differing[:_SHOWN]
                for reason in ["; ".join(check.reasons)]
            ]
            align = ("left", "right", "right", "right", "left")
            headers = ["module", "ours", "fvcore", "torch", "why"]
            lines.append(tabulate(rows, headers=headers, colalign=align, disable_numparse=True))
            if len(differing) > _SHOWN:
                lines.append(f"… and {len(differing) - _SHOWN} more; --json lists all")
        return "\n".join(lines)


def cross_check(network: Network) -> CrossCheck:
    """Counts the network with fvcore and with torch's FlopCounterMode too.

    fvcore traces to TorchScript, which fails on many networks and on meta tensors; then a copy with empty weights is
    made. Takes about one run of the network per counter.
    """
    ours, operators = _by_module(network)
    counters = (count_with("fvcore", fvcore_count, network), count_with("torch", torch_count, network))
    first = first_names(network.module) if network.module is not None else {}
    theirs = [_renamed(counter.modules, first) for counter in counters]
    names = dict.fromkeys((*ours, *theirs[0], *theirs[1]))
    modules = []
    for name in names:
        numbers = [None if c.macs is None else found.get(name, 0) for c, found in zip(counters, theirs, strict=True)]
        reasons = [
            _reason(counter, name, ours[name], number - ours[name], operators[name])
            for counter, number in zip(counters, numbers, strict=True)
            if number is not None and number != ours[name]
        ]
        check = ModuleCheck(module=name, macs=ours[name], fvcore=numbers[0], torch=numbers[1], reasons=tuple(reasons))
        modules.append(check)
    return CrossCheck(macs=network.macs, counters=counters, modules=tuple(modules))


def _by_module(network: Network) -> tuple[Counter[str], Mapping[str, Counter[str]]]:
    """Our MACs by the module that was running, and the operators that made them."""
    macs: Counter[str] = Counter()
    operators: defaultdict[str, Counter[str]] = defaultdict(Counter)
    values = network.ops.values
    for op in network.ops.ops:
        handler = handler_of(op.target)
        if handler is None:
            continue
        works = handler(bind(op), values, [values[index].shape for index in op.outputs])
        macs[op.module] += sum(work.macs for work in works)
        operators[op.module][base_name(op.target)] += 1
    return macs, operators


def _renamed(modules: Mapping[str, int], first: Mapping[str, str]) -> Counter[str]:
    result: Counter[str] = Counter()
    for name, macs in modules.items():
        result[first.get(name, name)] += macs
    return result


def _reason(counter: OtherCount, module: str, macs: int, difference: int, operators: Mapping[str, int]) -> str:
    missed = counter.missed.get(module, {})
    if missed:
        listed = ", ".join(f"{op} x{number}" for op, number in sorted(missed.items()))
        return f"{counter.name} does not count {listed}"
    if counter.name == "fvcore" and "einsum" in operators and abs(difference) <= 1e-3 * macs:
        return "fvcore reads einsum off NumPy's printed path, which is rounded to four digits"
    if not operators:
        return f"{counter.name} counts here what ours counts in another module"
    listed = ", ".join(sorted(operators))
    return f"{counter.name} {'adds to' if difference > 0 else 'leaves out part of'} {listed}"


def _all_missed(counter: OtherCount) -> Counter[str]:
    # Every parent repeats what its children missed; the network itself has it all.
    return Counter(counter.missed.get("", {}))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
