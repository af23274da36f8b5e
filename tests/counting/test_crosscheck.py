"""Other counters beside ours: equal where they see the same, and a reason where they do not."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from advisor.counting.crosscheck import CrossCheck, cross_check
from advisor.trace import analyze


def check(build: type[nn.Module] | nn.Module, *shape: int, device: str = "cpu") -> CrossCheck:
    with torch.device(device):
        module = build() if isinstance(build, type) else build
    return cross_check(analyze(module, shape))


class Small(nn.Module):
    """A convolution, a norm, a pool and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.pool(self.norm(self.conv(x))).flatten(1))}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_plain_networks_agree_and_norms_are_told_apart(device: str) -> None:
    result = check(Small, 2, 3, 8, 8, device=device)
    macs = 2 * 8 * 36 * 27 + 2 * 40
    assert result.macs == macs
    assert [counter.macs for counter in result.counters] == [macs, macs]
    fvcore, torchs = result.counters
    assert set(fvcore.extra) == {"batch_norm", "adaptive_avg_pool2d"}
    assert fvcore.ran_on == "cpu"  # it cannot trace meta tensors, so it got a copy
    assert torchs.ran_on == device
    assert {row.module: (row.macs, row.fvcore, row.torch) for row in result.modules} == {
        "conv": (macs - 80,) * 3,
        "head": (80,) * 3,
    }
    assert all(row.agrees and not row.reasons for row in result.modules)
    assert "2 of 2 modules with products agree" in result.to_text()


def test_fused_attention_is_named_as_what_the_others_miss() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    result = check(Attend, 2, 5, 16)
    (row,) = result.modules
    assert (row.macs, row.fvcore, row.torch) == (10 * 4 * 256 + 2 * 2 * 25 * 16, 0, 0)
    assert row.reasons == (
        "fvcore does not count _native_multi_head_attention x1",
        "torch does not count _native_multi_head_attention x1",
    )
    document = json.loads(json.dumps(result.to_json()))
    assert [counter["difference"] for counter in document["counters"]] == [-result.macs] * 2
    assert document["counters"][0]["does_not_count"] == {"_native_multi_head_attention": 1}
    assert document["modules"][0]["module"] == "attention"
    assert "does not count _native_multi_head_attention" in result.to_text()


def test_einsum_is_rounded_by_fvcore() -> None:
    class Mix(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bij,bkj->bik", x, x)

    network = analyze(Mix(), (3, 61, 67))
    assert [op.target for op in network.ops.ops] == ["aten.einsum.default"], network.notes
    result = cross_check(network)
    (row,) = result.modules
    assert row.torch == row.macs == 3 * 61 * 61 * 67
    assert row.fvcore != row.macs
    assert row.reasons == ("fvcore reads einsum off NumPy's printed path, which is rounded to four digits",)


def test_a_counter_that_fails_says_why() -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not for TorchScript")
            return self.linear(x)

    result = check(Untraceable, 2, 4)
    fvcore, torchs = result.counters
    assert fvcore.macs is None
    assert "not for TorchScript" in fvcore.failure
    assert torchs.macs == result.macs == 32
    assert "fvcore   failed: " in result.to_text()
    assert result.modules[0].agrees


def test_a_shared_layer_is_one_module() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = self.a

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    (row,) = check(Shared, 2, 4).modules
    assert (row.module, row.macs, row.fvcore, row.torch) == ("a", 64, 64, 64)


def test_the_module_is_left_as_it_was() -> None:
    module = Small().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    check(module, 2, 3, 8, 8)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
