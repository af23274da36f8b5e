"""Trains a network under a plan, with torch and NumPy alone: python docs/trainer.py plan.json (see plan-format.md)."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn


def mask(layer):
    """Which weights stay, for drawn connections in plain and grouped layers; plan_masks.py knows the rest."""
    pattern, shape, of = layer["pattern"], layer["weight_shape"], layer.get
    if pattern == "dense":
        return torch.ones(shape, dtype=torch.bool)
    (outputs, inputs), taps, m = shape[:2], math.prod(shape[2:]), of("m", 1)
    rows, columns = of("rows", of("block", 1)), of("columns", 1)
    units = {"channel": (outputs, inputs), "group": (outputs // rows, inputs), "n:m": (outputs * inputs // m, m, taps)}
    units |= {"unstructured": (1, outputs * inputs * taps), "block": (1, outputs * inputs * taps // rows // columns)}
    keys = np.random.PCG64(layer["seed"]).random_raw(math.prod(units[pattern])).reshape(units[pattern])
    kept = keys.argsort(1, kind="stable").argsort(1) < max(1, math.ceil(layer["density"] * keys.shape[1] - 1e-9))
    for row, given, taken in of("rewired", []):
        kept[row, given], kept[row, taken] = False, True
    kept[of("dropped", [])] = False
    if pattern in ("channel", "group"):
        kept = kept.repeat(rows, 0).repeat(taps, 1)
    elif pattern == "block":
        kept = kept.reshape(outputs // rows, -1).repeat(rows, 0).repeat(columns, 1)
    return torch.from_numpy(kept.reshape(shape))


def build():
    ends = nn.MaxPool2d(4), nn.Flatten(), nn.Linear(128, 4)
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), *ends), torch.zeros(
        1, 1, 12, 12
    )


def train(plan, steps=200):
    model, _ = build()
    masks = {model.get_parameter(layer["weight"]): mask(layer) for layer in plan["layers"]}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        labels = torch.randint(4, (64,))  # which quarter of the picture is the brightest
        x = torch.randn(64, 1, 12, 12) + torch.eye(4)[labels].view(64, 1, 2, 2).kron(torch.ones(6, 6))
        for weight, kept in masks.items():
            weight.data.mul_(kept)
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for weight, kept in masks.items():
        weight.data.mul_(kept)
    return model, loss.item()


if __name__ == "__main__":
    print(f"loss {train(json.loads(Path(sys.argv[1]).read_text()))[1]:.3f}")
