"""From a module to a Network: what is traced, what is recorded, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention

from advisor.errors import ModelError
from advisor.trace import NeedsRealTensors, analyze
from advisor.zoo.digits import DigitsCNN


class Run(nn.Module):
    """A function of the module and its inputs."""

    def __init__(self, function: Any, *children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = nn.ModuleList(children)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


def test_a_network_as_the_user_sees_it() -> None:
    network = analyze(DigitsCNN(), (1, 1, 40, 40), name="digits")
    assert (network.name, network.origin, network.input_shapes) == ("digits", "export", ((1, 1, 40, 40),))
    # 3x3 convolutions at 40, 20, 10 and 5 pixels, and the classifier
    assert network.macs == 9 * (32 * 1600 + 64 * 32 * 400 + 128 * 64 * 100 + 128 * 128 * 25) + 1280
    assert network.params == sum(p.numel() for p in DigitsCNN().parameters())
    assert network.activation_elements == 32 * 1600 + 64 * 400 + 128 * 100 + 128 * 25 + 10
    assert network.weight_bytes == 4 * (network.params + 2 * 352) + 4 * 8  # batch norm: mean, variance, a counter
    assert [layer.name for layer in network.sparsifiable] == [f"features.{i}" for i in (0, 4, 8, 12)] + ["classifier"]
    assert list(network.graph) == [layer.name for layer in network.layers]
    assert network.layer("features.4").input_shape == (1, 32, 20, 20)
    with pytest.raises(KeyError):
        network.layer("features.99")


def test_every_kind_of_input() -> None:
    by_shape = analyze(linear(), (2, 4))
    for example in ([2, 4], torch.zeros(2, 4), (torch.zeros(2, 4),), torch.zeros(2, 4, device="meta")):
        assert analyze(linear(), example).layers == by_shape.layers
    assert analyze(Run(lambda s, x, y: s.inner[0](x) + y, linear()), (torch.ones(2, 4), torch.ones(2, 4))).macs == 32
    assert analyze(Run(lambda s, x: s.inner[0](x["a"]), linear()), {"a": torch.ones(2, 4)}).macs == 32
    assert analyze(Run(lambda s, x: s.inner[0](x[1]), linear()), ([torch.ones(1), torch.ones(2, 4)],)).macs == 32
    assert analyze(linear().bfloat16(), (2, 4)).ops.values[-1].dtype == "bfloat16"


def test_nested_outputs() -> None:
    network = analyze(Run(lambda s, x: {"a": s.inner[0](x), "b": [x, (None, 3, x.exp())]}, linear()), (2, 4))
    assert network.macs == 32
    assert len(network.ops.outputs) == 3


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_module_is_left_as_it_was(device: str) -> None:
    with torch.device(device):
        module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module[1].eval()
    before = {name: (id(tensor), tensor._version) for name, tensor in module.state_dict(keep_vars=True).items()}
    network = analyze(module, (2, 1, 8, 8))
    assert network.module is module
    assert (module.training, module[0].training, module[1].training, module[2].training) == (True, True, False, True)
    assert before == {name: (id(t), t._version) for name, t in module.state_dict(keep_vars=True).items()}
    assert all(not child._forward_hooks and not child._forward_pre_hooks for child in module.modules())


def by_the_data(module: Run, x: Tensor) -> Tensor:
    return module.inner[0](x) if x.sum() > 0 else module.inner[1](module.inner[1](x))


def test_a_way_that_depends_on_the_data_is_recorded() -> None:
    module = Run(by_the_data, linear(), linear())
    network = analyze(module, torch.ones(2, 4))
    assert (network.origin, network.macs, network.unreached_params) == ("recorded", 32, 20)
    assert "the counts hold for this very input" in network.notes[0]
    assert analyze(module, torch.zeros(2, 4)).macs == 64
    with torch.device("meta"), pytest.raises(NeedsRealTensors, match="cannot be traced on meta tensors"):
        analyze(Run(by_the_data, linear(), linear()), (2, 4))


def test_what_export_cannot_follow_is_recorded_on_meta_tensors_where_that_works() -> None:
    with torch.device("meta"):
        module = Run(lambda s, x: torch.vmap(s.inner[0])(x), linear())
    network = analyze(module, (7, 3, 4))
    assert (network.origin, network.macs) == ("recorded", 7 * 3 * 16)


RECORDED: dict[str, tuple[Any, int]] = {
    "a branch inside torch": (
        lambda s, x: torch.cond(x.sum() > 0, s.inner[0], lambda x: s.inner[0](x) + s.inner[0](x), (x,)), 64,
    ),
    "numpy on the way": (lambda s, x: s.inner[0](x) + torch.from_numpy(x.numpy().copy()), 32),
    "a choice of rows": (lambda s, x: s.inner[0](x[x.sum(1) > -1]), 32),
}  # fmt: skip


@pytest.mark.parametrize("case", RECORDED)
def test_recordings(case: str) -> None:
    function, macs = RECORDED[case]
    network = analyze(Run(function, linear()), (2, 4))
    assert (network.origin, network.macs) == ("recorded", macs)
    assert [layer.name for layer in network.layers] == ["inner.0"]


EXPORTED: dict[str, tuple[Any, int]] = {
    "no_grad and autocast": (lambda s, x: within(s, x), 64),
    "checkpointed": (lambda s, x: torch.utils.checkpoint.checkpoint(s.inner[0], x, use_reentrant=False), 32),
    "parallel": (lambda s, x: nn.DataParallel(s.inner[0])(x), 32),
    "flexible attention": (lambda s, x: flex_attention(*[s.inner[0](x).view(1, 1, 2, 4)] * 3), 32 + 32),
    "dropout": (lambda s, x: F.dropout(s.inner[0](x), training=s.training), 32),
}


def within(module: Run, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = module.inner[0](x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return module.inner[0](y)


@pytest.mark.parametrize("case", EXPORTED)
def test_exports(case: str) -> None:
    function, macs = EXPORTED[case]
    network = analyze(Run(function, linear()), (2, 4))
    assert (network.origin, network.macs, network.unsupported_ops) == ("export", macs, {})


def test_a_quantised_network_lists_what_it_cannot_count() -> None:
    class Quantised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
            return q.dequantize()

    network = analyze(Quantised(), (2, 4))
    assert network.macs == 0
    assert set(network.unsupported_ops) == {"aten.quantize_per_tensor", "aten.dequantize"}


def divide(module: Run, x: Tensor) -> Tensor:
    raise ValueError("first line\nsecond line")


def leave(module: Run, x: Tensor) -> Tensor:
    raise SystemExit(3)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "no module": (lambda: len, (2, 4), "cannot analyse a builtin_function_or_method; expected a torch.nn.Module"),
    "a wrong size": (linear, (2, 5), "Linear: does not run on input [(2, 5)]"),
    "a negative size": (linear, (-2, 4), "input shape (-2, 4) has a size below 1"),
    "words": (linear, "1x4", "Linear: does not run on input []"),
    "a lazy layer": (lambda: nn.Sequential(nn.LazyLinear(3)), (2, 4), "has lazy layers without shapes"),
    "an input too few": (lambda: Run(lambda s, x, y: x), (2, 4), "missing 1 required positional argument"),
    "an error of many lines": (lambda: Run(divide), (2, 4), "ValueError: first line second line"),
    "an exit": (lambda: Run(leave), (2, 4), "SystemExit: 3"),
    "no end": (lambda: Run(lambda s, x: s(x)), (2, 4), "RecursionError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    build, example, message = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        analyze(build(), example)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupt(module: Run, x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(Run(interrupt), (2, 4))
