from dataclasses import replace

import numpy as np
import pytest

from advisor.devices.model.device import DeviceModel
from advisor.devices.model.rows import names, row, rows
from advisor.devices.model.step_model import CLASSES, StepModel, StepTimes, class_of
from advisor.devices.model.steps_of import step_of
from advisor.devices.model.sums import Counts
from advisor.devices.suite.table import step_times
from advisor.runtime.execution import Execution
from tests.devices.formula import device_profile, operator, recording, step_ms, tables, view, whole_ms
from tests.devices.steps.test_executions import sparse_conv, sparse_linear

UNSEEN = range(100, 130)


@pytest.fixture(scope="module")
def model() -> DeviceModel:
    found = device_profile().estimator
    assert isinstance(found, DeviceModel)
    return found


def test_every_column_has_a_name_and_one_meaning() -> None:
    assert len(names()) == len(set(names())) == len(row(step_of(sparse_conv())))
    assert rows([]).shape == (0, len(names()))
    assert np.isfinite(rows(list(recording(0, "sparse").steps))).all()


def test_rows_of_odd_operators_are_numbers() -> None:
    for step in (
        operator("add", (), ()),
        operator("cat", ((0, 3), (0, 3)), (0, 6), 1),
        operator("bmm", ((2, 3, 4), (2, 4, 5)), (2, 3, 5)),
        operator("mm", ((3, 4),), (3, 5)),
        operator("advisor.sparse_linear_grad_weight", ((3, 4), (3, 5)), (7, 1)),
        operator("convolution_backward", ((1, 2, 3, 3), (1, 2, 3, 3), (2, 2, 1, 1)), (1, 2, 3, 3), 0),
        operator("max_pool2d", ((1, 2, 3, 3),), (1, 2, 1, 1), 3),
    ):
        assert np.isfinite(row(step)).all()


@pytest.mark.parametrize("variant", ["dense", "sparse"])
def test_a_whole_is_its_steps_and_what_lies_between_exactly(model: DeviceModel, variant: str) -> None:
    found = recording(101, variant)
    whole = model.whole(found)
    assert len(whole.steps_ms) == len(found.steps)
    assert sum(whole.parts.values()) == pytest.approx(whole.median_ms)
    between = model.table.between.ms(Counts.of(found), sum(whole.steps_ms))
    assert whole.median_ms == pytest.approx(sum(whole.steps_ms) + between)
    assert whole.parts["interpreter"] == pytest.approx(between)
    assert whole.low_ms < whole.median_ms < whole.high_ms
    for step, ms in zip(found.steps, whole.steps_ms, strict=True):
        assert (ms == 0) is (step.family == "view")
        if step.execution is not None and step.execution.method == "direct":
            assert ms == model.layer(step.execution).median_ms


@pytest.mark.parametrize("variant", ["dense", "sparse"])
def test_networks_that_were_not_in_the_suite(model: DeviceModel, variant: str) -> None:
    errors = [np.log(model.whole(recording(n, variant)).median_ms / whole_ms(recording(n, variant))) for n in UNSEEN]
    assert np.median(np.abs(errors)) < 0.06
    assert np.quantile(np.abs(errors), 0.9) < 0.2


def test_single_steps_of_left_out_pieces_lie_in_their_intervals_four_times_of_five() -> None:
    """By construction over the pieces that set the intervals; here over pieces that did not."""
    (table,) = tables()
    model = StepModel(step_times(table.pieces))
    hits: dict[str, list[bool]] = {}
    rng = np.random.default_rng(0)
    for number in UNSEEN:
        for variant in ("dense", "sparse"):
            steps = [step for step in recording(number, variant).steps if step.family != "view"]
            ms, _ = model(steps)
            for step, middle in zip(steps, ms, strict=True):
                low, high = table.intervals[class_of(step)]
                measured = np.log(step_ms(step) / middle) + 0.05 * rng.standard_normal()
                hits.setdefault(class_of(step), []).append(bool(low <= measured <= high))
    assert {"dense", "operator", "sparse"} <= set(hits)
    assert 0.70 <= np.mean([hit for found in hits.values() for hit in found]) <= 0.92


def test_what_lies_in_what_was_measured_is_predicted_and_what_does_not_is_extrapolated(model: DeviceModel) -> None:
    inside = next(s for s in recording(3).steps if s.target == "conv2d")
    assert inside.execution is not None
    assert model.step(inside).origin == "predicted"
    assert model.layer(inside.execution).origin == "predicted"
    huge = replace(inside.execution, input_shape=(64, *inside.execution.input_shape[1:]))
    far, near = model.layer(huge), model.layer(inside.execution)
    assert far.origin == "extrapolated"
    assert far.median_ms > near.median_ms
    assert far.high_ms / far.low_ms > near.high_ms / near.low_ms


def test_an_operator_that_the_suite_did_not_run_is_extrapolated(model: DeviceModel) -> None:
    shape = (1, 16, 20, 20)
    strange = operator("erfinv", (shape,), shape)
    found = model.step(strange)
    assert found.origin == "extrapolated"
    assert found.low_ms < found.median_ms < found.high_ms
    mostly = replace(recording(2), steps=(strange,) * 5, modules=("",) * 5)
    whole = model.whole(mostly)
    assert whole.origin == "extrapolated"
    assert "erfinv" in whole.notes[0]
    product = operator("bmm", ((2, 3, 4), (2, 4, 5)), (2, 3, 5))
    assert model.step(product).origin == "extrapolated"  # no piece here has any product


def test_views_take_no_time_of_their_own(model: DeviceModel) -> None:
    assert model.step(view((2, 3), (6,))).median_ms == 0.0


def test_a_run_without_steps_takes_what_its_modules_do(model: DeviceModel) -> None:
    whole = model.whole(replace(recording(2), steps=(), modules=(), module_calls=10))
    assert whole.median_ms == pytest.approx(model.table.between.module_us * 10 / 1e3)


def test_bias_costs_nothing_and_asking_twice_gives_the_same(model: DeviceModel) -> None:
    for layer in (sparse_conv(), sparse_linear(), replace(sparse_conv(), method="dense", kept=0, block=0)):
        with_bias, without = (model.layer(replace(layer, bias=bias)) for bias in (True, False))
        assert with_bias == without == model.layer(layer)


def test_all_methods_of_a_layer_have_a_time(model: DeviceModel) -> None:
    gather = Execution(
        kind="linear", method="gather", input_shape=(1, 32), weight_shape=(24, 32), kept=5, block=8, bias=True
    )
    assert model.layer(gather).median_ms > 0


def test_nothing_measured_says_nothing() -> None:
    empty = StepModel(StepTimes(steps=(), ms=np.zeros(0), pieces=np.zeros(0, dtype=int)))
    ms, beyond = empty([step_of(sparse_conv())])
    assert ms.tolist() == [0.0]
    assert beyond.tolist() == [True]


def test_what_runs_several_times_in_a_piece_counts_once() -> None:
    (table,) = tables()
    times = step_times(table.pieces)
    assert len(set(zip(times.pieces.tolist(), times.steps, strict=True))) < len(times.steps) + 1
    piece = table.pieces[0]
    mine = [i for i, number in enumerate(times.pieces) if number == piece.number]
    assert {times.steps[i] for i in mine} >= set(piece.steps)
    assert {class_of(step) for step in piece.steps} <= set(CLASSES)
