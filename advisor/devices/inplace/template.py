"""The network with sparse layers wherever there are kernels for them, each of which can be swapped for another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.inplace.deployed import Deployed, deployed
from advisor.errors import AdvisorError
from advisor.patterns.option import DENSE
from advisor.runtime.execution import Execution, executions
from advisor.runtime.sparse import Sparse, sparse
from advisor.runtime.standalone import lists_of

if TYPE_CHECKING:
    from advisor.network import Layer, Network
    from advisor.patterns.option import Option
    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """What distinguishes the sparse forms of one layer: the inputs that all blocks read, and the outputs of a block."""

    kept: int
    block: int


class Template:
    """Made as a plan is applied for inference, so activations and additions are taken in as a user would get them.

    Attributes:
        running: the network as it stands, with the last choices in it.
        calls: layer → its executions in the order of its calls, under the choice that it began with; layers that run
            by sparse kernels alone.

    Raises:
        AdvisorError, RuntimeError: no plan can be applied to this network, or it does not run then.
    """

    def __init__(
        self,
        network: Network,
        module: torch.nn.Module,
        inputs: tuple[Any, ...],
        dense: Deployed,
        options: Mapping[str, Option],
    ) -> None:
        from advisor.plans.apply import apply_plan

        self._network = network
        self._known = {layer.name: layer for layer in network.sparsifiable}
        applied = apply_plan(_plan(network, options), module, for_inference=True, example_inputs=inputs)
        self.running = deployed(network, applied.module, inputs)
        self.calls = self._calls(options)
        self._dense = {name: _plain(dense.module, name) for name in self.calls}
        self._places: dict[str, list[tuple[torch.nn.Module, str]]] = defaultdict(list)
        held = {id(applied.module.get_submodule(name)): name for name in self.calls}
        for parent in applied.module.modules():
            for key, child in parent._modules.items():
                if id(child) in held:
                    self._places[held[id(child)]].append((parent, key))

    def _calls(self, options: Mapping[str, Option]) -> dict[str, tuple[Execution, ...]]:
        found: dict[str, tuple[Execution, ...]] = {}
        for name, indices in self.running.places().items():
            steps = [self.running.steps[index] for index in indices]
            if name not in options or any(s.execution is None or s.execution.method != "direct" for s in steps):
                continue
            expected = executions(self._known[name], options[name], method="direct")
            by_input = {execution.input_shape: execution for execution in expected}
            only = next(iter(expected)) if len(expected) == 1 else None
            runs = [by_input.get(s.execution.input_shape, only) if s.execution else None for s in steps]
            if isinstance(self.running.module.get_submodule(name), Sparse) and all(run is not None for run in runs):
                found[name] = tuple(run for run in runs if run is not None)
        return found

    def executions_of(self, name: str, choice: Choice) -> tuple[Execution, ...]:
        """What a layer runs under a choice, in the order of its calls."""
        return tuple(replace(e, kept=choice.kept, block=choice.block) for e in self.calls[name])

    def swap(self, choices: Mapping[str, Choice]) -> None:
        """Puts other sparse layers into the place of those that stand there, and runs the network until it is settled.

        Raises:
            KernelError, RuntimeError: one of them does not run.
        """
        for name, choice in choices.items():
            old = self.running.module.get_submodule(name)
            new = self._made(name, choice)
            new.activation = str(old.activation)
            for parent, key in self._places[name]:
                parent._modules[key] = new
        self.running.call()  # the kernels find their tilings

    def _made(self, name: str, choice: Choice) -> Sparse:
        layer, execution = self._known[name], self.executions_of(name, choice)[0]
        if layer.groups > 1:  # its lists stay within their groups
            kernel = execution.weight_shape[2:]
            shape = (layer.out_channels, layer.in_channels // layer.groups, *kernel)
            execution = replace(execution, weight_shape=shape, groups=layer.groups)
        made = sparse(self._dense[name], *lists_of(execution), execution.block)
        with torch.no_grad():
            # Fewer inputs make smaller sums: fifty such layers in a row would end in numbers too small to be fast.
            made.weight.mul_((made.dense_weight().numel() / max(made.weight.numel(), 1)) ** 0.5)
        return made.eval()


def _plain(module: torch.nn.Module, name: str) -> torch.nn.Module:
    return module.get_submodule(name)


def _plan(network: Network, options: Mapping[str, Option]) -> Plan:
    from advisor.plans.plan import Plan, PlanLayer

    layers = [
        PlanLayer.of(layer, options.get(layer.name, DENSE), seed=index, method=_method(layer, options))
        for index, layer in enumerate(network.sparsifiable)
    ]
    return Plan(
        model=network.name,
        input_shapes=network.input_shapes,
        layers=tuple(layers),
        costs={},
        objective=0.0,
        bound=0.0,
        gap=0.0,
        solve_seconds=0.0,
        status="baseline",
        sensitivity="uniform",
        patterns=tuple(sorted({option.pattern for option in options.values()})),
        seed=0,
        network=network,
    )


def _method(layer: Layer, options: Mapping[str, Option]) -> Any:
    return "direct" if layer.name in options else "dense"


def template_of(
    network: Network,
    module: torch.nn.Module,
    inputs: tuple[Any, ...],
    dense: Deployed,
    options: Mapping[str, Option],
) -> tuple[Template | None, str]:
    """The template, or why there is none; layer → one option that the sparse kernels run."""
    if not options:
        return None, ""
    try:
        made = Template(network, module, inputs, dense, options)
    except (AdvisorError, RuntimeError) as error:
        return None, " ".join(str(error).split())[:200] or type(error).__name__
    return (made, "") if made.calls else (None, "no sparse layer runs by the kernels here")
