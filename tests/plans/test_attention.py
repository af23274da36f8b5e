"""Plans that replace attention: their file, how they are applied, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.network import Network
from advisor.plans.apply import apply_plan
from advisor.plans.plan import Plan, load_plan
from advisor.runtime.attention.replace import is_hierarchical
from tests.runtime.attention.networks import Patches, patches

LAYER = "attention:attention"


@pytest.fixture(scope="module")
def small() -> tuple[Patches, Network]:
    return patches(class_token=True)


@pytest.fixture(scope="module")
def plan(small: tuple[Patches, Network]) -> Plan:
    return advisor.plan(small[1], budgets={"macs": "60%"}, patterns=["hierarchical", "channel"], seed=4)


def test_the_file_holds_all_of_it(plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    assert loaded.attention == plan.attention
    assert [layer.option for layer in loaded.layers] == [layer.option for layer in plan.layers]
    item = next(item for item in json.loads((tmp_path / "plan.json").read_text())["layers"] if item["name"] == LAYER)
    (chosen,) = plan.attention
    assert item["kind"] == "attention"
    assert (item["window"], item["pool"]) == (chosen.window, chosen.pool)
    assert item["grid"] == [16, 16]
    assert item["prefix"] == 1


def test_the_applied_network_trains_and_the_given_one_stays(small: tuple[Patches, Network], plan: Plan) -> None:
    module = small[0]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    applied = plan.apply(module)
    assert type(module.attention) is nn.MultiheadAttention
    assert is_hierarchical(applied.attention)
    optimizer = torch.optim.SGD(applied.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn((8, 3, 32, 32), generator=generator), torch.arange(8) % 5
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(applied(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in applied.attention.hierarchy.parameters())
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())


def test_one_plan_gives_one_network(small: tuple[Patches, Network], plan: Plan) -> None:
    x = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = plan.apply(small[0])
    torch.manual_seed(2)
    torch.testing.assert_close(plan.apply(small[0])(x), first(x), rtol=0, atol=0)


def test_a_trained_one_is_made_for_inference(small: tuple[Patches, Network], plan: Plan, tmp_path: Path) -> None:
    applied = plan.apply(small[0])
    with torch.no_grad():
        for parameter in applied.attention.hierarchy.parameters():
            parameter.add_(0.1)
    x = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    plan.save(tmp_path / "plan.json")
    for one in (plan, load_plan(tmp_path / "plan.json")):
        made = apply_plan(one, applied, for_inference=True).module
        torch.testing.assert_close(made(x), applied.eval()(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(PlanError, match="under a plan already"):
        plan.apply(applied)


def test_encoder_layers_leave_their_fused_path() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 16, 2, 2)
            layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=False)
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.encoder(self.embed(x).flatten(2).transpose(1, 2))
            return out

    module = Encoder().eval()
    x = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    network = advisor.analyze(module, (x,), name="encoder")
    plan = advisor.plan(network, budgets={"macs": "80%"}, patterns=["hierarchical"])
    applied = plan.apply(module)
    with torch.no_grad():
        calm = applied(x)
        applied.encoder.layers[0].self_attn.hierarchy.kv.weight.add_(1.0)
        assert not torch.equal(applied(x), calm)  # what was added runs, in evaluation, too
    assert advisor.analyze(plan.apply(module), (x,), name="applied").macs == plan.costs["macs"].plan


def set_to(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda item: item.update({key: value})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (set_to("window", 0), "is less than the minimum of 1"),
        (set_to("window", 1), "window=1 is plain attention"),
        (set_to("density", 0.9), "density 0.9 is not that of hierarchical"),
        (set_to("heads", 3), "3 heads do not divide 16 channels"),
        (set_to("grid", [16]), "layers/6"),
        (set_to("name", "attention.x"), "expected a name that ends with :attention or :matmul"),
        (set_to("weight", "attention.in_proj_weight"), "'weight' was unexpected"),
        (lambda item: item.pop("pool"), "'pool' is a required property"),
    ],
)
def test_bad_files_are_refused(plan: Plan, tmp_path: Path, change: Callable[[dict[str, Any]], None], text: str) -> None:
    document = plan.to_json()
    change(next(item for item in document["layers"] if item["name"] == LAYER))
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError) as caught:
        load_plan(tmp_path / "plan.json")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_networks_are_refused(small: tuple[Patches, Network], plan: Plan) -> None:
    (chosen,) = plan.attention
    elsewhere = replace(plan, attention=(replace(chosen, name="other:attention"),))
    with pytest.raises(PlanError, match="needs a module 'other', the module has none of that name"):
        elsewhere.apply(small[0])
    on_a_layer = replace(plan, attention=(replace(chosen, name="head:attention"),))
    with pytest.raises(PlanError, match="layer head:attention: hierarchical attention: Linear is neither"):
        on_a_layer.apply(small[0])
    with pytest.raises(PlanError, match="is there twice"):
        replace(plan, attention=(chosen, chosen)).apply(small[0])
