"""An applied network is counted as what it is: its kept weights, once for every place of the output."""

import pytest
import torch
from torch import nn

import advisor
from advisor.network import Network
from advisor.patterns.option import Option
from advisor.runtime.connections import Connections
from advisor.runtime.sparse import sparse
from tests.plans.samples import plan_of


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(8, 16, (3, 5), stride=(2, 1), padding=1, groups=2)
        self.point = nn.Conv2d(16, 12, 1, bias=False)
        self.line = nn.Conv1d(12, 8, 3)
        self.head = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.line(self.point(self.wide(x).relu()).flatten(2))
        out: torch.Tensor = self.head(x.transpose(1, 2))
        return out


CHOICES = {name: Option(pattern="channel", density=0.5) for name in ("wide", "point", "line", "head")}


@pytest.fixture(scope="module")
def dense() -> Network:
    return advisor.analyze(Net(), torch.zeros(3, 8, 9, 11), name="net")


def test_macs_and_parameters_are_those_of_the_kept_weights(dense: Network) -> None:
    assert dense.module is not None
    plan = plan_of(dense, CHOICES)
    found = advisor.analyze(plan.apply(dense.module), torch.zeros(3, 8, 9, 11))
    assert found.unsupported_ops == {}
    masks = plan.masks()
    by_name = {layer.name: layer for layer in found.layers}
    for layer in dense.sparsifiable:
        kept = int(masks[layer.name].sum())
        assert by_name[layer.name].macs == layer.macs * kept // layer.weights, layer.name
        assert by_name[layer.name].params == layer.params - (layer.weights - kept), layer.name
        assert by_name[layer.name].output_shape[-1] >= 1
    assert found.macs == sum(layer.macs for layer in by_name.values())
    assert found.sparsifiable == (), "what is sparse already is not thinned out again"


def test_a_block_without_inputs_multiplies_nothing() -> None:
    lists = Connections.of([0, 2, 2], [1, 3], 4)
    module = nn.Sequential(sparse(nn.Linear(5, 8), lists.indptr, lists.inputs, lists.block))
    found = advisor.analyze(module, torch.zeros(7, 5))
    assert (found.macs, found.params) == (7 * 2 * 4, 2 * 4 + 8)
    assert [layer.kind for layer in found.layers] == ["sparse_linear"]
