"""One measuring session on one device: the reference layer beside everything, and what is timed next to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.document import execution_document
from advisor.devices.inplace.collect import dense_execution
from advisor.devices.inplace.deployed import Deployed, deployed
from advisor.devices.inplace.passes import Passes
from advisor.devices.inplace.rounds import in_rounds
from advisor.devices.inplace.template import Choice, Template, template_of
from advisor.devices.measuring.drift import together
from advisor.devices.measuring.subject import (
    forward_call,
    inference_ready,
    layer_call,
    real_inputs,
    real_module,
    training_call,
    try_once,
)
from advisor.devices.measuring.timing import Sample, clock_for, time_interleaved, waited_share
from advisor.devices.settings import device_type
from advisor.errors import KernelError
from advisor.runtime.sparse import Sparse

if TYPE_CHECKING:
    from advisor.devices.cuda.run import GpuRun
    from advisor.devices.measuring.clocks import Clock
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.runtime.execution import Execution


_SCARCE_SECONDS = 0.1  # for one execution; thirteen rounds of usual work fit into it

# The reference measures the machine's drift alone: beside a whole network it would find its caches emptied, look slow,
# and make that network look fast (MobileNetV2 by a quarter, VGG-16 by a third).
_PRIMED = ("reference",)


class Session:
    """Times executions and the whole network of one kind (inference or training). Holds two networks and one layer.

    Use as a context manager; on the way out the device's cached memory is given back.
    """

    def __init__(
        self,
        network: Network,
        reference: Execution,
        *,
        device: str,
        training: bool,
        seed: int,
        check: Callable[[], None] | None = None,
        choices: Mapping[str, Mapping[Choice, Option]] | None = None,
        gpu: GpuRun | None = None,
    ) -> None:
        self._gpu, self._graphed = gpu, False
        self._network, self._device, self._training, self._seed = network, device, training, seed
        self._check = check
        self._reference = self._layer(reference)
        module = real_module(network, device, seed=seed)
        inputs = real_inputs(network, device, seed=seed)
        self._whole: dict[str, Callable[[], object]]
        self.dense: Deployed | None = None  # where layers are timed in place
        self.template: Template | None = None  # where their sparse forms are, too
        self.passes: Passes | None = None
        self.why_alone = ""  # why sparse forms are not timed in place
        if training:
            self._whole = {"whole": self._call(module, inputs)}
            try_once(self._whole["whole"], network, "forward and backward on its example input")
        else:
            ready = inference_ready(network, module)
            self._whole = {
                "whole": self._call(ready, inputs),
                "eager": self._call(module, inputs),
            }
            if device_type(device) == "cpu":
                self.dense = deployed(network, ready, inputs)
                self._prepare_passes(module, inputs, choices or {})
            for call in self._whole.values():
                try_once(call, network, "on its example input")
        began = time.perf_counter()
        for call in self._whole.values():
            call()
        self._round_seconds = time.perf_counter() - began

    def _prepare_passes(
        self, module: torch.nn.Module, inputs: tuple[Any, ...], choices: Mapping[str, Mapping[Choice, Option]]
    ) -> None:
        if self.dense is None:
            return
        first = {name: next(iter(forms.values())) for name, forms in choices.items()}
        self.template, self.why_alone = template_of(self._network, module, inputs, self.dense, first)
        if self.template is not None:
            self.passes = Passes(self.template, {name: tuple(forms) for name, forms in choices.items()})

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole, self.dense, self.template = {}, None, None
        if device_type(self._device) == "cuda":
            torch.cuda.empty_cache()

    def _layer(self, execution: Execution) -> Callable[[], object]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            module, inputs = execution.build()
        module = module.to(self._device)
        if isinstance(module, Sparse) and (runs := module.runs_by()) != execution.method:
            raise KernelError(f"it would run by {runs!r} here")
        if self._gpu is not None:
            return self._gpu.layer(module, inputs.to(self._device), training=self._training)
        return layer_call(module, inputs.to(self._device), training=self._training)

    def _call(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
        if self._gpu is not None:
            return self._gpu.whole(module, inputs, training=self._training)
        if self._training:
            return training_call(module.train(), inputs)
        return forward_call(module.eval(), inputs)

    def _clock(self) -> Clock:
        return self._gpu.clock() if self._gpu is not None else clock_for(self._device)

    @property
    def in_place(self) -> frozenset[str]:
        """Keys of the executions that `whole` times in place."""
        if self.dense is None:
            return frozenset()
        known = {layer.name: layer for layer in self._network.sparsifiable}
        pairs = [(known[site], step) for site, step in zip(self.dense.sites, self.dense.steps, strict=True) if site]
        found = [dense_execution(layer, step) for layer, step in pairs]
        return frozenset(execution.key for execution in found if execution is not None)

    def execution(self, execution: Execution, seconds: float) -> dict[str, Any]:
        """Times one execution beside the reference, for about `seconds` or until its median is known to ± 2 %."""
        scarce = seconds < _SCARCE_SECONDS
        work, clock = self._layer(execution), self._clock()
        taken = time_interleaved(
            {"reference": self._reference, "work": work},
            clock=clock,
            primed=_PRIMED,
            # Where time is short, knowing more of the work roughly beats knowing less of it well.
            warmup=1 if scarce else 3,
            min_repeats=6 if scarce else 8,  # the fewest whose extremes hold the median with 95 %
            max_seconds=seconds,
            check=self._check,
        )
        return _record(taken["work"], taken["reference"], waited_share(clock))

    def whole(self, seconds: float) -> dict[str, Any]:
        """Times the whole network beside the reference, inference-ready and as given; in place, its steps, too."""
        if self.dense is not None:
            return self._in_place(self.dense, seconds)
        clock = self._clock()
        slow = 8 * self._round_seconds > seconds
        taken = time_interleaved(
            {"reference": self._reference, **self._whole},
            clock=clock,
            primed=_PRIMED,
            max_seconds=seconds,
            # A network that takes seconds must not eat the budget of everything else. The extremes of three rounds
            # first and three last hold the median with 97 %, those of three alone with 75 %.
            warmup=1 if slow else 2,
            min_repeats=3 if slow else 6,
            spread=0.01,
            check=self._check,
        )
        found = _record(taken["whole"], taken["reference"], waited_share(clock))
        if self._gpu is not None and not self._graphed:
            found |= self._gpu.graph(self._whole["whole"], min(seconds, 2.0))
            self._graphed = True
        return found | {"eager_ms": taken.get("eager", taken["whole"]).median_ms}

    def candidates(self, choices: Mapping[str, Choice], seconds: float) -> dict[str, Any]:
        """Times the whole network with these sparse layers in it, and each of them in place, for about `seconds`.

        Raises:
            KernelError, RuntimeError: one of them does not run here.
        """
        template = self.template
        if template is None:
            raise KernelError(self.why_alone or "there are no sparse kernels here")
        template.swap(choices)
        scarce = seconds < 16 * self._round_seconds
        found = in_rounds(
            template.running,
            {},
            reference=self._reference,
            seconds=seconds,
            least=3 if scarce else 6,
            spread=0.02,
            check=self._check,
        )
        layers = []
        for name, indices in template.running.places().items():
            if name in choices:
                for execution, index in zip(template.executions_of(name, choices[name]), indices, strict=True):
                    time = found.steps[index]
                    interval = {"median_ms": time.median_ms, "low_ms": time.low_ms, "high_ms": time.high_ms}
                    layers.append({"layer": name, "execution": execution_document(execution), **interval})
        return {
            **_record(found.taken["whole"], found.taken["reference"], found.waited),
            "sum_ms": found.sum_ms,
            "found": layers,
        }

    def _in_place(self, dense: Deployed, seconds: float) -> dict[str, Any]:
        slow = 16 * self._round_seconds > seconds
        found = in_rounds(
            dense,
            {"eager": self._whole["eager"]},
            reference=self._reference,
            seconds=seconds,
            warmup=1 if slow else 2,
            least=3 if slow else 6,
            check=self._check,
        )
        return {
            **_record(found.taken["whole"], found.taken["reference"], found.waited),
            "eager_ms": found.taken["eager"].median_ms,
            "sum_ms": found.sum_ms,
            "steps": [[step.median_ms, step.low_ms, step.high_ms] for step in found.steps],
        }


def _record(work: Sample, reference: Sample, waited: float) -> dict[str, Any]:
    return {
        "median_ms": work.median_ms,
        "low_ms": work.low_ms,
        "high_ms": work.high_ms,
        "repeats": work.repeats,
        "reference_ms": reference.median_ms,
        "reference_spread": reference.spread,
        "together": together(reference, work),
        "waited": waited,
    }
