import json
from typing import Any

import pytest
import torch

from advisor.devices.predicting.verify import Receipt, predict_latency, verify_latency
from advisor.devices.profile import Profile
from advisor.errors import DeviceError, PlanError, ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.plans.plan import CostLine, Plan, PlanLayer
from advisor.trace import analyze
from tests.devices.conftest import network_of
from tests.devices.synthetic import all_executions, profile_of

GROUP = Option(pattern="group", density=0.125, parameters={"block": 32})


def plan_of(network: Network, options: dict[str, Option]) -> Plan:
    return Plan(
        model=network.name,
        input_shapes=network.input_shapes,
        layers=tuple(
            PlanLayer.of(layer, options.get(layer.name, DENSE), seed=i) for i, layer in enumerate(network.sparsifiable)
        ),
        costs={"params": CostLine(dense=float(network.params), plan=float(network.params))},
        objective=0.0,
        bound=0.0,
        gap=0.0,
        solve_seconds=0.0,
        status="baseline",
        sensitivity="uniform",
        patterns=("group",),
        seed=0,
        network=network,
    )


@pytest.fixture(scope="module")
def plan(digits: Network) -> Plan:
    return plan_of(digits, {"features.8": GROUP, "features.12": GROUP})


@pytest.fixture(scope="module")
def profile(digits: Network, plan: Plan) -> Profile:
    options = {layer.name: (layer.option,) for layer in plan.layers}
    return profile_of(digits, all_executions(digits, options).values())


def test_dense_alone(digits: Network, profile: Profile) -> None:
    before = torch.get_num_threads()
    receipt = verify_latency(digits, profile, seconds=0.2)
    assert torch.get_num_threads() == before
    assert receipt.measured_ms == receipt.dense_ms > 0
    assert receipt.ratio == 1.0
    assert receipt.settings == "cpu, batch 1, 1 thread, float32, inference"  # the profile's threads
    assert receipt.repeats >= 6


def test_the_plan_beside_the_dense_network(
    digits: Network, profile: Profile, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from advisor.devices.measuring import in_turn

    taken: dict[str, Any] = {}
    real = in_turn.time_interleaved

    def spy(calls: Any, **options: Any) -> Any:
        taken.update(calls)
        return real(calls, **options)

    monkeypatch.setattr(in_turn, "time_interleaved", spy)
    receipt = verify_latency(digits, profile, plan, seconds=0.2)
    assert set(taken) == {"dense", "plan"}
    assert receipt.low_ms <= receipt.measured_ms <= receipt.high_ms
    assert receipt.ratio_low is not None
    assert receipt.ratio_high is not None
    assert receipt.ratio_low <= receipt.ratio <= receipt.ratio_high
    assert not torch.allclose(taken["dense"](), taken["plan"]())  # another network really ran
    predicted = predict_latency(digits, profile, plan)
    assert predicted.origin == "predicted"
    assert predicted.latency_ms < predict_latency(digits, profile).latency_ms


def test_both_are_timed_as_they_are_deployed(digits: Network, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from advisor.devices.measuring import in_turn

    modules: list[torch.nn.Module] = []
    real = in_turn.forward_call
    monkeypatch.setattr(
        in_turn, "forward_call", lambda module, inputs: (modules.append(module), real(module, inputs))[1]
    )
    verify_latency(digits, None, plan, seconds=0.05, threads=1)
    assert len(modules) == 2
    for module in modules:
        assert not module.training
        assert not any(isinstance(child, torch.nn.BatchNorm2d) for child in module.modules())


def test_training(digits: Network, plan: Plan) -> None:
    receipt = verify_latency(digits, None, plan, training=True, seconds=0.1, threads=1)
    assert receipt.settings.endswith("training")
    assert receipt.measured_ms > 0


def test_a_network_without_memory_is_timed_with_made_up_weights() -> None:
    assert verify_latency(network_of("zoo:digits_cnn"), seconds=0.05, threads=1).measured_ms > 0


def test_other_settings_are_refused(digits: Network, profile: Profile) -> None:
    with pytest.raises(ProfileError, match="made with threads=1, asked for threads=2"):
        verify_latency(digits, profile, threads=2)
    with pytest.raises(ProfileError, match="made with training=False, asked for training=True"):
        verify_latency(digits, profile, training=True)
    with pytest.raises(ProfileError, match="made with device=cpu, asked for device=cuda"):
        verify_latency(digits, profile, device="cuda")
    with pytest.raises(DeviceError, match="unknown device"):
        verify_latency(digits, device="tpu")


class Held(torch.nn.Module):
    """Keeps its convolution in a list, too, so that nothing may take its place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 16, 3)
        self.aside = [self.conv]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.aside[0](x)
        return found


def test_what_runs_otherwise_than_planned_is_told() -> None:
    network = analyze(Held(), (torch.zeros(1, 8, 6, 6),), name="held")
    option = Option(pattern="group", density=0.5, parameters={"block": 4})
    receipt = verify_latency(network, None, plan_of(network, {"conv": option}), seconds=0.02, threads=1)
    assert "masked instead of sparse: another module keeps a reference" in receipt.notes[0]
    assert verify_latency(network, seconds=0.02, threads=1).notes == ()


def test_a_plan_of_another_network_is_refused(digits: Network, resnet18: Network) -> None:
    with pytest.raises(PlanError, match="unknown layer"):
        verify_latency(digits, None, plan_of(resnet18, {}))


def test_json_does_not_overwrite_the_prediction(digits: Network, profile: Profile, plan: Plan) -> None:
    receipt = Receipt(measured_ms=2.0, low_ms=1.9, high_ms=2.1, dense_ms=4.0, ratio=0.5)
    document = json.loads(json.dumps(receipt.to_json()))
    assert document["measured_ms"] == 2.0
    assert (document["measured_low_ms"], document["measured_high_ms"]) == (1.9, 2.1)
    assert (document["dense_ms"], document["ratio"]) == (4.0, 0.5)
    assert not set(document) & set(predict_latency(digits, profile, plan).to_json())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_verified_the_same_way(digits: Network, plan: Plan) -> None:
    receipt = verify_latency(digits, None, plan, device="cuda", seconds=1.0)
    assert receipt.settings.startswith("cuda")
    assert receipt.measured_ms > 0
