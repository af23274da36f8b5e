"""Runs a network, or its twin on fake tensors, under a tracker."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from advisor.devices.memory.fake import Twins
from advisor.devices.memory.places import Places
from advisor.devices.memory.steps import Step
from advisor.devices.memory.tracker import Tracker

_CUDA_BLOCK = 512  # bytes: what torch's CUDA allocator rounds to


def followed(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    training: bool,
    optimizer: str | None,
    kind: str,
    device: str,
    real: bool,
) -> tuple[Tracker, nn.Module]:
    """The tracker after the run, and what was run: a copy of `module`, fake or `real`.

    Args:
        kind: the type of device whose run is in question; device: where it is followed.
    """
    mode = None if real else FakeTensorMode(allow_non_fake_inputs=True)
    if mode is None:
        subject, given = copy.deepcopy(module), inputs
    else:
        twins = Twins(mode, device)
        subject, given = twins.module(module), twins.inputs(inputs)
    places = Places(subject)
    # Scratch belongs to the device's own operators; followed on others, nothing is known about it.
    tracker = Tracker(places, rounded=_block if kind == "cuda" else int, with_scratch=device.startswith(kind))
    handles = _known(tracker, subject, given, training)
    try:
        with mode or nullcontext(), places.followed():
            step = Step(subject, given, training=training, optimizer=optimizer, device=kind)
            if step.optimizer is not None:
                places.follow_optimizer(step.optimizer)
            with tracker:
                # An optimiser makes its state in the first step: the second is like all later ones.
                for _ in range(1 if step.optimizer is None else 2):
                    tracker.restart()
                    step()
                    _state(tracker, step)
    finally:
        for handle in handles:
            handle.remove()
    return tracker, subject


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
