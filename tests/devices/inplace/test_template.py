"""Sparse layers swapped in place: what they take in, which passes there are, and what a pass tells."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from advisor.devices.inplace.deployed import Deployed, deployed
from advisor.devices.inplace.passes import Passes, choices_of
from advisor.devices.inplace.taken_in import Call, calls_of, taken_in
from advisor.devices.inplace.template import Choice, Template, template_of
from advisor.devices.measuring.subject import inference_ready, real_inputs, real_module
from advisor.devices.measuring.work import options_of
from advisor.network import Network
from advisor.patterns.option import Option
from advisor.runtime import native
from advisor.runtime.execution import executions
from advisor.trace import analyze

pytestmark = [
    pytest.mark.skipif(not native.available(), reason=native.why_not()),
    pytest.mark.usefixtures("with_kernels"),
]


class Block(nn.Module):
    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(16, 16, 3, padding=1, groups=groups) for _ in range(2))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(self.two(self.act(self.one(x))) + x)
        return found


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.body = nn.Sequential(Block(), Block(groups=2))
        self.line = nn.Conv1d(16, 16, 3)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.line(self.body(self.first(x)).mean(3)).mean(2))
        return found


@pytest.fixture(scope="module")
def network() -> Network:
    return analyze(Small(), torch.zeros(1, 3, 10, 10), name="small")


@pytest.fixture
def dense(network: Network) -> Deployed:
    return deployed(network, inference_ready(network, real_module(network, "cpu")), real_inputs(network, "cpu"))


@pytest.fixture
def choices(network: Network) -> Mapping[str, Mapping[Choice, Option]]:
    return choices_of(network, options_of(network, ("group", "channel")))


@pytest.fixture
def template(network: Network, dense: Deployed, choices: Mapping[str, Mapping[Choice, Option]]) -> Template:
    first = {name: next(iter(forms.values())) for name, forms in choices.items()}
    module, inputs = real_module(network, "cpu"), real_inputs(network, "cpu")
    made, why = template_of(network, module, inputs, dense, first)
    assert made is not None, why
    return made


def test_all_layers_that_kernels_run_stand_in_it(
    template: Template, choices: Mapping[str, Mapping[Choice, Option]]
) -> None:
    assert set(template.calls) == set(choices) == {f"body.{i}.{n}" for i in (0, 1) for n in ("one", "two")} | {"line"}


def test_what_is_swapped_in_is_what_the_plan_would_run(
    network: Network, template: Template, choices: Mapping[str, Mapping[Choice, Option]]
) -> None:
    for name, forms in choices.items():
        for choice, option in forms.items():
            assert set(template.executions_of(name, choice)) == set(
                executions(network.layer(name), option, method="direct")
            )
    chosen = {name: sorted(forms)[0] for name, forms in choices.items()}
    before = template.running.recording.modules
    template.swap(chosen)
    assert template.running.recording.modules == before
    for name, choice in chosen.items():
        layer = template.running.module.get_submodule(name)
        assert (len(layer.inputs), layer.block) == (choice.kept, choice.block)
    assert torch.isfinite(template.running.call()).all()  # type: ignore[arg-type]


def test_what_sparse_layers_take_in(dense: Deployed, template: Template) -> None:
    calls = calls_of(template.running)
    assert calls["body.0.one"] == [Call(residual=False, activation="relu")]
    assert calls["body.0.two"] == [Call(residual=True, activation="relu")]
    found = taken_in(dense, calls)
    assert [dense.steps[i].target for i in found["body.0.one"]] == ["relu"]
    assert [dense.steps[i].target for i in found["body.1.two"]] == ["add", "relu"]
    indices = [i for steps in found.values() for i in steps]
    assert len(indices) == len(set(indices)), "each operator is saved once"
    assert found["line"] == []


def test_passes_see_everything_and_twins_share_the_work(
    template: Template, choices: Mapping[str, Mapping[Choice, Option]]
) -> None:
    passes = Passes(template, {name: tuple(forms) for name, forms in choices.items()})
    waiting = dict.fromkeys(passes.keys(), 1.0)
    assert waiting
    needed = passes.left(set(waiting))
    for _ in range(needed):
        chosen, worth = passes.next(waiting)
        assert set(chosen) == set(template.calls)
        assert worth > 0
        assert chosen["body.0.one"] != chosen["body.0.two"], "twins measure different forms"
        for name, choice in chosen.items():
            for execution in template.executions_of(name, choice):
                waiting.pop(execution.key, None)
    assert not waiting
    assert passes.next({})[1] == 0.0


def test_without_a_sparse_layer_there_is_no_template(network: Network, dense: Deployed) -> None:
    module, inputs = real_module(network, "cpu"), real_inputs(network, "cpu")
    assert template_of(network, module, inputs, dense, {}) == (None, "")
