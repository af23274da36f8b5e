"""Filters die by themselves: under Adam with L2 more than under SGD with L2, and without any decay none."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import advisor
from validation.data.registry import Request, load_data
from validation.methods.filters.method import FilterDetector
from validation.training.optimizers import make_optimizer

STEPS, BATCH = 500, 8  # small batches and an easy task make more of them


def images(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Zeros and ones among the written digits, `N 1 8 8`."""
    held = getattr(load_data("digits", Request(shape=(1, 8, 8))), part)
    pixels, labels = held.batch(torch.arange(len(held)))
    return pixels[labels < 2], labels[labels < 2]


def trained(name: str, rate: float, l2: float) -> tuple[nn.Module, FilterDetector]:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(128, 2)),
    )
    pixels, labels = images("train")
    detector = FilterDetector(module, advisor.analyze(module, (1, 1, 8, 8)), lambda: [pixels], remove=True)
    optimizer = make_optimizer(name, module.parameters(), rate, l2=l2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chosen = torch.randint(len(pixels), (BATCH,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(module(pixels[chosen]), labels[chosen]).backward()
        optimizer.step()
    return module, detector


def test_adam_with_l2_kills_filters() -> None:
    found, errors = {}, {}
    pixels, labels = images("test")
    for key, rule in {"adam": ("adam", 3e-2, 5e-3), "sgd": ("sgd", 1e-1, 5e-3), "none": ("adam", 3e-2, 0.0)}.items():
        module, detector = trained(*rule)
        found[key] = detector.after_epoch()
        before = copy.deepcopy(module).eval()(pixels).argmax(1)
        errors[key] = (before != labels).double().mean().item()
        outcome = detector.finish()
        assert torch.equal(module.eval()(pixels).argmax(1), before)
        if outcome.plan is None:
            assert key != "adam"
        else:
            assert outcome.numbers["params_after"] == sum(p.numel() for p in module.parameters())
    assert found["none"]["inactive_by_gamma"] == found["none"]["inactive_by_activation"] == 0
    for criterion in ("inactive_by_gamma", "inactive_by_activation"):
        assert found["adam"][criterion] >= 3
        assert found["adam"][criterion] > found["sgd"][criterion]
    assert errors["adam"] == pytest.approx(errors["sgd"], abs=0.03)
