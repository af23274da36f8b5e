import pytest
import torch
from torch import nn

from advisor.devices.cuda.forms import NUMBERS, converted, gpu_form, number_format, why_not_number
from advisor.errors import DeviceError
from tests.devices.cuda.conftest import H100, V100, needs_gpu


def flags() -> tuple[object, ...]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(matmul, "fp32_precision"):
        return (matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)
    return (matmul.allow_tf32, cudnn.allow_tf32)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).mean((2, 3)))[order]


INPUTS = (torch.randn(2, 3, 8, 8), torch.tensor([1, 0]))


@pytest.mark.parametrize("number", NUMBERS)
def test_flags_are_put_back(number: str) -> None:
    before, older = flags(), torch.backends.cudnn.allow_tf32
    with number_format(number):  # type: ignore[arg-type]
        assert torch.backends.cudnn.allow_tf32 == (number != "fp32")
        assert torch.backends.cuda.matmul.allow_tf32 == (number != "fp32")
    assert flags() == before
    assert torch.backends.cudnn.allow_tf32 == older  # still to be read, as torch.export does
    with pytest.raises(RuntimeError, match="inside"), number_format(number):  # type: ignore[arg-type]
        raise RuntimeError("inside")
    assert flags() == before


def test_flags_set_in_the_new_way_are_put_back() -> None:
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch older than 2.9")
    before, older = flags(), torch.backends.cudnn.allow_tf32
    try:
        matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        mixed = flags()
        with number_format("fp32"):
            assert matmul.fp32_precision == "ieee"
        assert flags() == mixed
    finally:
        torch.backends.cudnn.allow_tf32 = older
        matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before[0], before[1]
    assert flags() == before


def test_a_copy_is_converted() -> None:
    module = Net()
    made, (x, order) = converted(module, INPUTS, "bf16", channels_last=True)
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
    assert made.norm.num_batches_tracked.dtype == torch.int64
    assert (x.dtype, order.dtype) == (torch.bfloat16, torch.int64)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert made.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert INPUTS[0].is_contiguous()


@pytest.mark.parametrize("number", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("training", [False, True])
def test_a_form_runs(number: str, training: bool) -> None:
    before = flags()
    module = Net()
    with gpu_form(module, INPUTS, number=number, channels_last=True, training=training) as form:
        out = form.call()
        assert isinstance(out, torch.Tensor)
        if training:
            # Mixed precision keeps its weights in float32.
            assert {p.dtype for p in form.module.parameters()} == {torch.float32}
            assert all(p.grad is not None for p in form.module.parameters())
        else:
            assert out.dtype == (torch.bfloat16 if number == "bf16" else torch.float32)
        assert form.text == f"{number}, channels last"
    assert flags() == before
    assert all(p.grad is None for p in module.parameters())


def test_formats_have_their_limits() -> None:
    assert not any(why_not_number(number, H100) for number in NUMBERS)
    assert "7.0; bf16 needs 8.0" in why_not_number("bf16", V100)
    assert why_not_number("fp16", V100) == ""
    with (
        pytest.raises(DeviceError, match="unknown number format 'fp61'; did you mean"),
        gpu_form(Net(), INPUTS, number="fp61"),
    ):
        pass


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("training", [False, True])
def test_a_form_runs_on_a_gpu(number: str, training: bool) -> None:
    module, inputs = Net().cuda().eval(), tuple(x.cuda() for x in INPUTS)
    with torch.inference_mode():
        expected = module(*inputs)
    with gpu_form(module, inputs, number=number, channels_last=True, training=training) as form:
        out = form.call()
    assert isinstance(out, torch.Tensor)
    if not training:
        torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
