"""The Triton kernels and 2:4 where a GPU is; everywhere else these skip by themselves."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advisor.runtime import gpu
from tests.runtime.gpu.cases import CASES, LINEARS, TF32, TOLERANCE, Case, check_conv, check_linear, close, conv, image
from tests.runtime.gpu.cases import layer as layer_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpu.available(), reason=gpu.why_not() or "available")]
TYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
LARGE = Case(images=3, channels=70, kept=(33, 70, 5), size=(29, 31), kernel=(3, 3), conv=conv((2, 1), (1, 1)))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 without tf32, whatever torch allows; one tile, since to try them takes seconds for every case."""
    monkeypatch.setenv("ADVISOR_TRITON_TUNING", "0")
    monkeypatch.setattr("advisor.runtime.gpu.launch.precision", lambda *_: "ieee")


@pytest.mark.usefixtures("exact")
@TYPES
@pytest.mark.parametrize("name", CASES)
def test_convolutions(name: str, dtype: torch.dtype) -> None:
    check_conv(CASES[name], "cuda", dtype)


@pytest.mark.usefixtures("exact")
@TYPES
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("block", [4, 16, 64, 144])
def test_many_tiles(block: int, last: bool, dtype: torch.dtype) -> None:
    check_conv(Case(**{**vars(LARGE), "block": block, "last": last}), "cuda", dtype)


@pytest.mark.usefixtures("exact")
@TYPES
@pytest.mark.parametrize("name", LINEARS)
def test_linears(name: str, dtype: torch.dtype) -> None:
    check_linear(LINEARS[name], "cuda", dtype)


def test_tf32_and_the_trial_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trial launches add to a gradient must not stay in it."""
    monkeypatch.setattr("advisor.runtime.gpu.launch.precision", lambda *_: "tf32")
    check_conv(LARGE, "cuda", torch.float32, TF32)
    check_conv(LARGE, "cuda", torch.float32, TF32)


@pytest.mark.usefixtures("exact")
@pytest.mark.slow
@TYPES
@pytest.mark.parametrize("block", [16, 64, 128])
def test_every_tile(block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    from advisor.runtime.gpu import kernels, tuning

    exact = dtype == torch.float32
    for name, tiles in (
        ("forward", tuning.FORWARD),
        ("grad_input", tuning.GRAD_INPUT),
        ("grad_weight", tuning.GRAD_WEIGHT),
    ):
        for tile in tiles:
            if tuning.fits(name, tile, tuning.slice_of(name, block, exact=exact), exact=exact):
                monkeypatch.setattr(tuning, name, tuning.fixed(getattr(kernels, name), tile))
                check_conv(Case(**{**vars(LARGE), "block": block}), "cuda", dtype)


@pytest.mark.usefixtures("exact")
def test_offsets_beyond_32_bits() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 20 * 2**30:
        pytest.skip("needs 20 GiB")
    case = Case(channels=33, kept=(33,), block=16, size=(1, 1))
    made = layer_of(case, "cuda", torch.float16)
    x = torch.zeros((2100, 33, 176, 177), dtype=torch.float16, device="cuda")
    assert x.numel() > 2**31
    x[-1] = image((33, 176, 177), "cuda", torch.float16)
    y = gpu.conv_forward(x, made.weight, made.indptr, made.inputs, None, None, "none", case.conv)
    close(y[-1:], F.conv2d(x[-1:].double().cpu(), made.dense), TOLERANCE[torch.float16])
    assert not y[:-1].any()


@pytest.mark.usefixtures("exact")
def test_the_same_bits_each_time() -> None:
    case = Case(**{**vars(LARGE), "images": 9})
    made = layer_of(case, "cuda", torch.float32)
    x = image((9, 70, 29, 31), "cuda", torch.float32)
    lists = (made.indptr, made.inputs)
    y = gpu.conv_forward(x, made.weight, *lists, None, None, "none", case.conv)

    def gradients() -> list[torch.Tensor]:
        return [
            gpu.conv_grad_input(y, made.weight, *lists, tuple(x.shape), case.conv),
            gpu.conv_grad_weight(y, x, *lists, tuple(made.weight.shape), case.conv),
        ]

    loose = gradients()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b, c in zip(first, second, loose, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("exact")
def test_as_a_layer_under_compile_and_graphs() -> None:
    from advisor.runtime.sparse_ops import sparse_conv2d

    case = Case(kernel=(3, 3), conv=conv(padding=(1, 1)))
    made = layer_of(case, "cuda", torch.float32)
    x = image((2, 8, 5, 6), "cuda", torch.float32)

    def layer(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return sparse_conv2d(x, weight, made.indptr, made.inputs, None, None, [1, 1], [1, 1], [1, 1], "relu") * 2

    expected = F.relu(F.conv2d(x.double().cpu(), made.dense, padding=1)) * 2
    close(layer(x, made.weight), expected, 1e-5)
    close(torch.compile(layer, fullgraph=True)(x, made.weight), expected, 1e-5)
    graph, still = torch.cuda.CUDAGraph(), x.clone()
    with torch.cuda.graph(graph):
        y = layer(still, made.weight)
    graph.replay()
    close(y, expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(128, 96), (5, 7, 128)),
        (nn.Linear(64, 32, bias=False), (1, 64)),
        (nn.Conv2d(64, 32, 1), (2, 64, 5, 7)),
        (nn.Conv2d(64, 96, 1, stride=2, bias=False), (3, 64, 8, 8)),
    ],
    ids=["linear", "linear one row", "1x1", "1x1 stride 2"],
)
def test_2_of_4(module: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    from advisor.runtime.gpu.semi import semi_structured

    dense = module.to("cuda", dtype)
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no sparse tensor cores")
    with torch.no_grad():
        dense.weight.view(dense.weight.shape[0], -1, 4)[:, :, ::2] = 0
        x = image(shape, "cuda", dtype)
        expected = dense(x)
        made = semi_structured(dense)(x)
    assert made.shape == expected.shape
    torch.testing.assert_close(made, expected, rtol=2e-2, atol=2e-2)
