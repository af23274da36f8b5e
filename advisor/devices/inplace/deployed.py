"""A network ready to be timed operator by operator: its run as steps, and which layer each of them is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.inplace.stopwatch import described
from advisor.devices.measuring.subject import forward_call, try_once
from advisor.patterns.option import DENSE
from advisor.runtime.execution import Execution, executions, plain

if TYPE_CHECKING:
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One inference of a network. `sites` names the layer beside each of the recording's steps, None elsewhere."""

    module: torch.nn.Module
    call: Callable[[], object]
    recording: Recording
    sites: tuple[str | None, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.recording.steps

    def places(self) -> dict[str, list[int]]:
        """Layer → which steps it is, in the order of its calls."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(self.sites):
            if name is not None:
                found[name].append(index)
        return dict(found)


def deployed(network: Network, module: torch.nn.Module, inputs: tuple[Any, ...]) -> Deployed:
    """Runs `module`, a form of `network` in evaluation mode, until it is settled, and says which steps it takes.

    Raises:
        ProfileError: it does not run.
    """
    call = forward_call(module, inputs)
    try_once(call, network, "on its example input")  # the kernels find their tilings here
    recording = described(call, module)
    return Deployed(module=module, call=call, recording=recording, sites=_sites(network, recording))


def _sites(network: Network, recording: Recording) -> tuple[str | None, ...]:
    """By the module that was running; layers that are none (projections of attention) by what they compute."""
    known = {layer.name: layer for layer in network.sparsifiable}
    found: list[str | None] = [
        path if step.execution is not None and path in known else None
        for step, path in zip(recording.steps, recording.modules, strict=True)
    ]
    waiting: dict[Execution, list[str]] = defaultdict(list)
    for name in known.keys() - set(found):
        for execution, calls in executions(known[name], DENSE).items():
            waiting[plain(execution)] += [name] * calls
    for names in waiting.values():
        names.sort(key=list(known).index)
    for index, step in enumerate(recording.steps):
        if found[index] is None and step.execution is not None and waiting.get(plain(step.execution)):
            found[index] = waiting[plain(step.execution)].pop(0)
    # A layer that shows fewer or more steps than it has calls cannot be timed step by step.
    seen = Counter(name for name in found if name is not None)
    whole = {name for name, count in seen.items() if count == len(known[name].calls)}
    return tuple(name if name in whole else None for name in found)


def work_of(step: Step) -> bool:
    """Whether a step runs a kernel: views take none, and what the clock reads for them is its own."""
    return step.family != "view"
