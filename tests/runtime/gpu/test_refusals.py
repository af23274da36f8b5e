"""What runs nowhere near a GPU: what is refused, in which words, and what importing costs."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advisor.errors import KernelError
from advisor.runtime import gpu
from advisor.runtime.gpu import checks
from advisor.runtime.gpu.semi import semi_structured, why_not_semi
from advisor.runtime.native import Conv

ONE = Conv(stride=(1, 1), padding=(0, 0), dilation=(1, 1))
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


def test_importing_it_loads_neither_torch_nor_triton() -> None:
    code = "import sys, advisor.runtime.gpu as g; sys.exit(any(m in sys.modules for m in ('torch', 'triton')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_triton_it_says_so_and_offers_nothing() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import advisor.runtime.gpu as g; assert not g.available(); print(g.why_not())\n"
        "try: g.linear_forward(None, None, None, None, None, 'none')\n"
        "except g.KernelError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    why, refusal = told.splitlines()
    assert why.startswith("Triton is not installed")
    assert refusal == f"Triton kernel: cannot run: {why}"


@no_gpu
def test_without_a_gpu_it_says_so() -> None:
    assert not gpu.available()
    assert "no CUDA device" in gpu.why_not() or "Triton is not installed" in gpu.why_not()
    pytest.importorskip("triton")
    layer = (torch.ones(2, 1, 1, 16), torch.tensor([0, 2]).int(), torch.tensor([0, 1]).int())
    with pytest.raises(KernelError, match="cannot run: no CUDA device was found"):
        gpu.conv_forward(torch.ones(1, 2, 3, 3), *layer, None, None, "none", ONE)


LISTS: dict[str, tuple[Any, Any, str]] = {
    "falls": ([0, 3, 2], [0, 1], "indptr is"),
    "starts late": ([1, 2], [0, 1], "indptr is"),
    "ends early": ([0, 1], [0, 1], "indptr is"),
    "beyond the channels": ([0, 2], [0, 4], "range of inputs is 0 to 4; expected 0 to 3"),
    "negative": ([0, 2], [-1, 2], "range of inputs is -1 to 2"),
    "too few": ([0, 2], [0], "length of inputs is 1; expected 2"),
    "no block": ([0], [0, 1], "number of blocks is 0"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_that_point_elsewhere(name: str) -> None:
    indptr, inputs, words = LISTS[name]
    with pytest.raises(KernelError, match=words):
        checks.check_lists(
            torch.tensor(indptr).int(), torch.tensor(inputs).int(), (2, 1, 1, 16), 4, torch.device("cpu")
        )


def test_lists_are_looked_at_again_when_they_were_written_to() -> None:
    indptr, inputs = torch.tensor([0, 2]).int(), torch.tensor([0, 3]).int()
    found = lambda: checks.check_lists(indptr, inputs, (2, 1, 1, 16), 4, torch.device("cpu"))  # noqa: E731
    assert found() == found() == 1
    inputs[1] = 9
    with pytest.raises(KernelError, match="range of inputs is 0 to 9"):
        found()


def test_lists_of_another_type() -> None:
    with pytest.raises(KernelError, match=r"inputs is torch\.int64.*expected contiguous int32"):
        checks.check_lists(torch.tensor([0, 1]).int(), torch.tensor([0]), (1, 1, 1, 16), 4, torch.device("cpu"))


def test_values_of_types_that_no_kernel_has() -> None:
    with pytest.raises(KernelError, match=r"float64.*torch path"):
        checks.check_tensors(torch.device("cpu"), torch.float64, x=torch.ones(1).double())
    with pytest.raises(KernelError, match=r"type of weight is torch\.float16"):
        checks.check_tensors(torch.device("cpu"), torch.float32, x=torch.ones(1), weight=torch.ones(1).half())


PLAIN, ROWS = torch.zeros(2, 3, 4, 5), torch.zeros(7, 3)
LAST = PLAIN.contiguous(memory_format=torch.channels_last)
LAYOUTS: list[tuple[Tensor, bool]] = [
    (PLAIN, False),
    (LAST, True),
    (PLAIN[:, :1], False),
    (LAST[:, :, 1:, ::2], True),
    (ROWS[:, :, None, None], True),
    (ROWS.t().contiguous().t()[:, :, None, None], False),
    (torch.zeros(1, 3, 1, 1), True),
]


def test_which_axis_lies_together() -> None:
    pytest.importorskip("triton")
    from advisor.runtime.gpu.layouts import is_last

    assert [is_last(tensor) for tensor, _ in LAYOUTS] == [last for _, last in LAYOUTS]


def test_precision_is_that_of_the_dense_layer() -> None:
    pytest.importorskip("triton")
    code = (
        "import torch; from advisor.runtime.gpu.layouts import precision as p; b = torch.backends\n"
        "print(p('conv'), p('linear'), end=' ')\n"
        "b.cudnn.allow_tf32 = False; b.cuda.matmul.allow_tf32 = True; print(p('conv'), p('linear'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["tf32", "ieee", "ieee", "tf32"]


def test_slices_leave_few_lanes_idle() -> None:
    pytest.importorskip("triton")
    from advisor.runtime.gpu.tuning import slice_of

    widths = {1: 16, 16: 16, 17: 32, 24: 32, 48: 64, 64: 64, 100: 128, 128: 128, 144: 64, 256: 128}
    assert {block: slice_of("forward", block, exact=False) for block in widths} == widths
    assert slice_of("forward", 128, exact=True) == 64
    assert [slice_of("grad_input", block, exact=False) for block in (16, 24, 48, 128)] == [16, 32, 32, 32]


def halved(outputs: int = 32, inputs: int = 64) -> nn.Linear:
    layer = nn.Linear(inputs, outputs).half()
    layer.weight.data.view(outputs, -1, 4)[:, :, 1:3] = 0
    return layer


SEMI: dict[str, tuple[nn.Module, str]] = {
    "a CPU": (halved(), "CUDA devices alone, the weight is on cpu"),
    "float32": (nn.Linear(64, 32), "float16 or bfloat16"),
    "outputs": (halved(outputs=48), "multiples of 32 and inputs in multiples of 64, got 48x64"),
    "inputs": (halved(inputs=96), "got 32x96"),
    "3x3": (nn.Conv2d(64, 32, 3).half(), "3x3 convolution"),
    "groups": (nn.Conv2d(64, 32, 1, groups=2).half(), "2 groups"),
    "padding": (nn.Conv2d(64, 32, 1, padding=1).half(), "padding"),
    "another kind": (nn.ReLU(), "ReLU has no 2:4 form"),
}


@pytest.mark.parametrize("name", SEMI)
def test_2_of_4_is_refused_in_words(name: str) -> None:
    module, words = SEMI[name]
    assert words in why_not_semi(module)
    assert "\n" not in why_not_semi(module)
    with pytest.raises(KernelError, match="2:4: "):
        semi_structured(module)


@no_gpu
def test_2_of_4_on_a_device_that_is_not_there() -> None:
    assert "none was found" in why_not_semi(halved(), "cuda")


def test_2_of_4_on_an_older_gpu_and_with_crowded_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "an old card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    assert "an old card has no sparse tensor cores" in why_not_semi(halved(), "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    assert why_not_semi(halved(), "cuda") == ""
    layer = halved()
    layer.weight.data[3, 8:11] = 1
    assert "1 of 512 groups of 4 inputs keep more than 2" in why_not_semi(layer, "cuda")
