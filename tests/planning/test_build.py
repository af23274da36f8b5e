"""The cost table of real networks against counting by hand and against the masks themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor, nn

import advisor
from advisor.devices.energy import energy_mj
from advisor.devices.predicting.compose import predict_options
from advisor.devices.profile import Profile, load_profile
from advisor.errors import BudgetError, PatternError, ProfileError
from advisor.network import Network
from advisor.patterns.base import pattern
from advisor.patterns.option import DENSE
from advisor.planning.build import Built, build_table
from advisor.planning.menu.options import checked_patterns, menu
from advisor.runtime.execution import executions
from tests.devices.synthetic import SETTINGS, all_executions, profile_of

MASKED = ("channel", "group", "block", "n:m", "unstructured")


def built_for(network: Network, patterns: tuple[str, ...] = MASKED, **more: object) -> Built:
    return build_table(network, menu(network, patterns), **more)  # type: ignore[arg-type]


def random_choice(built: Built, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(rng.integers(len(options))) for options in built.table.options]


def timed(network: Network, patterns: tuple[str, ...] = MASKED, *, have: bool = False) -> Profile:
    """A profile of a machine that has sparse kernels or not."""
    options = {name: tuple(found) for name, found in menu(network, patterns).options.items()}
    settings = replace(SETTINGS, kernels="test 1" if have else "")
    return profile_of(network, all_executions(network, options, have=have).values(), settings=settings)


@pytest.mark.parametrize("name", ["digits", "residual", "resnet18"])
def test_dense_totals_are_the_networks(name: str, request: pytest.FixtureRequest) -> None:
    network: Network = request.getfixturevalue(name)
    table = built_for(network).table
    found = table.totals(table.dense)
    assert found["params"] == network.params
    assert found["macs"] == network.macs
    assert found["weight_memory"] == network.weight_bytes
    assert found["peak_memory"] == network.weight_bytes + network.peak_activation_bytes
    assert table.objective(table.dense) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_totals_are_what_the_masks_keep(residual: Network, seed: int) -> None:
    built = built_for(residual)
    choice = random_choice(built, seed)
    params, macs, index = residual.params, residual.macs, 0
    for layer, options, k in zip(residual.sparsifiable, built.table.options, choice, strict=True):
        option = options[k]
        if option.pattern == "dense":
            continue
        gone = int((~pattern(option.pattern).mask(layer, option, seed=1)).sum())
        params -= gone
        macs -= layer.macs * gone // layer.weights
        index += pattern(option.pattern).index_bytes(layer, option)
    found = built.table.totals(choice)
    assert (found["params"], found["macs"]) == (params, macs)
    assert found["weight_memory"] == residual.weight_bytes - 4 * (residual.params - params) + index
    assert found["peak_memory"] == found["weight_memory"] + residual.peak_activation_bytes


def test_energy_is_that_of_what_runs(digits: Network) -> None:
    built = built_for(digits, ("channel", "group"))
    coefficients = load_profile("energy-45nm").energy
    assert coefficients is not None
    choice = random_choice(built, 0)
    expected = 0.0
    for layer, options, k in zip(digits.sparsifiable, built.table.options, choice, strict=True):
        for run, calls in executions(layer, options[k]).items():
            expected += calls * energy_mj(run.macs, run.bytes_moved, coefficients)
    assert built.table.total("energy", choice) == pytest.approx(expected)
    assert any("energy-45nm" in note for note in built.notes)


def test_a_pattern_without_a_kernel_takes_the_dense_time(digits: Network) -> None:
    built = built_for(digits, profile=timed(digits))
    assert built.time_key == "latency"
    for options, column in zip(built.table.options, built.table.costs["latency"], strict=True):
        for option, ms in zip(options, column, strict=True):
            if option.pattern != "group":
                assert ms == column[0], option.label


def test_with_kernels_each_option_takes_its_fastest_time_and_says_by_which_method(digits: Network) -> None:
    profile = timed(digits, have=True)
    built = built_for(digits, profile=profile)
    inner = {name: k for k, name in enumerate(built.table.layers) if len(built.table.options[k]) > 1}
    assert inner
    for name, at in inner.items():
        column, methods = built.table.costs["latency"][at], built.methods[name]
        for option, ms, method in zip(built.table.options[at], column, methods, strict=True):
            assert ms <= column[0] * (1 + 1e-9), option.label
            assert (ms < column[0]) == (method == "direct"), option.label
            nine = len(digits.layer(name).kernel) == 2 and digits.layer(name).kernel != (1, 1)
            if nine and option.pattern in ("block", "n:m", "unstructured"):
                assert method == "dense", "chosen tap by tap"
    built_for_energy = built_for(digits)
    for name, at in inner.items():
        for k, method in enumerate(built.methods[name]):
            energy, masked = built.table.costs["energy"][at][k], built_for_energy.table.costs["energy"][at][k]
            if method == "direct" and built.table.options[at][k].pattern == "channel":
                assert energy < masked, "zeros that are not multiplied cost nothing"


@pytest.mark.parametrize("seed", range(3))
def test_latency_is_that_of_the_profiles_own_prediction(digits: Network, seed: int) -> None:
    profile = timed(digits, ("group",))
    built = built_for(digits, ("group",), profile=profile)
    choice = random_choice(built, seed)
    options = {name: found[k] for name, found, k in zip(built.table.layers, built.table.options, choice, strict=True)}
    assert built.table.total("latency", choice) == pytest.approx(predict_options(digits, profile, options).latency_ms)


def test_a_time_needs_a_profile_of_the_right_settings(digits: Network, residual: Network) -> None:
    with pytest.raises(BudgetError, match=r"budget latency needs a profile; make one with: advisor profile"):
        built_for(digits, wanted=("latency",))
    profile = timed(digits, ("group",))
    with pytest.raises(ProfileError, match="training"):
        built_for(digits, profile=profile, wanted=("training_latency",))
    with pytest.raises(ProfileError, match="batch=1, asked for batch=2"):
        built_for(residual, profile=profile)
    with pytest.raises(BudgetError, match="two profiles"):
        built_for(digits, profile=profile, wanted=("latency", "training_latency"))
    with pytest.raises(ProfileError, match="holds no times"):
        built_for(digits, profile=load_profile("energy-45nm"), wanted=("latency",))


def test_times_that_were_not_measured_are_marked(digits: Network) -> None:
    built = built_for(digits, ("group",), profile=replace(timed(digits, ("group",)), origin="simulated"))
    assert "the times of profile 'synthetic' are simulated, not measured" in built.notes


def test_a_profile_without_times_gives_energy_alone(digits: Network) -> None:
    built = built_for(digits, profile=load_profile("energy-45nm"))
    assert built.time_key is None
    assert "latency" not in built.table.keys


class Tied(nn.Module):
    """Two layers that are one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32)
        self.second = nn.Linear(32, 32)
        self.second.weight = self.first.weight
        self.last = nn.Linear(32, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.last(self.second(self.first(x).relu()).relu()).relu())
        return logits


def test_shared_weights_are_counted_once_and_left_alone() -> None:
    network = advisor.analyze(Tied(), (3, 32))
    table = built_for(network, ("channel",)).table
    assert table.layers == ("last", "head")
    found = table.totals(table.dense)
    assert (found["params"], found["macs"]) == (network.params, network.macs)
    assert found["weight_memory"] == network.weight_bytes


def test_unknown_names_are_refused(digits: Network) -> None:
    with pytest.raises(PatternError, match=r"unknown pattern 'chanel'; did you mean 'channel'"):
        checked_patterns(["chanel"])
    with pytest.raises(PatternError, match="no pattern to choose from"):
        checked_patterns(["dense"])
    with pytest.raises(PatternError, match="expected a list of names"):
        checked_patterns("channel")
    with pytest.raises(PatternError, match="unknown rounding 'floor'"):
        menu(digits, ("channel",), rounding="floor")


def test_ends_stay_dense_unless_asked(digits: Network) -> None:
    ends = ("features.0", "classifier")
    assert all(menu(digits, ("unstructured",)).options[name] == (DENSE,) for name in ends)
    assert len(menu(digits, ("unstructured",), include_ends=True).options["classifier"]) > 1
