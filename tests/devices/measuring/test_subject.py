from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advisor.devices.measuring.subject import (
    batch_of,
    forward_call,
    inference_ready,
    layer_call,
    module_of,
    real_inputs,
    real_module,
    training_call,
    try_once,
    weighted_module,
    with_batch,
)
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.trace import analyze
from tests.devices.conftest import network_of


class Tokens(nn.Module):
    """Integer inputs and a mask that has no batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(7, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        found: Tensor = self.linear(self.embedding(tokens) * scale)
        return found


@pytest.fixture(scope="module")
def tokens() -> Network:
    return analyze(Tokens(), (torch.tensor([[1, 6, 2]]), torch.ones(8)), name="tokens")


def test_batch_grows_every_input_that_has_it(digits: Network, tokens: Network) -> None:
    assert batch_of(digits) == batch_of(tokens) == 1
    bigger = with_batch(tokens, 4)
    assert bigger.input_shapes == ((4, 3), (8,))
    assert bigger.macs == 4 * tokens.macs
    assert with_batch(digits, None) is with_batch(digits, 1) is digits
    with pytest.raises(ProfileError, match="expected 1 or more"):
        with_batch(digits, 0)


def test_a_network_without_memory_gets_sane_numbers() -> None:
    network = network_of("torchvision:mobilenet_v3_small", input_text="1x3x64x64")
    assert next(module_of(network).parameters()).is_meta
    module, inputs = real_module(network, "cpu"), real_inputs(network, "cpu")
    assert all(torch.isfinite(p).all() for p in module.state_dict().values())
    with torch.inference_mode():
        out = module.eval()(*inputs)
        assert torch.isfinite(out).all()
        assert 1e-6 < out.abs().mean() < 1e6  # neither denormal nor overflowing
        again = real_module(network, "cpu").eval()(*real_inputs(network, "cpu"))
        torch.testing.assert_close(inference_ready(network, module)(*inputs), out, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(out, again)


def test_index_tables_cannot_be_made_up() -> None:
    class Table(nn.Module):
        index: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("index", torch.tensor([3, 1, 0, 2], device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.linear(x[:, self.index])
            return found

    module = Table().to("meta")
    network = analyze(module, (torch.zeros(1, 4, device="meta"),), name="table")
    with pytest.raises(ProfileError, match="its table 'index' cannot be made up"):
        real_module(network, "cpu")


def test_the_networks_own_module_is_left_alone(digits: Network) -> None:
    module = module_of(digits)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = real_module(digits, "cpu")
    assert made is not module
    training_call(made.train(), real_inputs(digits, "cpu"))()
    torch.testing.assert_close(dict(module.state_dict()), before)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_without_a_module_there_is_nothing_to_time(digits: Network) -> None:
    from dataclasses import replace

    with pytest.raises(ProfileError, match="analysed without keeping its module"):
        module_of(replace(digits, module=None))


def test_integer_inputs_keep_their_values(tokens: Network) -> None:
    inputs = real_inputs(tokens, "cpu")
    assert inputs[0].tolist() == [[1, 6, 2]]
    assert not torch.equal(inputs[1], torch.ones(8))
    assert torch.equal(real_inputs(tokens, "cpu", seed=0)[1], inputs[1])


def test_inference_takes_no_gradient_and_training_all(digits: Network) -> None:
    module, inputs = real_module(digits, "cpu"), real_inputs(digits, "cpu")
    result: Any = forward_call(module, inputs)()
    assert not result.requires_grad
    training_call(module.train(), inputs)()
    first = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    assert all(gradient.abs().sum() >= 0 for gradient in first.values())
    training_call(module.eval(), inputs)()  # gradients are dropped, not summed
    assert all(p.grad is not None for p in module.parameters())


def test_a_layer_in_training_makes_the_gradient_of_its_input() -> None:
    layer, inputs = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    seen: list[Tensor] = []
    layer.register_full_backward_hook(lambda module, given, out: seen.append(given[0]))
    layer_call(layer, inputs, training=True)()
    assert seen[0].shape == inputs.shape
    assert layer.weight.grad is not None
    assert not layer_call(layer, inputs, training=False)().requires_grad  # type: ignore[attr-defined]


def test_a_network_that_does_not_run_says_so_in_one_line(digits: Network) -> None:
    def fails() -> None:
        raise RuntimeError("first\nsecond")

    with pytest.raises(ProfileError, match="does not run on its example input: first second") as caught:
        try_once(fails, digits, "on its example input")
    assert "\n" not in str(caught.value)
    argmax = analyze(nn.Sequential(nn.Linear(4, 4)), (torch.zeros(1, 4),), name="n")
    with pytest.raises(ProfileError, match="has no gradient"):
        training_call(module_of(argmax).requires_grad_(False), real_inputs(argmax, "cpu"))()


TABLED = """
import torch
from torch import nn

class Tabled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("order", torch.tensor([3, 1, 0, 2]))
    def forward(self, x):
        return self.layer(x)[:, self.order]

def build():
    return Tabled(), torch.zeros(1, 4)
"""


def test_tables_that_cannot_be_made_up_come_from_the_model_s_name(tmp_path: Path) -> None:
    from advisor.commands.network import open_network

    (tmp_path / "tabled.py").write_text(TABLED)
    network = open_network(f"{tmp_path / 'tabled.py'}:build", None, device="meta")
    with pytest.raises(ProfileError, match="cannot be made up"):
        real_module(network, "cpu")
    assert weighted_module(network).order.tolist() == [3, 1, 0, 2]


def test_without_a_name_to_load_by_the_table_is_what_is_complained_of(tmp_path: Path) -> None:
    from advisor.commands.network import open_network

    (tmp_path / "tabled.py").write_text(TABLED)
    network = replace(open_network(f"{tmp_path / 'tabled.py'}:build", None, device="meta"), name="mine")
    with pytest.raises(ProfileError, match="cannot be made up"):
        weighted_module(network)
