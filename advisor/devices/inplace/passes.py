"""Which sparse form each layer takes in one run of the template, so that a run tells of as many as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

from advisor.devices.inplace.template import Choice

if TYPE_CHECKING:
    from advisor.devices.inplace.template import Template
    from advisor.network import Network
    from advisor.patterns.option import Option


def choices_of(
    network: Network, options: Mapping[str, tuple[Option, ...]], *, device: str = "cpu"
) -> dict[str, dict[Choice, Option]]:
    """Layer → the sparse forms of it that the kernels run at inference, each with the first option that it is."""
    from advisor.runtime.execution import executions
    from advisor.runtime.methods import methods_of

    found: dict[str, dict[Choice, Option]] = {}
    for layer in network.sparsifiable:
        forms: dict[Choice, Option] = {}
        for option in options.get(layer.name, ()):
            if "direct" in methods_of(layer, option, device=device):
                execution = next(iter(executions(layer, option, method="direct")))
                forms.setdefault(Choice(execution.kept, execution.block), option)
        if forms:
            found[layer.name] = forms
    return found


class Passes:
    """Hands out assignments (layer → choice), one for each pass. Layers that run equal work are twins: in one pass they
    take different choices.

    Args:
        template: says which layers can be swapped.
        choices: layer → its sparse forms.
    """

    def __init__(self, template: Template, choices: Mapping[str, Sequence[Choice]]) -> None:
        self._template = template
        groups: dict[object, list[str]] = defaultdict(list)
        for name, calls in template.calls.items():
            work = frozenset((e.kind, e.input_shape, e.weight_shape, e.stride, e.padding, e.bias) for e in calls)
            groups[work].append(name)
        self._twins = [(names, tuple(dict.fromkeys(c for n in names for c in choices[n]))) for names in groups.values()]

    def keys(self) -> frozenset[str]:
        """Keys of all executions that passes can time."""
        return frozenset(
            execution.key
            for names, choices in self._twins
            for choice in choices
            for execution in self._template.executions_of(names[0], choice)
        )

    def next(self, worth: Mapping[str, float]) -> tuple[dict[str, Choice], float]:
        """The choices of the next pass, and what they are worth together.

        Layers with nothing left to learn take what they know already, in turn: another look.

        Args:
            worth: execution key → what knowing it is worth; what is known is absent.
        """
        found: dict[str, Choice] = {}
        total = 0.0
        for names, choices in self._twins:
            value = {c: sum(worth.get(e.key, 0.0) for e in self._template.executions_of(names[0], c)) for c in choices}
            best = sorted((c for c in choices if value[c] > 0), key=lambda c: (-value[c], c))[: len(names)]
            total += sum(value[c] for c in best)
            middle = sorted(choices)[len(choices) // 2 :] + sorted(choices)[: len(choices) // 2]
            for index, name in enumerate(names):
                found[name] = best[index] if index < len(best) else middle[index % len(middle)]
        return found, total

    def left(self, waiting: Set[str]) -> int:
        """How many passes it takes to see all that is waiting."""
        return max((self._left(names, choices, waiting) for names, choices in self._twins), default=0)

    def _left(self, names: Sequence[str], choices: Sequence[Choice], waiting: Set[str]) -> int:
        open_ = [c for c in choices if any(e.key in waiting for e in self._template.executions_of(names[0], c))]
        return -(-len(open_) // len(names))
