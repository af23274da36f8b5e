"""The fastest method of each option by a profile, and what a plan's recorded methods are predicted to take."""

import math
from dataclasses import replace

import pytest

from advisor.devices.predicting.choice import count_methods, fastest, planned_methods
from advisor.devices.predicting.compose import predict_latency, predict_options
from advisor.devices.predicting.option_times import option_times
from advisor.devices.predicting.parts import layer_time
from advisor.devices.profile import Profile
from advisor.network import Layer, Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, executions
from advisor.runtime.methods import Method
from tests.devices.predicting.test_verify import plan_of
from tests.devices.synthetic import SETTINGS, all_executions, profile_of, width

DENSITIES = (0.75, 0.5, 0.25, 0.125, 0.0625)
CHANNEL = tuple(Option(pattern="channel", density=d) for d in DENSITIES)
GROUP = tuple(Option(pattern="group", density=d, parameters={"block": 16}) for d in DENSITIES)


def offered(network: Network) -> dict[str, tuple[Option, ...]]:
    return {layer.name: (DENSE, *CHANNEL, *GROUP) for layer in network.sparsifiable[1:-1]}


def scaled(profile: Profile, method: Method, factor: float) -> Profile:
    """The same profile with all times of one method multiplied."""
    found = {
        key: replace(m, median_ms=factor * m.median_ms, low_ms=factor * m.low_ms, high_ms=factor * m.high_ms)
        if m.execution.method == method
        else m
        for key, m in profile.measurements.items()
    }
    return replace(profile, measurements=found)


@pytest.fixture(scope="module")
def with_direct(digits: Network) -> Profile:
    settings = replace(SETTINGS, kernels="test 1")
    return profile_of(digits, all_executions(digits, offered(digits), have=True).values(), settings=settings)


@pytest.fixture(scope="module")
def without(digits: Network) -> Profile:
    return profile_of(digits, all_executions(digits, offered(digits)).values())


@pytest.fixture(scope="module")
def layer(digits: Network) -> Layer:
    return digits.layer("features.8")


def test_the_least_measured_time_decides(with_direct: Profile, layer: Layer) -> None:
    for option in (*CHANNEL, *GROUP):
        times = {
            method: sum(
                calls * with_direct.measurements[run.key].median_ms
                for run, calls in executions(layer, option, method=method).items()
            )
            for method in ("direct", "dense")
        }
        best = fastest(layer, option, with_direct)
        assert best == min(times, key=times.__getitem__), option.label
        found = layer_time(layer, option, with_direct)
        assert (found.method, found.latency_ms, found.origin) == (best, pytest.approx(times[best]), "measured")
    assert fastest(layer, CHANNEL[-1], with_direct) == "direct"


def test_where_dense_is_faster_the_layer_stays_dense_and_takes_the_dense_time(
    with_direct: Profile, layer: Layer
) -> None:
    slow = scaled(with_direct, "direct", 50.0)
    for option in CHANNEL:
        found = layer_time(layer, option, slow)
        assert (found.method, found.latency_ms) == ("dense", layer_time(layer, DENSE, slow).latency_ms)


def test_a_profile_from_before_the_kernels_plans_as_before(without: Profile, layer: Layer) -> None:
    assert without.methods == {"dense", "gather"}
    assert {fastest(layer, option, without) for option in CHANNEL} == {"dense"}
    assert fastest(layer, GROUP[2], without) == "gather"
    assert fastest(layer, DENSE, without) == "dense"
    assert fastest(layer, GROUP[2], scaled(without, "gather", 50.0)) == "dense", "gathering has to win, too"


def test_what_was_not_seen_must_win_by_its_interval(with_direct: Profile, layer: Layer) -> None:
    """A direct time of a linear layer alone says little about a convolution: it counts by its upper end."""
    kept = {k: m for k, m in with_direct.measurements.items() if m.execution.method == "dense"}
    linear = Execution(kind="linear", method="direct", input_shape=(1, 64), weight_shape=(64, 64), kept=1024, block=1)
    one = replace(with_direct, measurements=kept | {linear.key: replace(next(iter(kept.values())), execution=linear)})
    assert "direct" in one.methods
    for option in CHANNEL:
        (run,) = executions(layer, option, method="direct")
        time, dense = one.latency(run), layer_time(layer, DENSE, one).latency_ms
        assert time.origin == "extrapolated"
        assert fastest(layer, option, one) == ("direct" if time.high_ms <= dense else "dense"), option.label


def test_an_option_beyond_what_was_measured_counts_by_its_upper_end(digits: Network, layer: Layer) -> None:
    """The table must not promise what nobody has seen; the dense kernel stays as it was."""
    made = profile_of(digits, all_executions(digits, {}).values())
    narrow = width(layer, 0.02, 0.02)
    options = {layer.name: (DENSE, narrow, CHANNEL[0])}
    found = layer_time(layer, narrow, made)
    assert found.origin == "extrapolated"
    times = option_times(digits, made, options)
    change = times.latency_ms[layer.name] - times.latency_ms[layer.name][0]
    lost = predict_options(digits, made, {layer.name: narrow}).latency_ms - predict_options(digits, made, {}).latency_ms
    assert change[1] == pytest.approx(lost + found.high_ms - found.latency_ms)
    assert change[2] == pytest.approx(0.0), "zeros in a dense kernel"
    assert "count by the upper end of their interval: " + layer.name in times.notes[0]
    assert not any("upper end" in note for note in option_times(digits, made, {layer.name: (DENSE,)}).notes)


def test_direct_times_between_two_measured_densities_are_interpolated(digits: Network, layer: Layer) -> None:
    between = Option(pattern="channel", density=0.375)
    (run,) = executions(layer, between, method="direct")
    profile = profile_of(digits, all_executions(digits, offered(digits), have=True).values())
    low, high = (next(iter(executions(layer, o, method="direct"))) for o in (CHANNEL[2], CHANNEL[1]))
    share = math.log(run.kept / low.kept) / math.log(high.kept / low.kept)
    ends = [math.log(profile.measurements[e.key].median_ms) for e in (low, high)]
    found = profile.latency(run)
    assert found.origin == "predicted"
    assert found.median_ms == pytest.approx(math.exp(ends[0] + share * (ends[1] - ends[0])))


def test_the_table_and_the_prediction_choose_alike(digits: Network, with_direct: Profile) -> None:
    options = offered(digits)
    times = option_times(digits, with_direct, options)
    assert {m for found in times.methods.values() for m in found} == {"dense", "direct"}
    chosen = {name: found[4] for name, found in options.items()}
    ends = [layer_time(x, DENSE, with_direct).latency_ms for x in digits.sparsifiable if x.name not in options]
    total = sum(ends) + sum(times.latency_ms[name][4] for name in options)
    predicted = predict_options(digits, with_direct, chosen)
    assert predicted.latency_ms == pytest.approx(times.rest_ms + total)
    methods = {x.name: x.method for x in predicted.layers}
    assert {name: methods[name] for name in options} == {name: times.methods[name][4] for name in options}


def test_a_plan_is_predicted_by_its_recorded_methods(digits: Network, with_direct: Profile) -> None:
    plan = plan_of(digits, {"features.8": CHANNEL[3], "features.12": CHANNEL[3]})
    layers = [replace(x, method="dense") if x.name == "features.12" else x for x in plan.layers]
    recorded = replace(plan, layers=tuple(layers))
    found, notes = planned_methods(digits, recorded, with_direct)
    assert (found["features.8"], found["features.12"], notes) == ("direct", "dense", ())
    one, both = (predict_latency(digits, with_direct, p) for p in (recorded, plan))
    assert both.latency_ms < one.latency_ms < predict_latency(digits, with_direct).latency_ms
    assert {x["name"]: x["method"] for x in one.to_json()["layers"]}["features.8"] == "direct"
    assert count_methods(found) == {"dense": len(plan.layers) - 1, "direct": 1}


def test_a_recorded_method_without_times_is_predicted_by_the_next_one_and_said(
    digits: Network, without: Profile
) -> None:
    plan = plan_of(digits, {"features.8": CHANNEL[3]})
    layers = [replace(x, method="direct") if x.name == "features.8" else x for x in plan.layers]
    predicted = predict_latency(digits, without, replace(plan, layers=tuple(layers)))
    assert predicted.latency_ms == pytest.approx(predict_latency(digits, without).latency_ms)
    assert any("1 layers by methods of which profile 'synthetic' holds no times" in n for n in predicted.notes)


def test_training_compares_with_the_packed_layer(digits: Network, layer: Layer) -> None:
    found = all_executions(digits, offered(digits), have=True, training=True)
    profile = profile_of(digits, found.values(), settings=replace(SETTINGS, training=True))
    assert profile.methods == {"dense", "direct", "packed"}
    assert fastest(layer, CHANNEL[3], profile, training=True) == "direct"
    assert fastest(layer, CHANNEL[3], scaled(profile, "direct", 50.0), training=True) == "packed"


@pytest.mark.usefixtures("with_kernels")
def test_kernels_that_the_profile_lacks_are_said(without: Profile) -> None:
    (line,) = [w for w in without.warnings() if "sparse kernels" in w]
    assert "no times of the sparse kernels that are here (test 1)" in line
    other = replace(without, settings=replace(SETTINGS, kernels="avx9 1"))
    (line,) = [w for w in other.warnings() if "sparse kernels" in w]
    assert "were made" not in line
    assert "made with sparse kernels avx9 1, here they are test 1" in line


def test_kernels_that_are_missing_here_are_said(with_direct: Profile) -> None:
    (line,) = [w for w in with_direct.warnings() if "sparse kernels" in w]
    assert "made with sparse kernels (test 1) that are missing here (switched off by a test)" in line
    assert "sparse kernels test 1" in str(with_direct.settings and with_direct.settings.text)
