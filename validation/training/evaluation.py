"""What a network makes of images: logits, loss, accuracy, and statistics that are measured anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advisor.errors import DataError
from validation.data.images import Images
from validation.training.recipe import Recipe, batches, placed

AUXILIARY = 0.4  # weight of auxiliary heads in training (Szegedy et al. 2015, GoogLeNet and Inception)
_NARROW = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Of the test images; `loss` is the mean cross-entropy in nats."""

    loss: float
    accuracy: float


def logits_of(output: Any) -> tuple[torch.Tensor, ...]:
    """Logits `B classes` of the main head, then of auxiliary ones (Inception and GoogLeNet give tuples).

    Raises:
        DataError: the network gives something else, so it is no classifier of images.
    """
    found = tuple(output) if isinstance(output, tuple) else (output,)
    heads = tuple(item for item in found if isinstance(item, torch.Tensor))
    if not heads or heads[0].ndim != 2:
        got = f"a tensor of {heads[0].ndim} axes" if heads else type(output).__name__
        raise DataError(
            f"the network's output is {got}; validate trains classifiers, expected logits of 2 axes (batch, classes)"
        )
    return tuple(head for head in heads if head.ndim == 2)


def loss_of(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, of auxiliary heads with less weight; in float32 whatever the logits' format."""
    main, *others = (
        head.float() if head.dtype in (torch.bfloat16, torch.float16) else head for head in logits_of(output)
    )
    loss = F.cross_entropy(main, labels)
    for other in others:
        loss = loss + AUXILIARY * F.cross_entropy(other, labels)
    return loss


def evaluate(
    module: nn.Module, images: Images, *, device: str = "cpu", batch: int = 250, channels_last: bool = True
) -> Evaluation:
    """Accuracy and loss in evaluation mode. A network whose outputs are NaN is wrong everywhere."""
    module.eval()
    total = correct = 0.0
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels, labels = images.batch(torch.arange(start, min(start + batch, len(images))))
            labels = labels.to(device)
            logits = logits_of(module(placed(pixels, device, channels_last=channels_last)))[0]
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += float(((logits.argmax(1) == labels) & logits.isfinite().all(1)).sum())
    return Evaluation(loss=total / len(images), accuracy=correct / len(images))


def recalibrate(module: nn.Module, images: Images, recipe: Recipe, *, seed: int, limit: int = 32) -> int:
    """Measures batch norm's statistics anew, which thinned weights have moved, on up to `limit` training batches.

    Returns:
        How many batch norms there are; everything else stays in evaluation mode and unchanged.
    """
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm) and child.running_mean is not None]
    if not norms:
        return 0
    module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    with torch.no_grad():
        for step, (pixels, _) in enumerate(batches(images, recipe, seed=seed, epoch=0)):
            if step == limit:
                break
            module(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return len(norms)


def not_finite(module: nn.Module) -> str:
    """The first parameter, or statistic of a batch norm, that holds NaN or infinity; "" where all are numbers."""
    for name, parameter in module.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"weights {name!r}"
    for name, child in module.named_modules():
        if isinstance(child, _BatchNorm):
            for key in ("running_mean", "running_var"):
                held = getattr(child, key)
                if held is not None and not bool(held.isfinite().all()):
                    return f"statistics {name + '.' + key!r}"
    return ""
