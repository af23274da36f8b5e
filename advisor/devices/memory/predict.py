"""The peak of a network's memory, from a run on fake tensors: no weights are allocated and nothing is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from advisor.devices.memory.fake import Twins
from advisor.devices.memory.places import Places
from advisor.devices.memory.prediction import MemoryPrediction, ModuleMemory
from advisor.devices.memory.steps import Step, check_optimizer
from advisor.devices.memory.tracker import Moment, Tracker
from advisor.devices.settings import check_device, cpu_threads, device_type
from advisor.errors import AdvisorError, DeviceError, ModelError

_CUDA_BLOCK = 512  # bytes: what torch's CUDA allocator rounds to
# Workspace of cuBLAS in torch's allocator: 8320 KiB, 32 MiB from Hopper on (torch, CUDABlas.cpp).
_CUBLAS_BYTES = {True: 32 << 20, False: 8320 << 10}


def predict_memory(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    training: bool = False,
    optimizer: str | None = "sgd",
    device: str = "cpu",
    threads: int | None = None,
    real: bool = False,
) -> MemoryPrediction:
    """What `module` takes at its peak, weights included, on `inputs`.

    It is run on fake tensors and every storage is followed from its making to its death, so lifetimes are those of the
    real run. `advisor.counting.liveness` answers a smaller question from the exported graph (activations alone, at
    inference, free as soon as nobody reads them) in the time of a look at it, which is why the budget `peak_memory` is
    counted there; what Python keeps alive, autograd, the optimiser and the operators' own copies are counted here.

    Args:
        module: dense, sparse or deployed (`Plan.apply`), on any device, meta included; it is left as it was.
        inputs: positional arguments, of the batch size that is asked for.
        training: forward, backward and the optimiser's step instead of one inference.
        optimizer: "sgd", "sgd_momentum" or "adam"; None leaves its step out. Of no effect without `training`.
        device: "cpu" or "cuda[:i]". Without a GPU here, CUDA's run is followed on the CPU's operators.
        threads: CPU threads of the run; some operators take memory for each, and some choose another way.
        real: run on the module's own tensors instead, for what needs their numbers (detection); takes the memory.

    Raises:
        ModelError: the module does not run, or only with real numbers (`real=True`).
        ProfileError: unknown optimiser. DeviceError: unknown device.
    """
    check_optimizer(optimizer)
    kind, followed = _device(device)
    notes: list[str] = []
    if kind == "cuda" and followed == "cpu":
        notes.append("no CUDA device here: followed with the CPU's operators, so fused ones of CUDA are counted apart")
    with cpu_threads(threads), _users_errors(real):
        tracker, moment, subject = _followed(
            module, inputs, training=training, optimizer=optimizer, kind=kind, device=followed, real=real
        )
    if training and optimizer is None:
        notes.append("no optimiser: its state and step are left out")
    notes += [f"not counted: {text}" for text in sorted(tracker.unknown)]
    return _prediction(tracker, moment, subject, kind, tuple(notes))


def _device(device: str) -> tuple[str, str]:
    """(the type that is asked for, the device to follow on)."""
    kind = device_type(device)
    if kind == "cuda" and not torch.cuda.is_available():
        if device != "cuda" and not device.removeprefix("cuda:").isdecimal():
            raise DeviceError(f"unknown device {device!r}; expected cpu, cuda or cuda:INDEX")
        return kind, "cpu"
    return kind, check_device(device)


def _followed(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    training: bool,
    optimizer: str | None,
    kind: str,
    device: str,
    real: bool,
) -> tuple[Tracker, Moment, nn.Module]:
    mode = None if real else FakeTensorMode(allow_non_fake_inputs=True)
    subject, given = module, inputs
    if mode is not None:
        twins = Twins(mode, device)
        subject, given = twins.module(module), twins.inputs(inputs)
    was = {id(m): m.training for m in subject.modules()}
    places = Places(subject)
    tracker = Tracker(places, rounded=_block if kind == "cuda" else int)
    handles = _known(tracker, subject, given, training)
    try:
        with mode or nullcontext(), places.followed():
            step = Step(subject, given, training=training, optimizer=optimizer, device=kind)
            if step.optimizer is not None:
                places.follow_optimizer(step.optimizer)
            with tracker:
                for _ in range(2 if step.optimizer is not None else 1):
                    tracker.restart()
                    step()
                    _state(tracker, step)
    finally:
        for handle in handles:
            handle.remove()
        for child in subject.modules():
            child.training = was[id(child)]
    return tracker, tracker.peak, subject


def _block(size: int) -> int:
    return -(-size // _CUDA_BLOCK) * _CUDA_BLOCK


def _known(tracker: Tracker, module: nn.Module, inputs: tuple[Any, ...], training: bool) -> list[Any]:
    """Counts what is there before the run; gradients are told apart as they arrive."""
    handles: list[Any] = []

    def arrived(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            tracker.take(parameter.grad, "gradient")

    for name, child in module.named_modules():
        for parameter in child._parameters.values():
            if parameter is not None:
                tracker.take(parameter, "parameter", name)
                if training and parameter.requires_grad and parameter.is_leaf:
                    handles.append(parameter.register_post_accumulate_grad_hook(arrived))
        for buffer in child._buffers.values():
            if buffer is not None:
                tracker.take(buffer, "buffer", name)
    for tensor in tree_leaves(inputs):
        if isinstance(tensor, torch.Tensor):
            tracker.take(tensor, "input")
    return handles


def _state(tracker: Tracker, step: Step) -> None:
    if step.optimizer is not None:
        for tensor in tree_leaves([dict(state) for state in step.optimizer.state.values()]):
            if isinstance(tensor, torch.Tensor):
                tracker.take(tensor, "optimizer")


@contextmanager
def _users_errors(real: bool) -> Iterator[None]:
    """Turns whatever the run raises into one line."""
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedOperatorException,
    )

    try:
        yield
    except (AdvisorError, KeyboardInterrupt):
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException) as error:
        raise ModelError(
            f"the network's memory cannot be followed without numbers: {' '.join(str(error).split())[:160]} depends on "
            "them; pass real=True and a module with real weights"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        kind = "" if real else " on fake tensors"
        raise ModelError(f"the network does not run{kind}: {reason}; check its inputs") from error


def _prediction(
    tracker: Tracker, moment: Moment, module: nn.Module, kind: str, notes: tuple[str, ...]
) -> MemoryPrediction:
    kinds = moment.kinds
    stays = sum(tracker.kept.values()) + tracker.compiled
    if kind == "cuda":
        stays = _CUBLAS_BYTES[torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9]
    tensors = sum(kinds.values())
    workspace = moment.scratch + stays
    return MemoryPrediction(
        peak_bytes=tensors + workspace,
        low_bytes=tensors,
        high_bytes=tensors + 2 * workspace,
        parameters_bytes=kinds.get("parameter", 0),
        buffers_bytes=kinds.get("buffer", 0),
        gradients_bytes=kinds.get("gradient", 0),
        optimizer_bytes=kinds.get("optimizer", 0),
        inputs_bytes=kinds.get("input", 0),
        activations_bytes=kinds.get("activation", 0),
        workspace_bytes=workspace,
        peak_at=f"{moment.operator} in {moment.module}" if moment.module else moment.operator,
        modules=_modules(moment, module),
        notes=notes,
    )


def _modules(moment: Moment, module: nn.Module) -> tuple[ModuleMemory, ...]:
    weights: Counter[str] = Counter()
    seen: set[int] = set()
    for name, child in module.named_modules():
        for tensor in (*child._parameters.values(), *child._buffers.values()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                weights[name] += tensor.numel() * tensor.element_size()
    found = [
        ModuleMemory(name=name, weights_bytes=weights[name], activations_bytes=moment.modules.get(name, 0))
        for name in {*weights, *moment.modules}
    ]
    found = [m for m in found if m.weights_bytes or m.activations_bytes]
    return tuple(sorted(found, key=lambda m: (-m.weights_bytes - m.activations_bytes, m.name)))
