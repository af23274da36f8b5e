"""The peak of a network's memory, from a run on fake tensors: no weights are allocated and nothing is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from advisor.devices.memory.follow import followed
from advisor.devices.memory.prediction import MemoryPrediction, ModuleMemory
from advisor.devices.memory.steps import check_optimizer
from advisor.devices.memory.tracker import Moment, Tracker
from advisor.devices.settings import check_device, cpu_threads, device_type
from advisor.errors import AdvisorError, DeviceError, ModelError

# Pages that are not full, what C's allocator and Python keep: fresh processes lay so much above, 0.4 to 1.2 MB.
_SLACK_BYTES = 1_200_000
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
        real: run a copy of the module on real tensors instead, for what needs their numbers (detection); takes the
            memory.

    Raises:
        ModelError: the module does not run, or only with real numbers (`real=True`).
        ProfileError: unknown optimiser. DeviceError: unknown device.
    """
    check_optimizer(optimizer)
    kind, place = _device(device)
    notes: list[str] = []
    if kind == "cuda" and place == "cpu":
        notes.append("no CUDA device here: followed on the CPU's operators, without those of CUDA's that are fused")
        notes.append("not counted: cuDNN's workspace of convolutions")
    with cpu_threads(threads), _users_errors(real):
        tracker, subject = followed(
            module, inputs, training=training, optimizer=optimizer, kind=kind, device=place, real=real
        )
    if training and optimizer is None:
        notes.append("no optimiser: its state and step are left out")
    notes += [f"not counted: {text}" for text in sorted(tracker.unknown)]
    return _prediction(tracker, subject, kind, tuple(notes))


def _device(device: str) -> tuple[str, str]:
    """(the type that is asked for, the device to follow on)."""
    kind = device_type(device)
    if kind == "cuda" and not torch.cuda.is_available():
        if device != "cuda" and not device.removeprefix("cuda:").isdecimal():
            raise DeviceError(f"unknown device {device!r}; expected cpu, cuda or cuda:INDEX")
        return kind, "cpu"
    return kind, check_device(device)


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


def _prediction(tracker: Tracker, module: nn.Module, kind: str, notes: tuple[str, ...]) -> MemoryPrediction:
    moment, kinds = tracker.peak, tracker.peak.kinds
    stays = sum(tracker.kept.values()) + tracker.compiled
    if kind == "cuda":
        stays = _CUBLAS_BYTES[torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9]
    tensors = sum(kinds.values())
    workspace = moment.scratch + stays
    return MemoryPrediction(
        peak_bytes=tensors + workspace,
        low_bytes=tensors,
        high_bytes=tensors + 2 * workspace + _SLACK_BYTES + tensors // 100,
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
