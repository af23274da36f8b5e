"""Activation-gradient pruning in any training loop: hooks on the layers, thresholds that follow, a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from advisor.devices.simulated.trace import to_lines
from advisor.errors import AdvisorError
from validation.methods.gradients.placement import Site, place
from validation.methods.gradients.prune import GradientPruner, prune_gradient
from validation.methods.gradients.recorder import Counts, Recorder, counted
from validation.methods.gradients.threshold import check_share
from validation.methods.method import Method, MethodSettings, Outcome, Run
from validation.methods.registry import register_method

TRACE = "gradient-trace.jsonl"


class ActivationGradientPruning(Method):
    """Prunes the activation gradients of a module's layers while it trains (Dai et al. 2020, SparseTrain).

    Nothing gets faster by it here: the gain is a sparse machine's, which reads `trace()`. Evaluation is untouched.

    Args:
        module: what trains; under `torch.compile` the hooks break its graph into more pieces.
        sites: of `place(network)`; layers are found in `module` by name.
        p: share of gradients below the threshold, were they normal; the density that results is another number.
        fifo: thresholds averaged into the next one; until so many are there nothing is pruned. 0: each gradient by its
            own threshold. The published length is not known to us; 4 is ours.
        include_zeros: whether zeros count in sigma. At dI there are few; at dO behind ReLU they lower it.
        trace_every: every so many steps the densities are counted; 0 for never.
        seed: each layer draws from a generator of its own.
        model: the network's name, for the trace.
    """

    def __init__(
        self,
        module: nn.Module,
        sites: Sequence[Site],
        *,
        p: float,
        fifo: int = 4,
        include_zeros: bool = True,
        trace_every: int = 10,
        seed: int = 0,
        model: str = "",
    ) -> None:
        self.sites = tuple(sites)
        self.step = 0
        self.trace_every = trace_every
        self.pruners = {
            site.layer.name: GradientPruner(p, fifo=fifo, include_zeros=include_zeros, seed=_seed(seed, number))
            for number, site in enumerate(self.sites)
            if site.at != "nowhere"
        }
        settings: dict[str, float | bool | str] = {
            "p": p,
            "fifo": fifo,
            "include_zeros": include_zeros,
            "trace_every": trace_every,
            "seed": seed,
        }
        self._recorder = Recorder(model, settings, self.sites)
        self._last: dict[str, float] = {}
        self._module = module
        self._begin_step()
        self._handles: list[RemovableHandle] = []
        for site in self.sites:
            self._hook(site)

    def _begin_step(self) -> None:
        self._batch = 0
        self._counts = {site.layer.name: Counts() for site in self.sites}
        self._recording = bool(self.trace_every) and self.step % self.trace_every == 0
        for pruner in self.pruners.values():
            pruner.counting = self._recording

    def _hook(self, site: Site) -> None:
        name = site.layer.name
        try:
            layer = self._module.get_submodule(name)
        except AttributeError as error:
            raise AdvisorError(
                f"gradient pruning: the module has no layer {name!r}; give the module that was analysed"
            ) from error

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            inputs = _read(args, kwargs)
            if inputs is None or not self._at_work:
                return None
            self._batch = self._batch or len(inputs)
            if self._recording:
                self._counts[name].add("input", counted(inputs))
            if site.at != "input" or not inputs.requires_grad:
                return None
            pruned = prune_gradient(inputs, self.pruners[name])
            swapped = {key: pruned if item is inputs else item for key, item in kwargs.items()}
            return tuple(pruned if item is inputs else item for item in args), swapped

        def leave(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            inputs = _read(args, kwargs)
            if inputs is None or not (self._at_work and isinstance(output, Tensor) and output.requires_grad):
                return None
            if self._recording:
                groups = int(getattr(layer, "groups", site.layer.groups))
                shapes = tuple(inputs.shape), tuple(output.shape)
                self._recorder.observe(name, *shapes, groups, max(self._batch, 1))
                output.register_hook(lambda gradient: self._counts[name].add("output_gradient", counted(gradient)))
            return prune_gradient(output, self.pruners[name]) if site.at == "output" else None

        self._handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
        self._handles.append(layer.register_forward_hook(leave, with_kwargs=True))

    @property
    def _at_work(self) -> bool:
        return self._module.training and torch.is_grad_enabled()

    def after_backward(self) -> None:
        """Ends the step for every layer: its threshold enters the queue, its counts the trace."""
        if self._recording:
            for name, pruner in self.pruners.items():
                if pruner.counts is not None:
                    before, after, elements = pruner.counts.unbind()
                    self._counts[name].add("before", torch.stack([before, elements]))
                    self._counts[name].add("after", torch.stack([after, elements]))
                self._counts[name].threshold = pruner.threshold
            self._recorder.end_step(self.step, max(self._batch, 1), list(self._counts.values()))
        for pruner in self.pruners.values():
            pruner.end_step()
        self.step += 1
        self._begin_step()

    def after_epoch(self) -> dict[str, float]:
        """Shares of nonzero elements over the recorded steps and all layers.

        `gradient_density` and `gradient_density_before` are at the pruned places, `output_gradient_density` is of dO as
        a machine reads it, `activation_density` of what the layers read.
        """
        self._last = self._recorder.end_epoch() or self._last
        return self._last

    def finish(self) -> Outcome:
        """The last epoch's densities and the trace, which `advisor.devices.simulated.trace` reads."""
        places = Counter(site.at for site in self.sites)
        notes = [
            f"gradients pruned at dO of {places['output']} layers, at dI of {places['input']}, "
            f"nowhere at {places['nowhere']}"
        ]
        notes += [f"{site.layer.name}: not pruned, {site.why}" for site in self.sites if site.at == "nowhere"]
        files = {TRACE: to_lines(self._recorder.trace())} if self.trace_every else {}
        numbers = self._last | {"pruned_layers": float(len(self.pruners))}
        return Outcome(numbers=numbers, files=files, notes=tuple(notes))

    def clear_thresholds(self) -> None:
        """Forgets all thresholds, for a learning rate that dropped; nothing is pruned until they are there anew."""
        for pruner in self.pruners.values():
            if pruner.queue is not None:
                pruner.queue.clear()

    def state_dict(self) -> dict[str, Any]:
        """Between two steps."""
        return {
            "step": self.step,
            "last": dict(self._last),
            "pruners": {name: pruner.state_dict() for name, pruner in self.pruners.items()},
            "trace": self._recorder.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self._last = int(state["step"]), dict(state["last"])
        self._recorder.load(state["trace"])
        for name, pruner in self.pruners.items():
            weight = next(self._module.get_submodule(name).parameters())
            pruner.load_state_dict(state["pruners"][name], weight.device)
        self._begin_step()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that a layer was called with, by position or by name."""
    return next((item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)), None)


def _seed(seed: int, number: int) -> int:
    # SplitMix64's constant spreads neighbouring seeds; torch takes 64 bits.
    return (seed * 0x9E3779B97F4A7C15 + number) % 2**63


@register_method("gradient-pruning", target="dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientPruningSettings(MethodSettings):
    """Stochastic pruning of activation gradients at dI or dO, with predicted thresholds and a trace (SparseTrain)."""

    p: float = 0.9
    fifo: int = 4
    include_zeros: bool = True
    linear: bool = False
    trace_every: int = 10

    def __post_init__(self) -> None:
        check_share(self.p)
        for name in ("fifo", "trace_every"):
            if getattr(self, name) < 0:
                raise AdvisorError(f"gradient pruning: got {name}={getattr(self, name)}, expected 0 or more")

    def attach(self, run: Run) -> ActivationGradientPruning:
        settings = asdict(self)
        sites = place(run.network, linear=settings.pop("linear"))
        return ActivationGradientPruning(run.module, sites, **settings, seed=run.seed, model=run.network.name)
