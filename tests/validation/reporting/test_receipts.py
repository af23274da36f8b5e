"""Counting without believing the plan, and timing all in one run."""

import pytest

import advisor
from advisor.devices.profile import load_profile
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.patterns.base import pattern as of_pattern
from advisor.plans.plan import Plan
from advisor.runtime.methods import kernels
from validation.contestants import Contestant
from validation.reporting.receipts import count, time_all


@pytest.mark.parametrize("pattern", ["channel", "group", "block", "n:m", "unstructured", "width"])
def test_the_module_holds_what_the_plan_promised(pattern: str, network: Network) -> None:
    plan = advisor.plan(
        network, budgets={"macs": "30%" if pattern in ("channel", "group") else "60%"}, patterns=[pattern]
    )
    assert {layer.pattern for layer in plan.layers} > {"dense"}
    assert network.module is not None
    found = count(Contestant(label="plan", plan=plan), network.module, network)
    assert found.params == plan.costs["params"].plan
    assert found.macs == plan.costs["macs"].plan
    ran = dict(found.methods)
    assert set(ran) == {layer.name for layer in plan.layers}
    masked = [x for x in plan.layers if x.pattern not in ("dense", "width") and ran[x.name] == "dense"]
    zeros = sum(
        network.layer(x.name).macs - of_pattern(x.pattern).macs(network.layer(x.name), x.option) for x in masked
    )
    assert found.executed_macs == found.macs + zeros, "zeros are multiplied where the dense kernel runs, and only there"
    if pattern == "width":
        assert found.executed_macs == found.macs, "really smaller"
    if pattern in ("block", "n:m", "unstructured"):
        assert set(ran.values()) == {"dense"}, "convolutions of nine taps have no sparse kernel for it"
    if pattern in ("channel", "group") and kernels():
        assert "direct" in ran.values()


def test_a_layer_narrowed_and_sparse_holds_what_the_plan_promised(network: Network) -> None:
    plan = advisor.plan(network, budgets={"macs": "6%"}, patterns=["width+channel"])
    assert "width+channel" in {layer.pattern for layer in plan.layers}
    assert network.module is not None
    found = count(Contestant(label="plan", plan=plan), network.module, network)
    assert found.params == plan.costs["params"].plan
    assert found.macs == plan.costs["macs"].plan


def test_dense_is_counted_as_analysed(network: Network) -> None:
    assert network.module is not None
    found = count(Contestant(label="dense", plan=None), network.module, network)
    assert (found.params, found.macs, found.executed_macs) == (network.params, network.macs, network.macs)


def test_all_are_timed_in_one_run(network: Network, plan: Plan) -> None:
    contestants = (Contestant(label="dense", plan=None), Contestant(label="plan", plan=plan))
    found = time_all(network, contestants, threads=1, seconds=0.05)
    assert found.settings.startswith("cpu, batch 1, 1 thread, float32, inference")
    assert (kernels() or "inference") in found.settings
    dense, thinned = found.by_plan["dense"], found.by_plan["plan"]
    assert dense.repeats == thinned.repeats >= 6
    assert dense.ratio == 1
    for one in (dense, thinned):
        assert 0 < one.low_ms <= one.latency_ms <= one.high_ms
        assert one.ratio_low <= one.ratio <= one.ratio_high


def test_a_profile_of_other_threads_is_refused(network: Network) -> None:
    contestants = (Contestant(label="dense", plan=None),)
    with pytest.raises(ProfileError, match="made with threads=1, asked for threads=2"):
        time_all(network, contestants, profile=load_profile("amd-epyc-resnet50"), threads=2)
