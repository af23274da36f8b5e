"""Stochastic pruning against closed forms of the normal distribution; queues of thresholds."""

import math
from statistics import NormalDist

import pytest
import torch
from torch import nn

from advisor.errors import AdvisorError
from validation.methods.gradients import (
    GradientPruner,
    ThresholdQueue,
    normal_added_variance,
    normal_zero_share,
    prune_gradient,
    stochastic_prune,
)
from validation.methods.gradients.threshold import determined, quantile

# p, t, share of zeros, added variance / sigma^2, for exactly normal gradients
TABLE = [
    (0.5, 0.67449, 0.25933, 0.0382),
    (0.7, 1.03643, 0.38009, 0.1270),
    (0.8, 1.28155, 0.45129, 0.2225),
    (0.9, 1.64485, 0.54033, 0.4124),
    (0.95, 1.95996, 0.60255, 0.6138),
    (0.99, 2.57583, 0.69147, 1.0652),
]
SIGMA, COUNT = 0.37, 200_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(count: int = COUNT, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=generator(seed), dtype=torch.float64) * SIGMA


@pytest.mark.parametrize(("p", "t", "zeros", "added"), TABLE)
def test_closed_forms_are_the_table(p: float, t: float, zeros: float, added: float) -> None:
    assert quantile(p) == pytest.approx(t, abs=5e-6)
    assert normal_zero_share(p) == pytest.approx(zeros, abs=1e-5)
    assert normal_added_variance(p) == pytest.approx(added, abs=5e-5)


@pytest.mark.parametrize(("p", "t", "zeros", "added"), TABLE)
def test_pruning_does_what_the_closed_forms_say(p: float, t: float, zeros: float, added: float) -> None:
    gradient = normal()
    pruned = stochastic_prune(gradient, t * SIGMA, generator(1))
    share = float((pruned == 0).double().mean())
    assert abs(share - zeros) < 5 * math.sqrt(zeros * (1 - zeros) / COUNT)
    noise = pruned - gradient
    assert abs(float(noise.mean())) < 5 * float(noise.std()) / math.sqrt(COUNT)
    squares = (noise / SIGMA) ** 2
    assert abs(float(squares.mean()) - added) < 5 * float(squares.std()) / math.sqrt(COUNT) + 5e-5


def test_each_small_gradient_is_unbiased_by_itself() -> None:
    for value in (-0.9, -0.2, 0.05, 0.5):
        pruned = stochastic_prune(torch.full((40_000,), value, dtype=torch.float64), 1.0, generator(2))
        assert abs(float(pruned.mean()) - value) < 5 * math.sqrt(abs(value) * (1 - abs(value)) / 40_000)


def test_outputs_are_zero_or_the_threshold_or_untouched() -> None:
    gradient, tau = normal(20_000), 0.5
    pruned = stochastic_prune(gradient, tau, generator(1))
    small = gradient.abs() < tau
    assert torch.equal(pruned[~small], gradient[~small])
    assert set(pruned[small].abs().unique().tolist()) == {0.0, tau}
    kept = pruned != 0
    assert torch.equal(pruned[kept].sign(), gradient[kept].sign())


def test_edges() -> None:
    gradient = torch.tensor([0.0, -0.0, math.nan, math.inf, -math.inf, 2.0, -1.0])
    pruned = stochastic_prune(gradient, 1.0, generator())
    assert torch.equal(pruned[:2], torch.zeros(2))
    assert torch.equal(pruned[3:], gradient[3:])
    assert pruned[2].isnan()
    for threshold in (0.0, math.nan, math.inf):
        torch.testing.assert_close(
            stochastic_prune(gradient, threshold, generator()), gradient, rtol=0, atol=0, equal_nan=True
        )


def test_half_precision_stays_unbiased() -> None:
    # 256 draws between 0 and 1, as bfloat16 has them, would lose a gradient of 0.001 of the threshold.
    gradient = torch.full((400_000,), 0.001).bfloat16()
    pruned = stochastic_prune(gradient, 1.0, generator())
    assert pruned.dtype == torch.bfloat16
    mean = float(pruned.double().mean())
    assert abs(mean - float(gradient[0])) < 5 * math.sqrt(0.001 / 400_000)


@pytest.mark.parametrize("p", [row[0] for row in TABLE])
def test_thresholds_come_from_the_mean_with_the_right_constant(p: float) -> None:
    gradient = normal()
    tau = float(determined(gradient.abs().sum(), torch.tensor(COUNT), p))
    # relative standard error of mean|g|: sqrt(pi/2 - 1) / sqrt(n)
    assert abs(tau / (quantile(p) * SIGMA) - 1) < 5 * math.sqrt(math.pi / 2 - 1) / math.sqrt(COUNT)
    share = float((gradient.abs() < tau).double().mean())
    assert share == pytest.approx(p, abs=5e-3)
    # Neither no constant nor the inverse one would have brought this share below the threshold.
    for wrong in (math.sqrt(2 / math.pi), 2 / math.pi):
        assert 2 * NormalDist().cdf(quantile(p) * wrong) - 1 < p - 0.02 * (p < 0.99)


def test_zeros_in_the_mean_lower_the_threshold() -> None:
    gradient = normal()
    gradient[::2] = 0
    found = {}
    for include in (True, False):
        pruner = GradientPruner(0.9, fifo=0, include_zeros=include)
        pruner(gradient)
        assert pruner.threshold is not None
        found[include] = float(pruner.threshold)
    assert found[False] == pytest.approx(quantile(0.9) * SIGMA, rel=1e-2)
    assert found[True] == pytest.approx(found[False] / 2, rel=1e-12)


def test_nothing_is_pruned_until_the_queue_is_full() -> None:
    pruner = GradientPruner(0.9, fifo=3)
    for step in range(5):
        gradient = normal(1000, seed=step)
        pruned = pruner(gradient)
        pruner.end_step()
        assert torch.equal(pruned, gradient) == (step < 3)


def test_a_constant_scale_is_predicted_exactly() -> None:
    pruner, gradient = GradientPruner(0.9, fifo=4), normal(1000)
    wanted = float(determined(gradient.abs().sum(), torch.tensor(1000), 0.9))
    for step in range(8):
        order = torch.randperm(1000, generator=generator(step))
        pruner(gradient[order])
        if step >= 4:
            assert pruner.threshold is not None
            assert float(pruner.threshold) == pytest.approx(wanted, rel=1e-12)
        pruner.end_step()


def test_the_prediction_is_the_mean_of_the_last_ones() -> None:
    queue = ThresholdQueue(3)
    for number in (8.0, 1.0, 2.0, 6.0):
        assert (queue.predicted() is None) == (number != 6.0)
        queue.push(torch.tensor(number))
    assert float(queue.predicted() or 0) == 3.0
    queue.push(torch.tensor(math.inf))
    assert torch.equal(stochastic_prune(normal(100), queue.predicted() or 0.0), normal(100))
    queue.clear()
    assert queue.predicted() is None


def test_several_gradients_of_a_step_make_one_threshold() -> None:
    gradient = normal(1000)
    whole, parts = GradientPruner(0.9, fifo=1), GradientPruner(0.9, fifo=1)
    whole(gradient)
    parts(gradient[:300])
    parts(gradient[300:])
    for pruner in (whole, parts):
        pruner.end_step()
        pruner(gradient)
    assert whole.threshold is not None
    assert parts.threshold is not None
    assert float(whole.threshold) == pytest.approx(float(parts.threshold), rel=1e-12)


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    def steps(pruner: GradientPruner, first: int, last: int) -> list[torch.Tensor]:
        found = []
        for step in range(first, last):
            found.append(pruner(normal(500, seed=step)))
            pruner.end_step()
        return found

    whole, first, second = (GradientPruner(0.9, fifo=2, seed=5) for _ in range(3))
    before = torch.get_rng_state()
    wanted = steps(whole, 0, 6)
    steps(first, 0, 4)
    second.load_state_dict(first.state_dict())
    again = GradientPruner(0.9, fifo=2, seed=5)
    again.load_state_dict(second.state_dict())  # saved again before it ran
    for pruner in (second, again):
        assert all(torch.equal(*pair) for pair in zip(steps(pruner, 4, 6), wanted[4:], strict=True))
    assert torch.equal(before, torch.get_rng_state()), "the global generator is the user's"


def test_the_autograd_function_prunes_backward_alone() -> None:
    x = torch.randn(4, 3, 8, 8, generator=generator(), requires_grad=True)
    pruner = GradientPruner(0.9, fifo=0)
    y = prune_gradient(x * 1, pruner)
    assert torch.equal(y, x)
    wanted = torch.randn(x.shape, generator=generator(1))
    y.backward(wanted)
    assert x.grad is not None
    expected = GradientPruner(0.9, fifo=0)(wanted)
    assert torch.equal(x.grad, expected)
    assert 0.3 < float((expected == 0).float().mean()) < 0.7


def test_what_follows_may_work_in_place() -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8, generator=generator())
    nn.functional.relu(prune_gradient(conv(x), GradientPruner(0.0)), inplace=True).sum().backward()
    found = conv.weight.grad
    conv.zero_grad()
    conv(x).relu().sum().backward()
    torch.testing.assert_close(found, conv.weight.grad)


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_shares_outside(p: float) -> None:
    with pytest.raises(AdvisorError, match=r"expected a share of gradients in \[0, 1\)"):
        GradientPruner(p)


def test_queues_of_nothing() -> None:
    with pytest.raises(AdvisorError, match="got a queue of -1 thresholds"):
        GradientPruner(0.9, fifo=-1)
