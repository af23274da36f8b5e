"""A loop as a training library would write one, and a task that never ends."""

import io
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

import advisor
from advisor.network import Network
from advisor.patterns.base import pattern
from advisor.patterns.narrowed import width_option
from advisor.plans.plan import Plan
from tests.plans.samples import MASKED, OPTIONS, SHAPE, plan_of, small
from tests.plans.test_combined import options_at_half, planned
from validation.methods.method import Method, Run
from validation.methods.sparse.modules import masked_module

Optimizer = torch.optim.Optimizer
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.3, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.05, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.005, momentum=0.8, weight_decay=0.05),
}


@cache
def network() -> Network:
    """Of `small`, analysed once."""
    return advisor.analyze(small(), torch.zeros(SHAPE, dtype=torch.float64))


@cache
def mixed(seed: int = 0) -> Plan:
    """A plan of `small` with several patterns."""
    return plan_of(network(), OPTIONS, seed=seed)


@cache
def everywhere(name: str) -> Plan:
    """A plan of `small` that masks all layers that the pattern fits."""
    option = MASKED[name]
    legal = [layer.name for layer in network().sparsifiable if not pattern(name).problem(layer, option)]
    assert len(legal) >= 3
    return plan_of(network(), dict.fromkeys(legal, option))


@cache
def narrowed(name: str) -> Plan:
    """A plan of `small` at half its width, with a pattern within it in all layers but one."""
    options = options_at_half(network(), name)
    options["grouped"] = width_option(options["grouped"])
    return planned(network(), options)


def batch(step: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(SHAPE, generator=generator, dtype=dtype)
    return inputs, torch.randn(SHAPE[0], 8, generator=generator, dtype=dtype)


def from_disk(state: Any) -> Any:
    """What a checkpoint gives back: nothing but tensors and plain values may be in it."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def train(module: nn.Module, optimizer: Optimizer, steps: Sequence[int], methods: Sequence[Method] = ()) -> list[float]:
    """Trains on the batches of these numbers. Returns the losses."""
    losses = []
    module.train()
    for step in steps:
        inputs, wanted = batch(step, next(module.parameters()).dtype)
        optimizer.zero_grad()
        loss = ((module(inputs) - wanted) ** 2).mean()
        loss.backward()
        for method in methods:
            method.after_backward()
        optimizer.step()
        for method in methods:
            method.after_step()
        losses.append(loss.item())
    return losses


def run_of(plan: Plan | None = None, epochs: int = 4, steps: int = 25) -> Run:
    """What a method is attached to in a validation."""
    module = small() if plan is None else masked_module(small(), plan)
    return Run(
        module=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        network=network(),
        plan=plan,
        epochs=epochs,
        steps_per_epoch=steps,
        train_size=100,
        seed=5,
        sample=lambda count, batch: iter(()),
    )
