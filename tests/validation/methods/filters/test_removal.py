"""Networks without their constant filters compute what they did, and are as small as one counts by hand."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import ModelError, PlanError
from tests.validation.methods.filters.nets import IMAGE, Dense, Grouped, Inception, Mobile, Residual, built, dead, vgg
from validation.methods.filters.compensate import BiasMap
from validation.methods.filters.removal import Removed, remove_filters

X = torch.randn(IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def removed(module: nn.Module, keep=None, x: torch.Tensor = X, *, macs: bool = False) -> Removed:
    """Removes, and checks outputs on an image that the removal has not seen, counts, and what the plan makes."""
    network = advisor.analyze(module, torch.zeros_like(x))
    before = copy.deepcopy(module.state_dict())
    found = remove_filters(network, module, keep)
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), module(x), rtol=0, atol=1e-10)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    narrow = found.plan.apply(module)
    assert sum(p.numel() for p in narrow.parameters()) == found.plan.costs["params"].plan
    assert not macs or advisor.analyze(narrow, torch.zeros_like(x)).macs == found.plan.costs["macs"].plan
    return found


def test_zero_padding_needs_a_map_and_no_padding_does_not() -> None:
    module = dead(vgg(), {"1": [1, 4], "4": [2]}, shift=0.7)
    found = removed(module, macs=True)
    assert found.removed == {"0": (1, 4), "3": (2,)}
    assert found.maps == ("3",)  # 7 has no padding: its share went into the norm behind it
    assert isinstance(found.module[3], nn.Sequential)
    assert isinstance(found.module[3][1], BiasMap)
    kept_in_times_kept_out = 3 * 6 * 9 + 6 * 5 * 9 + 5 * 5 * 9 + 20 * 4
    assert found.plan.costs["params"].plan == kept_in_times_kept_out + 2 * (6 + 5 + 5) + 4
    with pytest.raises(ModelError, match="inputs of the size"):
        found.module(torch.zeros(1, 3, 9, 9, dtype=torch.float64))


def test_dropping_without_the_constant_errs_and_a_bias_alone_errs_at_borders() -> None:
    module = dead(vgg(), {"1": [1, 4]}, shift=0.7)
    found = removed(module)
    with torch.no_grad():
        right = module[:4](X)
        naive = found.plan.apply(module).eval()[:4](X)
        inside = right[..., 1:-1, 1:-1] - naive[..., 1:-1, 1:-1]
        shift = inside.mean((0, 2, 3), keepdim=True)
        torch.testing.assert_close(inside, shift.expand_as(inside), rtol=0, atol=1e-12)
        assert float((right - naive).abs().max()) > 0.05
        borders = (right - naive - shift).abs()
    assert float(borders.max()) > 0.02
    assert float(borders[..., 1:-1, 1:-1].max()) < 1e-12


def test_zero_constants_need_nothing_and_the_state_goes_where_the_plan_goes(tmp_path: Path) -> None:
    module = dead(vgg(), {"1": [0, 3, 7], "4": [1], "8": [0, 4]}, shift=-0.2)
    found = removed(module)
    assert found.removed == {"0": (0, 3, 7), "3": (1,), "7": (0, 4)}
    assert not found.maps
    assert not found.notes
    found.plan.save(tmp_path / "plan.json")
    loaded = advisor.load_plan(tmp_path / "plan.json")
    elsewhere = loaded.apply(vgg()).eval()
    elsewhere.load_state_dict(found.module.state_dict())
    torch.testing.assert_close(elsewhere(X), module(X), rtol=0, atol=1e-10)
    assert {name: mask.shape for name, mask in loaded.masks().items()} == {
        name: mask.shape for name, mask in found.plan.masks(module).items()
    }


def test_a_constant_that_flows_into_a_linear_layer_becomes_its_bias() -> None:
    found = removed(dead(vgg(), {"8": [0, 4]}, shift=0.5))
    assert found.removed == {"7": (0, 4)}
    assert not found.maps
    assert not found.notes
    assert found.module[12].in_features == 3 * 4


def test_filters_of_zero_weights_are_constant_too_and_unread_ones_go() -> None:
    module = vgg()
    with torch.no_grad():
        module[0].weight[2] = 0
        module[7].weight[:, 3] = 0  # nobody reads what filter 3 of layer 3 finds
    assert removed(module).removed == {"0": (2,), "3": (3,)}


def test_constants_behind_constants() -> None:
    """All inputs of a filter are constant, so it is, but its plane has borders: only a map can say it further on."""
    module = dead(vgg(), {"1": [1]}, shift=0.7)
    with torch.no_grad():
        module[3].weight[4] = 0
        module[3].weight[4, 1] = 1.0
    assert removed(module).removed == {"0": (1,), "3": (4,)}


def test_residual_channels_go_where_all_members_are_constant() -> None:
    module = dead(built(Residual), {"norm": [0, 1, 2], "norm_b": [1, 2, 5], "norm_a": [3]}, shift=0.4)
    found = removed(module)
    assert found.removed == {"stem": (1, 2), "b": (1, 2), "a": (3,)}
    assert found.maps == ("a", "b", "last")
    keep = {"stem": [3, 4, 5, 6, 7], "b": [0, 3, 4, 6, 7], "a": [0, 1, 2, 4, 5]}
    asked = removed(module, keep)
    assert asked.removed == found.removed
    assert any("layer stem: 1 of the filters to remove stay: layer last reads it" in note for note in asked.notes)


def test_concatenation_keeps_its_places() -> None:
    module = built(Dense)
    dead(module, {"norm": [0, 7, 12], "norm_b": [0, 7], "norm_a": [0]}, shift=0.6)
    found = removed(module, macs=True)
    assert found.removed == {"stem": (0,), "a": (1,), "b": (2,)}
    assert found.maps == ("a", "b")
    dead(module, {"norm": [3]})  # others still read channel 3
    assert removed(module).removed == found.removed


def test_branches_side_by_side() -> None:
    module = dead(built(Inception), {"norm": [2], "norm_one": [0, 3], "norm_three": [4]}, shift=0.3)
    found = removed(module)
    assert found.removed == {"stem": (2,), "one": (0, 3), "three": (4,)}
    assert "last" in found.maps  # it reads planes that average pooling darkened at the borders


def test_depthwise_filters_go_with_their_input_and_gates_with_a_zero() -> None:
    module = dead(built(Mobile), {"norm_depth": [1, 6]}, shift=-0.1)
    found = removed(module, macs=True)
    assert found.removed == {"up": (1, 6), "depth": (1, 6), "excite": (1, 6)}
    assert (found.module.depth.groups, found.module.squeeze.in_channels) == (6, 6)
    dead(module, {"norm_depth": [1, 6]}, shift=0.1)  # a constant times a gate that varies
    kept = removed(module, {"depth": [0, 2, 3, 4, 5, 7]})
    assert kept.removed == {}
    assert any("layer depth: 2 of the filters to remove stay: layer down reads it" in note for note in kept.notes)


def test_groups_keep_equally_many() -> None:
    module = dead(built(Grouped), {"norm": [0, 1, 5], "norm_b": [2, 6, 7]}, shift=0.5)
    found = removed(module, {"a": [2, 3, 4, 6, 7], "b": [0, 1, 3, 4, 5]})
    assert len(found.removed["a"]) == len(found.removed["b"]) == 2
    assert any("equally many" in note for note in found.notes)
    assert found.module.b[0].groups == 2


def test_one_filter_stays_where_all_are_constant() -> None:
    module = dead(vgg(), {"4": range(6)}, shift=0.2)
    found = removed(module)
    assert found.removed["3"] == (1, 2, 3, 4, 5)


def test_norms_across_channels_count_constants() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.GroupNorm(1, 8), nn.Conv2d(8, 2, 1)).double()
    dead(module.eval(), {"1": [3]}, shift=0.5)
    found = removed(module, {"0": [0, 1, 2, 4, 5, 6, 7]})
    assert found.removed == {}
    assert "a norm across channels counts it" in found.notes[0]


def test_decisions_by_the_data_are_refused() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            out: torch.Tensor = self.b(x if float(x.sum()) > 0 else -x)
            return out

    module = Deciding()
    with pytest.raises(ModelError, match="makes a decision that depends on the input"):
        remove_filters(advisor.analyze(module, torch.zeros(1, 6)), module)


def test_what_the_network_does_not_have_is_refused() -> None:
    module = vgg()
    network = advisor.analyze(module, torch.zeros_like(X))
    with pytest.raises(PlanError, match=r"got layer 'conv' .*expected a layer such as 0, 3, 7"):
        remove_filters(network, module, {"conv": [0]})
    with pytest.raises(PlanError, match="layer 0: got filter 8 to keep, expected 0 to 7"):
        remove_filters(network, module, {"0": [0, 8]})
    with pytest.raises(ModelError, match="meta tensors"):
        remove_filters(network, copy.deepcopy(module).to("meta"))


def test_a_resnet_as_it_comes() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    module = resnet18(num_classes=10).eval()
    norms = {"layer1.0.bn1": range(10), "layer2.1.bn1": range(0, 128, 2), "layer4.0.bn1": range(100), "bn1": [5]}
    dead(module, norms, shift=0.3)
    dead(module, {"layer1.0.bn2": [5], "layer1.1.bn2": [5]}, shift=0.1)
    x = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    network = advisor.analyze(module, torch.zeros_like(x))
    found = remove_filters(network, module)
    gone = {name: len(filters) for name, filters in found.removed.items()}
    assert gone == {
        **{"conv1": 1, "layer1.0.conv1": 10, "layer1.0.conv2": 1, "layer1.1.conv2": 1},
        **{"layer2.1.conv1": 64, "layer4.0.conv1": 100},
    }
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), module(x), rtol=0, atol=1e-5)
    assert sum(p.numel() for p in found.plan.apply(module).parameters()) == found.plan.costs["params"].plan


@pytest.mark.slow
def test_a_timm_network_with_norms_that_activate() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("mobilenetv3_small_050", num_classes=10).double().eval()
    dead(module, {"blocks.1.0.bn1": [0, 3], "blocks.2.0.bn2": [1], "blocks.3.0.bn1": [2]}, shift=0.0)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = removed(module, x=x)
    assert {"blocks.1.0.conv_pw", "blocks.2.0.conv_dw", "blocks.3.0.conv_pw"} <= set(found.removed)


FAMILIES = {"mobilenet_v2": 64, "shufflenet_v2_x1_0": 64, "googlenet": 64, "densenet121": 64, "efficientnet_b0": 64,
            "resnext50_32x4d": 64}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_with_a_fifth_of_their_scales_at_zero(name: str) -> None:
    from advisor.models import load_model

    torch.manual_seed(0)
    loaded = load_model(
        f"torchvision:{name}", device="cpu", input_text=f"1x3x{FAMILIES[name]}x{FAMILIES[name]}", num_classes=10
    )
    module = loaded.module.double().eval()
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        module.train()(
            torch.randn(4, *loaded.example_inputs[0].shape[1:], dtype=torch.float64)
        )  # signals keep their size
        for norm in norms:
            norm.weight[torch.rand(len(norm.weight)) < 0.2] = 0
            norm.bias.uniform_(-0.3, 0.3)
            norm.bias[torch.rand(len(norm.bias)) < 0.5] = 0
    module.eval()
    x = torch.randn(1, 3, FAMILIES[name], FAMILIES[name], dtype=torch.float64)
    found = removed(module, x=x)
    assert sum(map(len, found.removed.values())) > 50
    with torch.no_grad():
        assert float((module(x) - module(x.flip(-1))).abs().max()) > 1e-6  # it still looks at its input
