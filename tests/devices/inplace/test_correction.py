"""Times alone become times in place by what relatives took both ways."""

import math

import pytest

from advisor.devices.inplace.collect import Time
from advisor.devices.inplace.correction import Correction, Pair
from advisor.devices.inplace.saved import deviations, saved_ms, usual
from advisor.devices.measuring.kept import Pass
from advisor.devices.profile import Measurement
from advisor.runtime.execution import Execution


def conv(size: int, channels: int = 8, groups: int = 1) -> Execution:
    return Execution(
        kind="conv2d",
        method="dense",
        input_shape=(1, channels, size, size),
        weight_shape=(channels, channels // groups, 3, 3),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=groups,
    )


LINEAR = Execution(kind="linear", method="dense", input_shape=(1, 8), weight_shape=(4, 8))


def test_one_factor_for_all_is_found() -> None:
    pairs = [Pair(execution=conv(4 * i, 8), alone_ms=float(i), in_place_ms=1.2 * i) for i in range(1, 9)]
    found = Correction(pairs)
    assert found(conv(100)) == pytest.approx(1.2, rel=0.01)
    assert found(LINEAR) == pytest.approx(1.2, rel=0.01), "another kind takes the wider group's"
    assert found.summary()["correction conv2d dense"] == pytest.approx(1.2)


def test_near_relatives_count_more_and_few_are_shrunk() -> None:
    pairs = [Pair(execution=conv(8, 8 * i), alone_ms=1.0, in_place_ms=2.0) for i in range(1, 7)]
    pairs += [Pair(execution=conv(32, 8 * i), alone_ms=1.0, in_place_ms=1.0) for i in range(1, 7)]
    found = Correction(pairs)
    assert found(conv(32, 64)) < found(conv(16, 64)) < found(conv(8, 64)) < 2.0


def test_without_pairs_nothing_is_corrected_and_the_error_is_wide() -> None:
    found = Correction([])
    assert found(conv(8)) == 1.0
    assert found.error == pytest.approx(0.25)
    assert found.summary() == {}


def test_the_error_is_what_was_left_out() -> None:
    exact = Correction([Pair(execution=conv(4 * i), alone_ms=1.0, in_place_ms=1.1) for i in range(1, 40)])
    loose = Correction([Pair(execution=conv(4 * i), alone_ms=1.0, in_place_ms=1.5 ** (-1) ** i) for i in range(1, 40)])
    assert exact.error < 0.06 < 0.3 < loose.error < 0.6
    assert math.isfinite(loose(conv(1000)))


def test_what_a_sparse_layer_saves_and_how_far_sums_are_from_wholes() -> None:
    direct = Execution(kind="linear", method="direct", input_shape=(1, 8), weight_shape=(4, 8), kept=8, block=1)
    times = [Time(median_ms=ms, low_ms=ms, high_ms=ms) for ms in (5.0, 1.0, 4.0)]  # layer, activation, layer
    layers = (("a", direct), ("b", direct))
    # dense: 10 + 2 of the interpreter; sparse: 2 · 1 + 2.4 of it, the activation gone.
    passes = [Pass(whole_ms=4.4, sum_ms=2.0, layers=layers)] * 400
    saved = saved_ms({"a": [1], "b": []}, times, passes, interpreter_ms=2.0)
    assert saved["a"] == pytest.approx(1.0 - 0.2, abs=0.01)
    assert saved["b"] == pytest.approx(-0.2, abs=0.01)
    known = {direct.key: Measurement(execution=direct, median_ms=1.0, low_ms=0.9, high_ms=1.1, repeats=6)}
    off = deviations(passes, known, {"a": 5.0, "b": 4.0}, saved, whole_ms=12.0)
    assert off == pytest.approx([0.0] * 400, abs=0.01)
    assert usual(off) < 0.01
