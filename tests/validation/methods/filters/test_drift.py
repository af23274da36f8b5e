"""What a parameter without a gradient of its own does under each optimiser: the source paper's cause, to six digits."""

import pytest
import torch
from torch import nn

from validation.training.optimizers import make_optimizer

STEPS = (1, 10, 100, 500)
DRIFT = {
    ("adam", 1e-3, "l2", 1e-2): (0.999000, 0.990003, 0.901744, 0.560508),
    ("adam", 1e-3, "l2", 1e-4): (0.999000, 0.990004, 0.901753, 0.560550),
    ("adam", 1e-3, "l2", 1e-5): (0.999001, 0.990013, 0.901842, 0.560933),
    ("adamw", 1e-3, "weight_decay", 1e-4): (1.000000, 0.999999, 0.999990, 0.999950),
    ("adam", 1e-3, "weight_decay", 1e-4): (1.000000, 0.999999, 0.999990, 0.999950),
    ("sgd", 1e-1, "l2", 1e-4): (0.999990, 0.999900, 0.999000, 0.995012),
}


@pytest.mark.parametrize("rule", DRIFT, ids=lambda rule: f"{rule[0]} {rule[2]} {rule[3]:g}")
def test_drift_without_a_gradient(rule: tuple[str, float, str, float]) -> None:
    name, rate, kind, strength = rule
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = make_optimizer(name, [weight], rate, momentum=0.0, **{kind: strength})
    found = []
    for step in range(1, STEPS[-1] + 1):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        if step in STEPS:
            found.append(weight.item())
    assert found == pytest.approx(DRIFT[rule], rel=0, abs=1e-6)


def test_under_adam_the_strength_of_l2_nearly_cancels() -> None:
    ends = [DRIFT["adam", 1e-3, "l2", strength][-1] for strength in (1e-2, 1e-4, 1e-5)]
    assert max(ends) - min(ends) < 5e-4


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_decoupled_decay_multiplies_and_l2_joins_the_gradient(name: str) -> None:
    """theta *= 1 - rate * decay, whatever the gradient; L2 is a gradient of lambda * theta."""
    start = torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64)
    gradient = torch.tensor([0.2, -0.4, 0.0], dtype=torch.float64)

    def stepped(add: float = 0.0, **decay: float) -> torch.Tensor:
        weight = nn.Parameter(start.clone())
        optimizer = make_optimizer(name, [weight], 0.05, momentum=0.0, **decay)
        weight.grad = gradient + add * start
        optimizer.step()
        return weight.detach()

    free = stepped() - start
    torch.testing.assert_close(stepped(weight_decay=0.1), start * (1 - 0.05 * 0.1) + free, rtol=0, atol=1e-12)
    torch.testing.assert_close(stepped(l2=0.1), stepped(add=0.1), rtol=0, atol=1e-12)
