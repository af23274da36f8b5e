"""Executions as columns of numbers: the same work, whatever the kind."""

from __future__ import annotations

import pytest

from advisor.devices.gpu.shapes import from_executions
from advisor.runtime.execution import Execution


def build(kind: str, given: tuple[int, ...], weight: tuple[int, ...], **options: tuple[int, ...] | int) -> Execution:
    rank = len(weight) - 2
    plain = {"stride": (1,) * rank, "padding": (0,) * rank, "dilation": (1,) * rank}
    return Execution(kind=kind, method="dense", input_shape=given, weight_shape=weight, **(plain | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "execution",
    [
        build("linear", (4, 7, 64), (10, 64)),
        build("conv1d", (2, 8, 50), (16, 8, 5), padding=(2,)),
        build("conv2d", (2, 8, 50, 20), (16, 8, 3, 5), stride=(2, 1), padding=(1, 2)),
        build("conv2d", (2, 8, 50, 20), (16, 4, 3, 3), groups=2, dilation=(2, 2)),
        build("conv2d", (2, 8, 50, 20), (8, 1, 3, 3), groups=8, padding=(1, 1)),
        build("conv3d", (2, 8, 9, 20, 20), (16, 8, 3, 3, 3), stride=(2, 1, 1), padding=(1, 1, 1)),
        build("conv2d", (8, 30, 30), (16, 8, 3, 3)),
    ],
    ids=lambda e: f"{e.kind}-{e.groups}-{len(e.input_shape)}",
)
def test_multiply_adds_are_the_execution_s(execution: Execution) -> None:
    assert from_executions([execution], "float32").macs.tolist() == [execution.macs]


def test_bytes_are_the_execution_s() -> None:
    execution = build("conv2d", (2, 8, 50, 20), (16, 8, 3, 5), stride=(2, 1), padding=(1, 2))
    shapes = from_executions([execution], "float32")
    assert (shapes.input_bytes + shapes.weight_bytes + shapes.output_bytes)[0] == execution.bytes_moved
    assert from_executions([execution], "float16").input_bytes[0] * 2 == shapes.input_bytes[0]
    assert from_executions([execution], "tf32").tensor.tolist() == [1]


def test_a_transposed_convolution_is_about_its_size() -> None:
    execution = build("conv_transpose2d", (2, 64, 14, 14), (64, 32, 2, 2), stride=(2, 2))
    assert from_executions([execution], "float32").macs[0] == pytest.approx(execution.macs, rel=0.1)
