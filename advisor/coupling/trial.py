"""Trial narrowing: before width is offered, the network runs with fewer channels, and every channel must arrive.

The trial runs on meta tensors where the network can, so it costs neither memory nor arithmetic. Its operators are
recorded and walked like the network's own; then each layer must read exactly those channels that its narrowed weight
was cut for. So a network that still runs but mixes its channels up (a hard-coded slice) is found, too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from advisor.coupling.arrival import arrives
from advisor.coupling.graph import aliases_of, walk_ops
from advisor.coupling.keep import Flags, distinct_levels, kept_classes
from advisor.coupling.structure import Coupling
from advisor.coupling.training import meta_copy, on_meta, recorded, twice
from advisor.coupling.walker import Walker
from advisor.trace import evaluation, one_line

if TYPE_CHECKING:
    from advisor.network import Network

_LEVELS = (0.5, 0.75, 0.25)  # the first of these that narrows a group is tried
_CACHE = "_tried_coupling"


def tried(network: Network) -> Coupling:
    """`network.coupling` after a trial; groups that would break the network are frozen. Kept with the network.

    All groups are narrowed at once; where that fails, halves of them, down to those at fault.
    """
    cached = network.__dict__.get(_CACHE)
    if isinstance(cached, Coupling):
        return cached
    coupling = network.coupling
    if network.module is not None:
        coupling = _without(coupling, _faults(network, coupling))
    network.__dict__[_CACHE] = coupling
    return coupling


def _without(coupling: Coupling, faults: dict[int, str]) -> Coupling:
    groups = tuple(replace(g, frozen=faults[i]) if i in faults else g for i, g in enumerate(coupling.groups))
    return replace(coupling, groups=groups)


def _faults(network: Network, coupling: Coupling) -> dict[int, str]:
    """Group → why it cannot be narrowed, among those that coupling found nothing against."""
    levels: dict[int, float] = {}
    for index, group in enumerate(coupling.groups):
        found = [v for level in _LEVELS if (v := distinct_levels(coupling, index, (level,), "ceil"))[1:]]
        if found:
            levels[index] = found[0][1]
        elif not group.frozen:
            levels[index] = 1.0
    faults = {i: "its pieces would not stay equally large" for i, level in levels.items() if level == 1}
    open_ = [i for i in levels if i not in faults]
    if not open_:
        return faults
    stage, reason = _stage(network)
    if stage is None:
        return faults | dict.fromkeys(open_, reason)

    # Any channels, not the first ones: a chosen set must arrive as well.
    scores = np.random.PCG64(0).random_raw(len(coupling.group_of)).astype(np.float64)

    def problem(groups: list[int]) -> str:
        chosen = {coupling.groups[i].name: levels[i] for i in groups}
        return stage.problem(kept_classes(coupling, chosen, scores=scores))

    while open_ and (text := problem(open_)):
        found_now = _guilty(open_, problem, text)
        faults |= found_now
        open_ = [i for i in open_ if i not in found_now]
    return faults


def _guilty(groups: list[int], problem: Callable[[list[int]], str], text: str) -> dict[int, str]:
    """The groups at fault among `groups`, which together fail with `text`."""
    if len(groups) == 1:
        return {groups[0]: text}
    found: dict[int, str] = {}
    for half in (groups[: len(groups) // 2], groups[len(groups) // 2 :]):
        if why := problem(half):
            found |= _guilty(half, problem, why)
    return found or dict.fromkeys(groups, text)  # each half is fine, both together are not


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Where trials run: the network, a module that may be copied, and its inputs, on meta or on the module's device."""

    network: Network
    coupling: Coupling
    module: nn.Module
    inputs: tuple[Any, ...]
    dense: Walker
    trains: bool  # also in training mode, which reaches other parts of the network

    def problem(self, flags: Flags) -> str:
        """Why the network does not work with the channel classes of `flags` alone; empty where it does."""
        from advisor.runtime.narrow import narrow_to

        try:
            module = narrow_to(copy.deepcopy(self.module), self.network, self.coupling, flags)
            walker = _recorded(self.network, module, self.inputs)
            if self.trains:
                _train(module, self.inputs)
        except Exception as error:  # whatever the user's code says to smaller tensors
            return f"a trial with fewer channels failed: {one_line(error, 120)}"
        return arrives(self.dense, walker, self.coupling, flags, strict=self.network.origin == "export")


def _stage(network: Network) -> tuple[_Stage | None, str]:
    assert network.module is not None
    reason = ""
    places = ((meta_copy(network.module), on_meta(network.example_inputs)), (network.module, network.example_inputs))
    for module, inputs in places:
        try:
            dense = _recorded(network, module, inputs)
        except Exception as error:
            reason = f"no trial is possible: {one_line(error, 120)}"
            continue
        trains = network.unreached_params > 0
        if trains:
            try:
                _train(copy.deepcopy(module), inputs)
            except Exception:
                trains = False  # it does not train on this input anyway
        stage = _Stage(
            network=network, coupling=network.coupling, module=module, inputs=inputs, dense=dense, trains=trains
        )
        return stage, ""
    return None, reason


def _recorded(network: Network, module: nn.Module, inputs: tuple[Any, ...]) -> Walker:
    with evaluation(module):
        return walk_ops(recorded(module, inputs), network.sparsifiable, aliases_of(module))


def _train(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    with torch.no_grad():
        module.train()(*twice(inputs))
