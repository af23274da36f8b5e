from dataclasses import replace

import pytest

from advisor.devices.cuda.candidates import _groups, _named, gpu_candidates
from advisor.devices.cuda.facts import facts_of
from advisor.devices.cuda.ways import WAYS, gpu_ways, layer_ways, option_way
from advisor.errors import DeviceError, KernelError
from advisor.network import Layer, Network
from advisor.patterns.base import pattern, pattern_names
from advisor.patterns.option import Option
from tests.devices.cuda.conftest import H100, V100, conv, linear, needs_gpu


def named(ways, way: str):  # type: ignore[no-untyped-def]
    return next(item for item in ways if item.way == way)


def test_every_way_has_a_kernel_or_a_reason() -> None:
    for facts in (H100, V100):
        for number in ("fp32", "tf32", "fp16", "bf16"):
            found = gpu_ways(facts, number)  # type: ignore[arg-type]
            assert tuple(item.way for item in found) == WAYS
            assert all(bool(item.kernel) != bool(item.reason) for item in found)
            assert all(item.reason in item.text for item in found)


def test_what_a_gpu_has() -> None:
    assert all(item.kernel for item in gpu_ways(H100, "fp16"))
    assert named(gpu_ways(H100, "fp16"), "2:4").kernel.endswith("(cuSPARSELt)")
    assert named(gpu_ways(replace(H100, cusparselt=False), "fp16"), "2:4").kernel.endswith("(CUTLASS)")
    assert "fp16 and bf16, asked for tf32" in named(gpu_ways(H100, "tf32"), "2:4").reason
    assert "no sparse tensor cores" in named(gpu_ways(V100, "fp16"), "2:4").reason
    assert named(gpu_ways(V100, "fp16"), "triton").text == "triton: no kernel, too old"
    assert all("bf16 needs 8.0" in item.reason for item in gpu_ways(V100, "bf16"))
    assert named(gpu_ways(V100), "narrower").kernel


def test_what_a_layer_has() -> None:
    three = layer_ways(conv(), H100, "fp16")
    assert named(three, "triton").kernel
    assert "9 taps" in named(three, "2:4").reason
    assert "9 taps" in named(three, "bsr").reason
    one = layer_ways(conv(kernel=1), H100, "fp16")
    assert named(one, "2:4").kernel
    assert named(one, "bsr").kernel
    assert "multiples of 32" in named(layer_ways(linear(outputs=40), H100, "fp16"), "2:4").reason
    assert "no groups" in named(layer_ways(linear(), H100), "grouped").reason
    assert "not a multiple of 16" in named(layer_ways(linear(outputs=40), H100), "gather").reason


def options(layer: Layer) -> list[Option]:
    found = [
        option for name in pattern_names() if name not in ("dense", "width") for option in pattern(name).options(layer)
    ]
    assert found
    return found


def test_every_pattern_of_a_network_has_a_way_or_a_reason(mobilenet: Network) -> None:
    layer = next(x for x in mobilenet.sparsifiable if x.kernel == (1, 1) and x.out_channels % 32 == 0)
    seen = set()
    for option in options(layer):
        way = option_way(layer, option, H100, "fp16")
        assert bool(way.kernel) != bool(way.reason)
        seen.add((option.pattern, bool(way.kernel)))
    assert ("group", True) in seen
    assert ("unstructured", False) in seen
    assert ("channel", False) in seen
    assert ("block", False) in seen  # 4x1 and 4x4: narrower than any tile
    assert option_way(layer, Option(pattern="width", density=0.5, parameters={}), H100).kernel
    square = Option(pattern="block", density=0.5, parameters={"rows": 32, "columns": 32})
    assert option_way(layer, square, H100, "fp16").way == "bsr"
    wide = next(o for o in options(layer) if o.pattern == "group" and o.parameters["block"] >= 16)
    assert option_way(layer, wide, V100).way == "gather"


def test_executions_of_the_ways_that_have_a_name() -> None:
    dense = conv(64, 128)
    assert _named("narrower", dense, 0.25, 16).weight_shape == (64, 32, 3, 3)
    assert _named("grouped", dense, 0.25, 16).groups == 4
    for way in ("gather", "direct"):
        thin = _named("gather" if way == "gather" else "triton", dense, 0.25, 16)
        assert thin.method == way
        assert thin.macs == dense.macs // 4
    with pytest.raises(KernelError, match="no number of groups"):
        _groups(conv(7, 5), 0.5)
    with pytest.raises(KernelError, match="expected a dense layer"):
        gpu_candidates(_named("gather", dense, 0.25, 16), H100)


def test_ways_without_a_kernel_are_stated_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with a GPU's facts: what needs one says so, what torch can do anywhere runs."""
    found = {item.way: item for item in gpu_candidates(linear(), H100, number="fp32", device="cpu", density=0.25)}
    assert set(found) == set(WAYS) - {"zeros"}
    assert found["narrower"].call is not None
    assert found["gather"].call is not None
    assert found["gather"].density == pytest.approx(0.25)
    assert found["gather"].call().shape == (32, 64)
    assert found["2:4"].call is None
    assert "fp16" in found["2:4"].problem


def test_no_gpu_no_facts() -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            facts_of("cuda")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("execution", [conv(), conv(64, 128, 1), linear(256, 128, 64)], ids=lambda e: e.key)
@pytest.mark.parametrize("number", ["fp32", "fp16", "bf16"])
def test_candidates_run_on_a_gpu(execution, number: str) -> None:  # type: ignore[no-untyped-def]
    facts = facts_of("cuda")
    for item in gpu_candidates(execution, facts, number=number, density=0.5):  # type: ignore[arg-type]
        assert (item.call is None) == bool(item.problem), item
        if item.call is not None:
            assert bool(item.call().isfinite().all()), item.way
    expected = {way.way for way in layer_ways(execution, facts, number) if way.kernel}  # type: ignore[arg-type]
    ran = {item.way for item in gpu_candidates(execution, facts, number=number) if item.call}  # type: ignore[arg-type]
    assert ran >= expected - {"zeros", "bsr", "2:4"}
