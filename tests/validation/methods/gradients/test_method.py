"""The method in a training loop: what is pruned where, what the trace says, and that a killed run goes on."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import advisor
from advisor.devices.simulated.trace import Trace, from_lines
from advisor.errors import AdvisorError
from advisor.network import Network
from tests.validation.methods.runs import run_of
from validation.methods.gradients import ActivationGradientPruning, GradientPruningSettings, place

SHAPE = (2, 3, 8, 8)


def network() -> tuple[nn.Sequential, Network]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 4),
    )
    return net, advisor.analyze(net, torch.zeros(SHAPE))


def settle(method: ActivationGradientPruning) -> Trace:
    return from_lines(method.finish().files["gradient-trace.jsonl"], "the trace")


def train(net: nn.Module, method: ActivationGradientPruning | None, first: int, last: int) -> None:
    for step in range(first, last):
        made = torch.Generator().manual_seed(step)
        images, labels = torch.randn(8, *SHAPE[1:], generator=made), torch.randint(4, (8,), generator=made)
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        if method is not None:
            method.after_backward()
        with torch.no_grad():
            for parameter in net.parameters():
                assert parameter.grad is not None
                parameter -= 0.05 * parameter.grad
        if method is not None:
            method.after_step()


def test_gradients_are_pruned_where_the_sites_say() -> None:
    net, analysed = network()
    method = ActivationGradientPruning(net, place(analysed), p=0.9, fifo=2, trace_every=1)
    train(net, method, 0, 6)
    trace = settle(method)
    assert [layer.pruned_at for layer in trace.layers] == ["output", "input", "input"]
    assert [step.step for step in trace.steps] == list(range(6))
    assert {step.batch for step in trace.steps} == {8}
    for step in trace.steps:
        pruned = step.step >= 2
        assert all((tau is not None and tau > 0) == pruned for tau in step.threshold)
        for before, after in zip(step.before_density, step.after_density, strict=True):
            assert before is not None
            assert after is not None
            assert (after < before) if pruned else (after == before)
        # At dO what is left is what both backward stages read.
        assert step.output_gradient_density[0] == step.after_density[0]
        assert step.input_density[0] == 1
        assert step.output_gradient_density[1] is not None
        assert step.output_gradient_density[1] < 0.75, "ReLU"
    last = trace.steps[-1].after_density[0]
    assert last is not None
    assert last < 0.55, "the closed form says 0.46 for normal gradients"


def test_densities_are_those_of_the_tensors() -> None:
    net, analysed = network()
    method = ActivationGradientPruning(net, place(analysed), p=0.9, fifo=1, trace_every=1)
    train(net, method, 0, 1)
    seen: dict[str, torch.Tensor] = {}
    before = net[5].register_full_backward_hook(lambda _, inner, outer: seen.update(inner=inner[0], outer=outer[0]))
    reader = net[5].register_forward_hook(lambda _, args, output: seen.update(inputs=args[0].detach().clone()))
    train(net, method, 1, 2)
    before.remove()
    reader.remove()
    step = settle(method).steps[1]

    def density(tensor: torch.Tensor) -> float:
        return float((tensor != 0).double().mean())

    assert step.input_density[2] == pytest.approx(density(seen["inputs"]), rel=1e-5)
    assert step.output_gradient_density[2] == pytest.approx(density(seen["outer"]), rel=1e-5)
    assert seen["outer"].shape == seen["inner"].shape


def test_no_share_changes_nothing() -> None:
    plain, analysed = network()
    pruned = copy.deepcopy(plain)
    method = ActivationGradientPruning(pruned, place(analysed), p=0.0, fifo=1)
    train(plain, None, 0, 3)
    train(pruned, method, 0, 3)
    assert all(torch.equal(*pair) for pair in zip(plain.parameters(), pruned.parameters(), strict=True))


def test_a_killed_run_goes_on_with_the_same_weights_and_trace() -> None:
    def begin() -> tuple[nn.Sequential, ActivationGradientPruning]:
        net, analysed = network()
        return net, ActivationGradientPruning(net, place(analysed), p=0.9, fifo=2, trace_every=2, seed=3)

    whole, method = begin()
    train(whole, method, 0, 7)
    first, early = begin()
    train(first, early, 0, 4)
    second, late = begin()
    second.load_state_dict(first.state_dict())
    late.load_state_dict(early.state_dict())
    train(second, late, 4, 7)
    assert all(torch.equal(*pair) for pair in zip(whole.parameters(), second.parameters(), strict=True))
    assert settle(method) == settle(late)
    assert [step.step for step in settle(late).steps] == [0, 2, 4, 6]


def test_the_state_loads_without_pickle() -> None:
    net, analysed = network()
    method = ActivationGradientPruning(net, place(analysed), p=0.9, fifo=2)
    train(net, method, 0, 3)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    method.load_state_dict(torch.load(file, weights_only=True))
    assert method.step == 3


def test_evaluation_and_closing_leave_the_network_alone() -> None:
    net, analysed = network()
    method = ActivationGradientPruning(net, place(analysed), p=0.9, fifo=0, trace_every=1)
    net.eval()
    x = torch.randn(4, *SHAPE[1:], requires_grad=True)
    net(x).square().sum().backward()
    wanted = x.grad
    assert wanted is not None
    method.close()
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in net.modules())
    x.grad = None
    net(x).square().sum().backward()
    assert torch.equal(wanted, x.grad)


def test_layers_called_by_name_are_pruned_like_others() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(input=self.one(input=x).relu()).relu().mean((2, 3))

    torch.manual_seed(0)
    net = Named()
    method = ActivationGradientPruning(
        net, place(advisor.analyze(net, torch.zeros(SHAPE))), p=0.9, fifo=0, trace_every=1
    )
    net(torch.randn(SHAPE)).square().sum().backward()
    method.after_backward()
    step = settle(method).steps[0]
    assert step.input_density[0] == 1
    assert step.after_density[1] is not None
    assert step.after_density[1] < 0.7


def test_epochs_sum_up_their_own_steps() -> None:
    net, analysed = network()
    method = ActivationGradientPruning(net, place(analysed), p=0.9, fifo=1, trace_every=2)
    train(net, method, 0, 2)
    assert method.after_epoch()["gradient_density"] == method.after_epoch()["gradient_density_before"]
    train(net, method, 2, 3)
    numbers = method.after_epoch()
    assert numbers["gradient_density"] < numbers["gradient_density_before"]
    step = settle(method).steps[-1]
    elements = [8 * 8 * 64] * 3
    pruned = [density * count for density, count in zip(step.after_density, elements, strict=True) if density]
    assert numbers["gradient_density"] == pytest.approx(sum(pruned) / sum(elements), rel=1e-5)
    outcome = method.finish()
    assert outcome.numbers == numbers | {"pruned_layers": 3.0}
    assert outcome.notes == ("gradients pruned at dO of 1 layers, at dI of 2, nowhere at 0",)


def test_layers_that_run_twice_count_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(x).relu()).relu().mean((2, 3))

    torch.manual_seed(0)
    net = Twice()
    sites = place(advisor.analyze(net, torch.zeros(SHAPE)))
    method = ActivationGradientPruning(net, sites, p=0.9, fifo=1, trace_every=1)
    for _ in range(2):
        net(torch.randn(SHAPE)).square().sum().backward()
        method.after_backward()
    assert method.pruners["conv"].queue is not None
    assert len(method.pruners["conv"].queue.state()) == 1
    assert all(step.threshold for step in settle(method).steps)


def test_settings_attach_and_shapes_are_those_that_ran() -> None:
    net, analysed = network()
    narrow = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), *list(net)[1:3], nn.Conv2d(4, 8, 3, padding=1), *list(net)[4:]
    )
    narrow[1] = nn.BatchNorm2d(4)
    run = run_of(narrow, analysed)
    method = GradientPruningSettings(p=0.8, fifo=0, trace_every=1).attach(run)
    train(narrow, method, 0, 1)
    trace = settle(method)
    assert trace.settings == {"p": 0.8, "fifo": 0, "include_zeros": True, "trace_every": 1, "seed": 1}
    assert [layer.weight_shape for layer in trace.layers] == [(4, 3, 3, 3), (8, 4, 3, 3), (8, 8, 3, 3)]
    assert [layer.input_shape for layer in trace.layers] == [(1, 3, 8, 8), (1, 4, 8, 8), (1, 8, 8, 8)]


def test_mistakes() -> None:
    analysed = network()[1]
    with pytest.raises(AdvisorError, match="the module has no layer '0'; give the module that was analysed"):
        ActivationGradientPruning(nn.Identity(), place(analysed), p=0.9)
    with pytest.raises(AdvisorError, match="got fifo=-1, expected 0 or more"):
        GradientPruningSettings(fifo=-1)
    with pytest.raises(AdvisorError, match=r"got p=1\.0"):
        GradientPruningSettings(p=1.0)
