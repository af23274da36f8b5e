"""The operators as torch knows its own: opcheck, gradients of second order, compile, export, func, vmap, autocast."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.flop_counter import FlopCounterMode

from advisor.runtime import native, sparse_kernels
from advisor.runtime.sparse_ops import sparse_conv2d, sparse_linear
from tests.runtime.sparse_cases import pair

NEEDS_KERNELS = pytest.mark.skipif(not native.available(), reason=native.why_not() or "compiled")
DTYPES = [torch.float64, pytest.param(torch.float32, marks=NEEDS_KERNELS)]
OPS = [getattr(sparse_kernels, name) for name in vars(sparse_kernels) if name.startswith("sparse_")]
ACTIVATIONS = ["none", "relu", "relu6", "silu"]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def conv_arguments(dtype: torch.dtype, activation: str = "none", *, residual: bool = True) -> list[Any]:
    layer, dense = pair(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)).to(dtype), 2)
    x = torch.randn(2, 4, 5, 5, dtype=dtype, requires_grad=True)
    more = torch.randn_like(dense(x)).requires_grad_() if residual else None
    geometry = ([2, 1], [1, 0], [1, 2])
    return [x, layer.weight, layer.indptr, layer.inputs, layer.bias, more, *geometry, activation]


def linear_arguments(dtype: torch.dtype, activation: str = "none") -> list[Any]:
    layer, _ = pair(nn.Linear(6, 8).to(dtype), 4)
    x = torch.randn(5, 6, dtype=dtype, requires_grad=True)
    return [x, layer.weight, layer.indptr, layer.inputs, layer.bias, activation]


def every_call(dtype: torch.dtype) -> dict[str, list[Any]]:
    """Arguments for each operator, those of the gradients among them."""
    x, weight, indptr, inputs, _, out, *geometry, _ = conv_arguments(dtype)
    rows, kept, starts, columns, _, _ = linear_arguments(dtype)
    after = torch.randn(5, 8, dtype=dtype, requires_grad=True)
    return {
        "sparse_conv2d": conv_arguments(dtype),
        "sparse_conv2d_grad_input": [out, weight, indptr, inputs, list(x.shape), *geometry],
        "sparse_conv2d_grad_weight": [out, x, indptr, inputs, list(weight.shape), *geometry],
        "sparse_linear": linear_arguments(dtype),
        "sparse_linear_grad_input": [after, kept, starts, columns, 6],
        "sparse_linear_grad_weight": [after, rows, starts, columns, kept.shape[0]],
    }


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op._name)
def test_opcheck(op: Any, dtype: torch.dtype) -> None:
    torch.library.opcheck(op, every_call(dtype)[op._name])


@pytest.mark.parametrize("op", OPS, ids=lambda op: op._name)
def test_gradients_of_both_orders(op: Any) -> None:
    arguments = every_call(torch.float64)[op._name]
    places = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.is_floating_point()]

    def call(*given: Tensor) -> Tensor:
        filled = list(arguments)
        for place, value in zip(places, given, strict=True):
            filled[place] = value
        out: Tensor = op(*filled)
        return out

    values = tuple(arguments[i].detach().requires_grad_() for i in places)
    assert torch.autograd.gradcheck(call, values)
    assert torch.autograd.gradgradcheck(call, values)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_through_activations(activation: str) -> None:
    for arguments, op in (
        (conv_arguments(torch.float64, activation), sparse_conv2d),
        (linear_arguments(torch.float64, activation), sparse_linear),
    ):
        last = len(arguments) - 1
        call = lambda x, w, b, op=op, a=arguments, last=last: op(x, w, *a[2:4], b, *a[5:last], a[last])  # noqa: E731
        assert torch.autograd.gradcheck(call, (arguments[0], arguments[1], arguments[4]))
        assert torch.autograd.gradgradcheck(call, (arguments[0], arguments[1], arguments[4]))


@NEEDS_KERNELS
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded"])
def test_kernels_have_the_gradients_of_the_reference(layout: str) -> None:
    fast, exact = conv_arguments(torch.float32, "relu"), conv_arguments(torch.float64, "relu")
    exact = [
        a.detach().double().requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a for a in fast
    ]
    if layout == "channels_last":
        fast[0] = fast[0].detach().to(memory_format=torch.channels_last).requires_grad_()
    for arguments in (fast, exact):
        out = sparse_conv2d(*arguments)
        factor = torch.arange(out.numel(), dtype=out.dtype).view_as(out) / out.numel()
        (out.sum() if layout == "expanded" else (out * factor).sum()).backward()
    for got, wanted in ((fast[i], exact[i]) for i in (0, 1, 4, 5)):
        torch.testing.assert_close(got.grad.double(), wanted.grad, rtol=1e-5, atol=1e-5)
    assert fast[0].grad.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")


class Net(nn.Module):
    """Dense and sparse layers, a residual, and an activation in an epilogue. B 4 8 8 → B 6."""

    def __init__(self, dtype: torch.dtype = torch.float32, block: int = 2) -> None:
        super().__init__()
        self.first, _ = pair(nn.Conv2d(4, 8, 3, padding=1).to(dtype), block)
        self.first.activation = "silu"
        self.second, _ = pair(nn.Conv2d(8, 8, 1).to(dtype), 1)
        self.line, _ = pair(nn.Conv1d(8, 8, 3, padding=1).to(dtype), block)
        self.head, _ = pair(nn.Linear(8, 6).to(dtype), 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.second(x, x)
        out: Tensor = self.head(self.line(x.flatten(2)).mean(2))
        return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiles_whole_and_trains(dtype: torch.dtype) -> None:
    net, x = Net(dtype), torch.randn(3, 4, 8, 8, dtype=dtype)
    compiled = torch.compile(copy.deepcopy(net), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))
    compiled(x).square().sum().backward()
    net(x).square().sum().backward()
    for mine, own in zip(compiled.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, own.grad)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_compiles_with_inductor() -> None:
    net, x = Net(), torch.randn(3, 4, 8, 8)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))
    compiled(x.to(memory_format=torch.channels_last)).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exports_with_any_batch(dtype: torch.dtype) -> None:
    net, x = Net(dtype).eval(), torch.randn(3, 4, 8, 8, dtype=dtype)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    for count in (3, 5):
        given = torch.randn(count, 4, 8, 8, dtype=dtype)
        torch.testing.assert_close(program.module()(given), net(given))
    targets = {str(node.target) for node in program.graph.nodes}
    assert ("advisor.sparse_conv2d.default" in targets) == (dtype == torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_functional_call_grad_and_per_sample_gradients(dtype: torch.dtype) -> None:
    net, x = Net(dtype), torch.randn(3, 4, 8, 8, dtype=dtype)
    parameters = {name: value.detach() for name, value in net.named_parameters()}

    def loss(given: dict[str, Tensor], image: Tensor) -> Tensor:
        out: Tensor = functional_call(net, given, (image.unsqueeze(0),)).square().sum()
        return out

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for image in range(3):
        net.zero_grad()
        net(x[image : image + 1]).square().sum().backward()
        for name, value in net.named_parameters():
            torch.testing.assert_close(each[name][image], value.grad, rtol=1e-4, atol=1e-4)
    stacked = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
    both = vmap(lambda given: functional_call(net, given, (x,)))(stacked)
    torch.testing.assert_close(both[0], net(x))
    images = torch.randn(2, 3, 4, 8, 8, dtype=dtype)
    torch.testing.assert_close(vmap(net, in_dims=1, out_dims=1)(images.transpose(0, 1))[:, 1], net(images[1]))


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_mode(dtype: torch.dtype) -> None:
    net, x = Net(dtype), torch.randn(3, 4, 8, 8, dtype=dtype)
    v = torch.randn_like(x)
    _, tangent = torch.func.jvp(net, (x,), (v,))
    z = x.clone().requires_grad_()
    out = net(z)
    u = torch.randn_like(out)
    (given,) = torch.autograd.grad(out, z, u)
    torch.testing.assert_close((tangent * u).sum(), (given * v).sum(), rtol=1e-3, atol=1e-4)


def test_autocast_computes_in_float32() -> None:
    net, x = Net(), torch.randn(3, 4, 8, 8)
    wanted = net(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        if native.available():
            torch.testing.assert_close(net(x), wanted)
        for given in (x, x.bfloat16()):
            out = net(given)
            assert out.dtype == (torch.float32 if native.available() else torch.bfloat16)
            torch.testing.assert_close(out.float(), net(given.float()).float())
            torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05)
        if hasattr(torch.library, "register_autocast"):
            arguments = [
                a.bfloat16() if isinstance(a, Tensor) and a.dtype == torch.float32 else a
                for a in conv_arguments(torch.float32)
            ]
            assert sparse_conv2d(*arguments).dtype == torch.float32
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(x).float(), net(x.bfloat16()).float(), rtol=0.05, atol=0.05)
    net(x).sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@NEEDS_KERNELS
def test_the_way_past_the_dispatcher_is_taken_only_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, _ = pair(nn.Conv2d(4, 8, 3), 2)
    x, calls = torch.randn(1, 4, 5, 5), []
    kind = type(sparse_kernels.sparse_conv2d)
    function = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda op, *a: calls.append(1) or function(op, *a))

    def dispatched(call: Any) -> bool:
        calls.clear()
        call()
        return bool(calls)

    assert not dispatched(lambda: layer(x).sum().backward()), "an autograd.Function gives the gradients"
    with torch.autograd.graph.save_on_cpu():
        assert not dispatched(lambda: layer(x).sum().backward())
    with torch.no_grad():
        assert not dispatched(lambda: layer(x))
        assert not dispatched(lambda: layer(x.to(memory_format=torch.channels_last)))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            assert dispatched(lambda: layer(x))
        assert any("advisor::sparse_conv2d" in event.key for event in seen.key_averages())
        with FlopCounterMode(display=False):
            assert dispatched(lambda: layer(x))
        assert dispatched(lambda: vmap(layer)(x.unsqueeze(0)))
        traced = torch.jit.trace(layer, x, check_trace=False)
        other = torch.randn_like(x)
        torch.testing.assert_close(traced(other), layer(other))
    layer.requires_grad_(False)
    assert not dispatched(lambda: layer(x))
    with torch.inference_mode():
        assert not dispatched(lambda: layer(x))
        torch.testing.assert_close(layer(x), layer(x.clone()))
