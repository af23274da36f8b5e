"""Each tiling that the tuner may choose gives the right sums, on every instruction set, and the same bits each time."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch

from advisor.runtime import native
from advisor.runtime.native import calls, library, tuner
from advisor.runtime.native.tuning import Layout
from tests.runtime.native.cases import Case, assert_close, tiled
from tests.runtime.native.test_values import _grads

# What decides which tiles are tried: block, taps, stride, rows without gaps; large enough for whole tiles and rests.
SHAPES = {
    "1x1": Case(kernel=(1, 1), padding=(0, 0), size=(13, 17), block=8, channels=20),
    "1x1 one by one": Case(kernel=(1, 1), padding=(0, 0), size=(13, 17), block=1, blocks=5, channels=40),
    "1x1 stride": Case(kernel=(1, 1), padding=(0, 0), stride=(2, 2), size=(27, 35), block=4),
    "1x1 last": Case(kernel=(1, 1), padding=(0, 0), size=(13, 17), block=8, channels=20, layout="channels last"),
    "3x3": Case(size=(19, 37), block=16),
    "3x3 in twos": Case(size=(19, 37), block=2, blocks=3),
    "3x3 one by one": Case(size=(31, 70), block=1, blocks=5),
    "3x3 small map": Case(size=(7, 7), block=1, blocks=5, channels=30, batch=3),
    "3x3 dilated": Case(size=(15, 33), block=1, blocks=5, dilation=(1, 2), padding=(2, 2)),
    "3x3 stride": Case(size=(19, 37), stride=(2, 2), block=8),
    "5x5 one by one": Case(kernel=(5, 5), padding=(2, 2), size=(17, 35), block=1, blocks=5),
    "7x1 one by one": Case(kernel=(7, 1), padding=(3, 0), size=(17, 17), block=1, blocks=5),
    "1x7": Case(kernel=(1, 7), padding=(0, 3), size=(17, 17), block=4),
    # Several bands of rows in an image: their seams must not show.
    "3x3 in bands": Case(channels=160, size=(41, 43), block=4, batch=1, density=0.2),
    "3x3 in bands, one by one": Case(channels=160, size=(41, 43), block=1, blocks=3, density=0.2),
    "3x3 in bands, stride": Case(channels=160, size=(61, 63), block=4, stride=(2, 2), batch=1, density=0.2),
    "3x3 in bands, dilated": Case(channels=160, size=(41, 43), block=1, dilation=(3, 2), padding=(3, 2), density=0.2),
    "5x5 in bands, last": Case(
        channels=96, size=(41, 37), block=8, kernel=(5, 5), padding=(2, 2), batch=1, density=0.2, layout="channels last"
    ),
    "3x3 last": Case(size=(19, 21), block=1, blocks=5, layout="channels last"),
}
ISAS = list(library.ISAS) if native.available() else []


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    if library.ISAS.index(request.param) > int(library.kernels().isa()):
        pytest.skip(f"this CPU has no {request.param}")
    return str(request.param)


@pytest.mark.parametrize("name", SHAPES)
def test_every_candidate_gives_the_sums(name: str, isa: str) -> None:
    case = SHAPES[name]
    weight, indptr, inputs = case.layer()
    x, grad, bias = case.x(), case.tensor(*case.out_shape(), salt=5), case.tensor(case.outputs, salt=3)
    residual = case.tensor(*case.out_shape(), salt=4)
    dense = case.dense(weight, indptr, inputs)
    forward = torch.relu(case.expected(x, dense) + bias.double()[:, None, None] + residual.double())
    terms = case.expected(x.abs(), dense.abs()) + bias.abs().double()[:, None, None] + residual.abs()
    back, step = _grads(case, x, dense, grad)
    back_terms, step_terms = _grads(case, x.abs(), dense.abs(), grad.abs())
    tried = set()
    pick = 0
    while True:
        with tiled(isa, pick) as used:
            assert_close(
                native.conv_forward(x, weight, indptr, inputs, bias, residual, "relu", case.conv), forward, terms
            )
            got = native.conv_grad_input(grad, weight, indptr, inputs, tuple(x.shape), case.conv)
            assert_close(got, back, back_terms)
            got = native.conv_grad_weight(grad, x, indptr, inputs, tuple(weight.shape), case.conv)
            assert_close(got, case.kept(step, indptr, inputs), case.kept(step_terms, indptr, inputs))
        new = {(place, tuning) for place, tuning in enumerate(used)} - tried
        if not new:
            break
        tried |= new
        pick += 1
    assert pick > 1  # there is a choice


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_bits_again_and_on_any_number_of_threads(name: str, isa: str) -> None:
    case = SHAPES[name]
    weight, indptr, inputs = case.layer()
    x, grad = case.x(), case.tensor(*case.out_shape(), salt=5)
    found: list[tuple[torch.Tensor, ...]] = []
    for count in (1, 1, 2, 2, 3):
        torch.set_num_threads(count)
        with mock.patch.dict(os.environ, {"ADVISOR_ISA": isa}):
            found.append(
                (
                    native.conv_forward(x, weight, indptr, inputs, None, None, "silu", case.conv),
                    native.conv_grad_input(grad, weight, indptr, inputs, tuple(x.shape), case.conv),
                    native.conv_grad_weight(grad, x, indptr, inputs, tuple(weight.shape), case.conv),
                )
            )
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one.numpy().tobytes() == two.numpy().tobytes()


def test_first_calls_at_the_same_time() -> None:
    case = Case(size=(5, 5))
    x, layer = case.x(), case.layer()
    expected = native.conv_forward(x, *layer, None, None, "none", case.conv)
    start = threading.Barrier(4)

    def one(_: int) -> bool:
        start.wait(timeout=30)
        return torch.equal(native.conv_forward(x, *layer, None, None, "none", case.conv), expected)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns within the few lines that matter
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(200):
                calls.forget()
                tuner.forget()
                assert all(pool.map(one, range(4)))
    finally:
        sys.setswitchinterval(before)


def test_calls_at_the_same_time_do_not_mix() -> None:
    jobs = [(case, case.x(), case.layer()) for case in SHAPES.values()]
    expected = [native.conv_forward(x, *layer, None, None, "none", case.conv) for case, x, layer in jobs]

    def one(place: int) -> bool:
        case, x, layer = jobs[place % len(jobs)]
        got = native.conv_forward(x, *layer, None, None, "none", case.conv)
        return torch.equal(got, expected[place % len(jobs)])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(8 * len(jobs))))


@pytest.mark.parametrize("block", [1, 4])
def test_no_band_holds_all_of_a_long_line(block: int, isa: str) -> None:
    def layouts(length: int) -> set[Layout]:
        case = Case(channels=64, blocks=16, block=block, kernel=(1, 5), padding=(0, 2), batch=1, size=(1, length))
        weight, indptr, _ = case.layer()
        x, y = torch.empty(1, 64, 1, length, device="meta"), torch.empty(case.out_shape(), device="meta")
        job, number = calls._job(x, y, weight, indptr, case.conv), library.ISAS.index(isa)
        kinds: tuple[tuner.Kind, ...] = ("forward", "grad_input", "grad_weight")
        return {t.layout for kind in kinds for t in tuner._candidates(kind, job, number)}

    assert layouts(2000) > {Layout.COLUMNS}
    assert layouts(1_000_000) == {Layout.COLUMNS}
