import json
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

import numpy as np
import pytest

from advisor.devices.predicting.compose import plan_options, predict_latency, predict_options
from advisor.devices.predicting.option_times import option_times
from advisor.devices.predicting.parts import layer_time, output_share, rest_of, rest_shares, spread, worst
from advisor.devices.profile import Measurement, Profile
from advisor.errors import PlanError, ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, executions
from tests.devices.conftest import network_of
from tests.devices.synthetic import SETTINGS, all_executions, profile_of, width, widths

CHANNEL = Option(pattern="channel", density=0.25)


@pytest.fixture(scope="module")
def profile(resnet18: Network) -> Profile:
    """Everything measured, the whole 20 % slower than its layers."""
    return profile_of(resnet18, all_executions(resnet18, widths(resnet18)).values())


@dataclass
class PlannedLayer:
    name: str
    weight_shape: tuple[int, ...]
    option: Option
    method: str | None = None


@dataclass
class FakePlan:
    layers: tuple[PlannedLayer, ...]
    model: str = "net"
    of_table: bool = False
    input_shapes: tuple[tuple[int, ...], ...] = ((1, 3, 224, 224),)
    attention: tuple[Any, ...] = ()


def planned(network: Network, options: dict[str, Option]) -> Any:
    layers = [PlannedLayer(x.name, x.weight_shape, options.get(x.name, DENSE)) for x in network.sparsifiable]
    return FakePlan(layers=tuple(layers))


def test_a_dense_network_is_predicted_by_its_own_measurement(resnet18: Network, profile: Profile) -> None:
    whole = profile.whole(resnet18)
    assert whole is not None
    predicted = predict_latency(resnet18, profile)
    assert predicted.latency_ms == pytest.approx(whole.median_ms, rel=1e-12)
    assert predicted.low_ms == pytest.approx(whole.low_ms)
    assert predicted.high_ms == pytest.approx(whole.high_ms)
    assert predicted.origin == "measured"
    assert predicted.rest_ms == pytest.approx(whole.rest_ms)
    assert predict_latency(resnet18, profile, planned(resnet18, {})) == predicted


def test_the_parts_add_up(resnet18: Network, profile: Profile) -> None:
    options = {name: found[-1] for name, found in widths(resnet18).items()}
    predicted = predict_options(resnet18, profile, options)
    assert sum(layer.latency_ms for layer in predicted.layers) + predicted.rest_ms == pytest.approx(
        predicted.latency_ms
    )
    assert [layer.name for layer in predicted.layers] == [layer.name for layer in resnet18.sparsifiable]
    assert predicted.origin == "predicted"
    assert predicted.latency_ms < predict_latency(resnet18, profile).latency_ms / 2


def test_a_layer_called_twice_takes_twice(resnet18: Network, profile: Profile) -> None:
    layer = resnet18.sparsifiable[1]
    twice = replace(layer, calls=layer.calls * 2)
    once, both = layer_time(layer, DENSE, profile), layer_time(twice, DENSE, profile)
    assert both.latency_ms == pytest.approx(2 * once.latency_ms)
    assert both.high_ms - both.latency_ms == pytest.approx(2 * (once.high_ms - once.latency_ms))  # one error, twice


def test_masked_layers_take_what_dense_ones_take(resnet18: Network, profile: Profile) -> None:
    masked = predict_options(resnet18, profile, {layer.name: CHANNEL for layer in resnet18.sparsifiable})
    dense = predict_latency(resnet18, profile)
    assert masked.latency_ms == dense.latency_ms
    assert masked.origin == "predicted"  # nobody has timed this very network
    assert (masked.low_ms, masked.high_ms) == (dense.low_ms, dense.high_ms)


def test_errors_of_measured_work_add_in_quadrature_and_those_of_one_add_up(resnet18: Network, profile: Profile) -> None:
    one, other = (next(iter(executions(resnet18.layer(name), DENSE))) for name in ("conv1", "fc"))
    first, second = profile.latency(one), profile.latency(other)
    below, above = spread({one: 3, other: 1}, profile)
    assert below == pytest.approx(hypot(3 * (first.median_ms - first.low_ms), second.median_ms - second.low_ms))
    assert above == pytest.approx(hypot(3 * (first.high_ms - first.median_ms), second.high_ms - second.median_ms))
    guessed = replace(profile, measurements={one.key: first, **others(profile, one, other)})
    guess = guessed.latency(other)
    assert guess.origin != "measured"
    below, above = spread({one: 3, other: 1}, guessed)
    assert below == pytest.approx(hypot(3 * (first.median_ms - first.low_ms), guess.median_ms - guess.low_ms))
    below, above = spread({one: -1, other: 0}, profile)
    assert below == pytest.approx(first.high_ms - first.median_ms)
    assert above == pytest.approx(first.median_ms - first.low_ms)


def others(profile: Profile, *out: Execution) -> dict[str, Measurement]:
    """The profile's measurements without those of `out`."""
    return {key: known for key, known in profile.measurements.items() if key not in {e.key for e in out}}


def test_predicted_times_err_together(resnet18: Network, profile: Profile) -> None:
    one, other = (next(iter(executions(resnet18.layer(name), DENSE))) for name in ("layer1.0.conv1", "layer2.0.conv1"))
    guessed = replace(profile, measurements=others(profile, one, other))
    first, second = guessed.latency(one), guessed.latency(other)
    assert "measured" not in (first.origin, second.origin)
    below, above = spread({one: 2, other: -1}, guessed)
    assert below == pytest.approx(2 * (first.median_ms - first.low_ms) + second.high_ms - second.median_ms)
    assert above == pytest.approx(2 * (first.high_ms - first.median_ms) + second.median_ms - second.low_ms)


def test_the_interval_reaches_over_what_the_rest_may_be(resnet18: Network, profile: Profile) -> None:
    whole = profile.whole(resnet18)
    assert whole is not None
    options = {name: found[-1] for name, found in widths(resnet18).items()}  # a quarter on both sides
    predicted = predict_options(resnet18, profile, options)
    layers_ms = sum(layer.latency_ms for layer in predicted.layers)
    assert 0 < predicted.rest_ms < whole.rest_ms
    assert predicted.high_ms >= layers_ms + whole.rest_ms  # it may be constant
    doubt = whole.rest_ms * (1 - layers_ms / whole.layers_ms)
    assert predicted.high_ms >= predicted.latency_ms + doubt  # what is saved in place may be less than alone
    assert predicted.low_ms <= layers_ms + whole.rest_ms * layers_ms / whole.layers_ms  # or shrink with the layers


def test_shares_of_the_rest(resnet18: Network) -> None:
    shares = rest_shares(resnet18)
    assert sum(shares.values()) == pytest.approx(1)
    first = resnet18.layer("conv1")
    total = sum(layer.activation_elements for layer in resnet18.sparsifiable)
    assert shares["conv1"] == pytest.approx(64 * 112 * 112 / total)
    assert output_share(first, DENSE) == output_share(first, CHANNEL) == 1
    assert output_share(first, width(first, 1.0, 0.25)) == 0.25


def test_an_unknown_network_is_extrapolated_with_the_rest_of_known_ones(digits: Network, resnet18: Network) -> None:
    profile = profile_of(resnet18, all_executions(resnet18, {}).values(), rest=0.5)
    rest = rest_of(digits, profile)
    assert rest.whole_ms is None
    assert rest.rest_ms == pytest.approx(0.5 * rest.layers_ms)
    assert rest.low_ms <= 0.25 * rest.layers_ms
    assert rest.high_ms >= 0.75 * rest.layers_ms
    predicted = predict_latency(digits, profile)
    assert predicted.origin == "extrapolated"
    assert predicted.low_ms < predicted.latency_ms < predicted.high_ms
    assert "has not timed 'zoo:digits_cnn' as a whole" in predicted.notes[0]
    assert "+50% of its layers" in predicted.notes[0]


def test_without_any_whole_network_the_rest_is_left_out_and_said(resnet18: Network, profile: Profile) -> None:
    alone = replace(profile, networks={})
    predicted = predict_latency(resnet18, alone)
    assert predicted.rest_ms == 0
    assert predicted.origin == "extrapolated"
    assert "left out" in predicted.notes[0]
    assert predicted.high_ms > 1.8 * predicted.latency_ms


def test_the_same_layers_under_another_name_are_known_by_their_hash(resnet18: Network, profile: Profile) -> None:
    from advisor.devices.measuring.work import network_hash

    (whole,) = profile.networks.values()
    other = replace(resnet18, name="my_file.py:build")
    assert profile.whole(other) is None  # this profile knows no hash
    hashed = replace(whole, network_hash=network_hash(resnet18))
    assert replace(profile, networks={hashed.key: hashed}).whole(other) == hashed
    changed = replace(whole, network_hash="f" * 16)  # the file has changed since
    assert replace(profile, networks={changed.key: changed}).whole(resnet18) is None
    assert profile.whole(network_of("torchvision:resnet18", input_text="1x3x192x192")) is None


def test_other_settings_are_refused(resnet18: Network, profile: Profile) -> None:
    with pytest.raises(ProfileError, match="made with training=False, asked for training=True"):
        predict_latency(resnet18, profile, training=True)
    bigger = replace(profile, settings=replace(SETTINGS, batch=8))
    with pytest.raises(ProfileError, match="made with batch=8, asked for batch=1"):
        predict_latency(resnet18, bigger)


def test_profiles_that_were_not_measured_say_so(resnet18: Network, profile: Profile) -> None:
    predicted = predict_latency(resnet18, replace(profile, origin="simulated"))
    assert predicted.origin == "predicted"
    assert any("is simulated, not measured" in note for note in predicted.notes)


def test_layers_that_were_not_timed_are_named(resnet18: Network) -> None:
    profile = profile_of(resnet18, all_executions(resnet18, {}).values())
    options = {name: found[1] for name, found in widths(resnet18).items()}
    predicted = predict_options(resnet18, profile, options)
    origins = {layer.name: layer.origin for layer in predicted.layers}
    assert origins["conv1"] == "measured"
    assert origins["layer1.0.conv1"] in ("predicted", "extrapolated")
    assert any("layers were not timed under this option: layer1.0.conv1" in note for note in predicted.notes)
    assert worst(["measured", "extrapolated", "predicted"]) == "extrapolated"
    assert predicted.origin == worst(origins.values())


def test_json_has_the_keys_of_the_contract(resnet18: Network, profile: Profile) -> None:
    document = json.loads(json.dumps(predict_latency(resnet18, profile).to_json()))
    assert {"latency_ms", "low_ms", "high_ms", "origin", "rest_ms", "layers", "notes"} <= set(document)
    assert {"name", "latency_ms", "origin"} <= set(document["layers"][0])


def test_a_plan_of_another_network_is_refused_with_the_first_difference(digits: Network, resnet18: Network) -> None:
    with pytest.raises(PlanError, match=r"unknown layer 'features\.0'"):
        plan_options(resnet18, planned(digits, {}))
    changed = planned(resnet18, {})
    changed.layers[3].weight_shape = (1, 2, 3, 3)
    with pytest.raises(PlanError, match=r"layer1\.1\.conv1 has a weight of shape \(1, 2, 3, 3\)"):
        plan_options(resnet18, changed)


def test_a_plan_for_other_inputs_is_noted(resnet18: Network, profile: Profile) -> None:
    plan = planned(resnet18, {})
    plan.input_shapes = ((1, 3, 32, 32),)
    assert "the plan was made for inputs ((1, 3, 32, 32),)" in predict_latency(resnet18, profile, plan).notes[-1]


@pytest.mark.parametrize("rest", [0.2, -0.3, -0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_option_times_add_up_to_the_prediction(resnet18: Network, seed: int, rest: float) -> None:
    options = {layer.name: (DENSE, CHANNEL) for layer in resnet18.sparsifiable} | widths(resnet18)
    seen = list(all_executions(resnet18, widths(resnet18)).values())
    profile = profile_of(resnet18, [e for i, e in enumerate(seen) if i % 3 == seed], seed=seed, rest=rest)
    times = option_times(resnet18, profile, options)
    generator = np.random.default_rng(seed)
    choice = {name: int(generator.integers(len(found))) for name, found in options.items()}
    total = times.rest_ms + sum(float(times.latency_ms[name][k]) for name, k in choice.items())
    predicted = predict_options(resnet18, profile, {name: options[name][k] for name, k in choice.items()})
    assert total == pytest.approx(predicted.latency_ms, rel=1e-9)
    assert predicted.latency_ms > 0
    dense = times.rest_ms + sum(float(times.latency_ms[name][0]) for name in options)
    assert dense == pytest.approx(predict_latency(resnet18, profile).latency_ms, rel=1e-9)
    for name, found in options.items():
        assert len(times.origins[name]) == len(times.latency_ms[name]) == len(found)


GROUPED = Option(pattern="group", density=0.25, parameters={"block": 16})


def in_place(profile: Profile, network: Network, *, interpreter: float) -> Profile:
    """The same, its whole known by its parts, and every sparse layer saving something beside itself."""
    (whole,) = profile.networks.values()
    saved = {layer.name: 0.01 * (i % 5 - 1) for i, layer in enumerate(network.sparsifiable)}
    parts = {"elementwise": 0.7 * whole.rest_ms, "pool": 0.2 * whole.rest_ms}
    left = interpreter * whole.rest_ms
    median = whole.layers_ms + sum(parts.values()) + left
    known = replace(
        whole,
        median_ms=median,
        low_ms=0.99 * median,
        high_ms=1.02 * median,
        parts=parts,
        interpreter_ms=left,
        saved=saved,
        deviation=0.04,
    )
    return replace(profile, networks={known.key: known}, settings=replace(SETTINGS, kernels="test 1"))


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("interpreter", [0.1, -1.2])
def test_what_sparse_layers_save_is_in_the_table_and_in_the_prediction(resnet18: Network, interpreter: float) -> None:
    options = {layer.name: (DENSE, GROUPED) for layer in resnet18.sparsifiable[1:-1]} | {
        name: (*found, GROUPED) for name, found in widths(resnet18).items() if name.startswith("layer2")
    }
    seen = all_executions(resnet18, options, have=True).values()
    profile = in_place(profile_of(resnet18, seen), resnet18, interpreter=interpreter)
    whole = profile.whole(resnet18)
    assert whole is not None
    times = option_times(resnet18, profile, options)
    ends = [layer_time(x, DENSE, profile).latency_ms for x in resnet18.sparsifiable if x.name not in options]
    for seed in range(3):
        generator = np.random.default_rng(seed)
        choice = {name: int(generator.integers(len(found))) for name, found in options.items()}
        total = times.rest_ms + sum(ends) + sum(float(times.latency_ms[name][k]) for name, k in choice.items())
        predicted = predict_options(resnet18, profile, {name: options[name][k] for name, k in choice.items()})
        assert total == pytest.approx(predicted.latency_ms, rel=1e-9)
    one = predict_options(resnet18, profile, {"layer1.0.conv1": GROUPED})
    time = {layer.name: layer for layer in one.layers}["layer1.0.conv1"]
    assert time.method == "direct"
    dense_ms = layer_time(resnet18.layer("layer1.0.conv1"), DENSE, profile).latency_ms
    saved = whole.saved["layer1.0.conv1"]
    assert one.latency_ms == pytest.approx(whole.median_ms + time.latency_ms - dense_ms - saved)
    assert predict_latency(resnet18, profile).latency_ms == pytest.approx(whole.median_ms)


@pytest.mark.usefixtures("with_kernels")
def test_the_interval_reaches_as_far_as_sums_were_from_measured_wholes(resnet18: Network) -> None:
    options = {layer.name: (DENSE, GROUPED) for layer in resnet18.sparsifiable[1:-1]}
    made = profile_of(resnet18, all_executions(resnet18, options, have=True).values())
    profile = in_place(made, resnet18, interpreter=0.1)
    one = predict_options(resnet18, profile, {"layer1.0.conv1": GROUPED})
    many = predict_options(resnet18, profile, dict.fromkeys(options, GROUPED))
    assert many.high_ms - many.latency_ms > 0.03 * many.latency_ms
    assert (one.high_ms - one.latency_ms) / one.latency_ms < (many.high_ms - many.latency_ms) / many.latency_ms
