import pytest
import torch

from advisor.devices.cuda.facts import Facts
from advisor.runtime.execution import Execution

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

H100 = Facts(
    name="NVIDIA H100",
    capability=(9, 0),
    multiprocessors=132,
    memory_bytes=80 * 2**30,
    l2_bytes=50 * 2**20,
    cusparselt=True,
)
V100 = Facts(name="Tesla V100", capability=(7, 0), multiprocessors=80, memory_bytes=16 * 2**30, no_triton="too old")


def conv(inputs: int = 64, outputs: int = 64, kernel: int = 3, batch: int = 2, size: int = 14) -> Execution:
    return Execution(
        kind="conv2d",
        method="dense",
        input_shape=(batch, inputs, size, size),
        weight_shape=(outputs, inputs, kernel, kernel),
        stride=(1, 1),
        padding=(kernel // 2, kernel // 2),
        dilation=(1, 1),
        bias=True,
    )


def linear(inputs: int = 128, outputs: int = 64, rows: int = 32) -> Execution:
    return Execution(
        kind="linear", method="dense", input_shape=(rows, inputs), weight_shape=(outputs, inputs), bias=True
    )
