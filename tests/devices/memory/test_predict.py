"""Predicted memory against counts by hand, and against the same run on real tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advisor.devices.memory import predict_memory
from advisor.errors import DeviceError, ModelError, ProfileError

from .networks import Attention, Chooses, Convolutions, Residual, mlp

PARAMS = 4 * 325  # of the MLP
X = torch.zeros(4, 10)


def test_mlp_inference_by_hand() -> None:
    found = predict_memory(mlp(), (X,))
    assert (found.parameters_bytes, found.buffers_bytes, found.inputs_bytes) == (PARAMS, 0, X.nbytes)
    # At the ReLU: 4 x 20 floats before it and after it.
    assert found.activations_bytes == 2 * 4 * 20 * 4
    assert found.peak_bytes == PARAMS + X.nbytes + found.activations_bytes
    assert found.peak_at == "aten.relu.default in 1"
    assert found.gradients_bytes == found.optimizer_bytes == found.workspace_bytes == 0


def test_relu_in_place_adds_nothing() -> None:
    # Then the second layer is the worst: 4 x 20 in, 4 x 5 out.
    assert predict_memory(mlp(inplace=True), (X,)).activations_bytes == 4 * 20 * 4 + 4 * 5 * 4


def test_views_share_their_storage() -> None:
    found = predict_memory(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 5)), nn.Flatten(0)), (X,))
    assert found.activations_bytes == 0
    assert found.peak_bytes == X.nbytes


def test_residual_keeps_its_input() -> None:
    x = torch.zeros(8, 16)
    found = predict_memory(Residual(), (x,))
    # At the second ReLU: what is added in the end, the first ReLU's output (its name is not given away yet), and what
    # goes in and comes out.
    assert found.activations_bytes == 4 * x.nbytes


def test_training_by_hand() -> None:
    layer = nn.Linear(64, 32, bias=False)
    x = torch.zeros(2, 64)
    found = predict_memory(layer, (x,), training=True, optimizer=None)
    assert found.parameters_bytes == found.gradients_bytes + found.activations_bytes - _scalars(found.activations_bytes)
    assert found.peak_bytes == found.low_bytes
    with_momentum = predict_memory(layer, (x,), training=True, optimizer="sgd_momentum")
    assert with_momentum.optimizer_bytes == layer.weight.nbytes


def _scalars(size: int) -> int:
    """What of a size is less than a matrix: the loss and its gradient."""
    return size % (64 * 32 * 4)


def test_adam_holds_two_moments_and_a_count() -> None:
    found = predict_memory(mlp(), (X,), training=True, optimizer="adam")
    assert found.optimizer_bytes == 2 * PARAMS + 4 * 4  # four parameters, each with its number of steps
    assert found.gradients_bytes == PARAMS  # in the optimiser's step, where all of them are there
    assert found.peak_at.endswith("in optimizer")


def test_sgd_has_no_state() -> None:
    assert predict_memory(mlp(), (X,), training=True, optimizer="sgd").optimizer_bytes == 0


def test_shared_weights_count_once() -> None:
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    net[1].weight = net[0].weight
    assert predict_memory(net, (torch.zeros(1, 8),)).parameters_bytes == 8 * 8 * 4


def test_modules_say_who_holds_what() -> None:
    found = predict_memory(mlp(), (X,))
    assert {m.name: (m.weights_bytes, m.activations_bytes) for m in found.modules} == {
        "0": (4 * 220, 320),
        "1": (0, 320),
        "2": (4 * 105, 0),
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["convolutions", "attention", "residual"])
def test_fake_run_is_the_real_run(name: str, training: bool) -> None:
    net, x = {
        "convolutions": (Convolutions(), torch.randn(2, 3, 32, 32)),
        "attention": (Attention(), torch.zeros(2, 12, dtype=torch.int64)),
        "residual": (Residual(), torch.randn(3, 16)),
    }[name]
    fake = predict_memory(net, (x,), training=training, optimizer="adam")
    real = predict_memory(net, (x,), training=training, optimizer="adam", real=True)
    assert fake == real


def test_meta_modules_take_no_memory() -> None:
    with torch.device("meta"):
        net = nn.Linear(60_000, 60_000, bias=False)  # 14 GB
    found = predict_memory(net, (torch.empty(1, 60_000, device="meta"),))
    assert found.parameters_bytes == 4 * 60_000**2
    assert next(net.parameters()).is_meta


def test_the_module_is_left_as_it_was() -> None:
    net = Convolutions().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    predict_memory(net, (torch.randn(2, 3, 32, 32),), training=True, optimizer="sgd")
    assert not net.training
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_backward_is_placed_in_the_forward_module() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4000), nn.Softmax(-1), nn.Linear(4000, 4))
    found = predict_memory(net, (torch.zeros(500, 4),), training=True, optimizer=None)
    assert found.peak_at == "aten._softmax_backward_data.default in 2"


def test_cuda_rounds_to_its_blocks() -> None:
    found = predict_memory(mlp(), (X,), device="cuda")
    # Four parameters of 800, 80, 400 and 20 bytes.
    assert found.parameters_bytes == 1024 + 512 + 512 + 512
    assert found.workspace_bytes > 0
    if not torch.cuda.is_available():
        assert any("no CUDA device here" in note for note in found.notes)


def test_what_needs_numbers_says_so() -> None:
    with pytest.raises(ModelError, match="real=True"):
        predict_memory(Chooses(), (X,))
    assert predict_memory(Chooses(), (X + 1,), real=True).peak_bytes >= 2 * X.nbytes


def test_mistakes_are_one_line() -> None:
    with pytest.raises(ProfileError, match=r"unknown optimizer 'adm'; did you mean 'adam'"):
        predict_memory(mlp(), (X,), training=True, optimizer="adm")
    with pytest.raises(DeviceError, match="unknown device"):
        predict_memory(mlp(), (X,), device="tpu")
    with pytest.raises(ModelError, match="does not run on fake tensors") as caught:
        predict_memory(mlp(), (torch.zeros(4, 11),))
    assert "\n" not in str(caught.value)


def test_json_has_the_keys_that_commands_show() -> None:
    keys = set(predict_memory(mlp(), (X,)).to_json())
    assert keys >= {
        *("peak_bytes", "low_bytes", "high_bytes", "weights_bytes", "activations_bytes", "gradients_bytes"),
        *("optimizer_bytes", "workspace_bytes", "peak_at", "modules", "notes"),
    }
