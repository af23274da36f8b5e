"""Which row a product and a parameter belong to."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from advisor.network import Layer
from advisor.trace import analyze
from tests.counting.ways import WAYS, counted, macs_of, params_of


def rows(layers: tuple[Layer, ...]) -> dict[str, tuple[str, int, int]]:
    return {layer.name: (layer.kind, layer.params, layer.macs) for layer in layers}


class Shared(nn.Module):
    """One convolution under two names, used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.again(F.relu(self.first(self.again(x))))


@pytest.mark.parametrize("way", WAYS)
def test_a_shared_layer_counts_its_parameters_once_and_its_macs_each_time(way: str) -> None:
    (layer,) = counted(way, Shared, ((1, 8, 6, 6),)).layers
    assert (layer.name, layer.params, layer.macs) == ("first", 584, 3 * 8 * 36 * 72)
    assert [call.macs for call in layer.calls] == [8 * 36 * 72] * 3
    assert layer.activation_elements == 3 * 8 * 36
    assert layer.weight == "first.weight"


class Tied(nn.Module):
    """A language model's head that is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embedding(x)))


@pytest.mark.parametrize("way", WAYS)
def test_a_tied_weight_has_a_row_at_each_owner_and_is_no_candidate(way: str) -> None:
    result = counted(way, Tied, (torch.zeros(2, 3, dtype=torch.long),))
    assert rows(result.layers) == {
        "embedding": ("embedding", 80, 0),
        "body": ("linear", 72, 6 * 64),
        "head": ("linear", 0, 6 * 80),
    }
    assert [layer.weight for layer in result.layers] == [None, "body.weight", None]
    assert result.notes == ("embedding and head share embedding.weight: it counts once, and no pattern thins it out",)


class Elsewhere(nn.Module):
    """Functional layers whose parameters another module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = nn.ParameterDict(
            {"w": torch.zeros(8, 4, 3, 3), "b": torch.zeros(8), "v": torch.zeros(4, 8, 1, 1), "c": torch.zeros(4)}
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.bank["w"], self.bank["b"], padding=1)
        x = F.conv2d(x, self.bank["v"], self.bank["c"])
        return F.linear(x.mean((2, 3)), self.head.weight, self.head.bias)


@pytest.mark.parametrize("way", WAYS)
def test_functional_layers_belong_to_the_module_that_holds_the_weight(way: str) -> None:
    result = counted(way, Elsewhere, ((2, 4, 6, 6),))
    assert rows(result.layers) == {
        "bank": ("conv2d", 8 * 36 + 8, 2 * 36 * 8 * 36),
        "bank.v": ("conv2d", 32 + 4, 2 * 36 * 32),
        "head": ("linear", 15, 24),
    }
    assert not any(layer.is_module for layer in result.layers)
    assert [layer.weight for layer in result.layers] == ["bank.w", "bank.v", "head.weight"]


class Tokens(nn.Module):
    """Parameters that are no layer: a class token through a norm, a position table, and one that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 4, 8))
        self.unused = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        token = self.norm(self.token).expand(x.shape[0], 1, 8)
        return self.head(torch.cat([token, x + self.position], 1)) * self.scale.exp()


@pytest.mark.parametrize("way", WAYS)
def test_parameters_count_where_they_meet_the_data(way: str) -> None:
    result = counted(way, Tokens, ((2, 4, 8),))
    assert rows(result.layers) == {
        "position": ("parameter", 32, 0),
        "norm": ("layer_norm", 16, 0),
        "token": ("parameter", 8, 0),
        "head": ("linear", 18, 2 * 5 * 16),
        "scale": ("parameter", 1, 0),
    }


def test_parameters_that_nothing_reached_are_said() -> None:
    network = analyze(Tokens(), (2, 4, 8))
    assert network.unreached_params == 12
    assert network.params == sum(p.numel() for p in Tokens().parameters())


@pytest.mark.parametrize("way", WAYS)
def test_parametrised_weights_stay_with_their_layer(way: str) -> None:
    def build() -> nn.Module:
        convolution = parametrizations.weight_norm(nn.Conv2d(4, 8, 3))
        return nn.Sequential(convolution, parametrizations.spectral_norm(nn.Linear(4, 6)))

    result = counted(way, build, ((1, 4, 6, 6),))
    assert rows(result.layers)["0"] == ("conv2d", 8 * 36 + 8 + 8, 8 * 16 * 36)
    assert rows(result.layers)["1"] == ("linear", 24 + 6, 8 * 4 * 24)
    assert params_of(result) == sum(p.numel() for p in build().parameters())
    assert all(layer.weight is None for layer in result.layers)


class Mixer(nn.Module):
    """A weight that is used through einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 8, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhi,hio->bho", x, self.weight)


@pytest.mark.parametrize("way", WAYS)
def test_a_product_with_the_modules_own_parameter_is_the_modules(way: str) -> None:
    result = counted(way, lambda: nn.Sequential(Mixer()), ((2, 4, 8),))
    assert rows(result.layers) == {"0": ("matmul", 192, 2 * 4 * 8 * 6)}


class Merged(nn.Module):
    """A low-rank update merged into a weight on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(8, 8)
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.up.weight @ self.down.weight, self.base.bias)


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_that_is_computed_is_counted_and_is_no_candidate(way: str) -> None:
    result = counted(way, Merged, ((3, 8),))
    assert macs_of(result) == 3 * 64 + 8 * 2 * 8
    assert params_of(result) == 72 + 32
    assert rows(result.layers)["base"] == ("linear", 72, 3 * 64)
    assert next(layer for layer in result.layers if layer.name == "base").weight is None


class Branches(nn.Module):
    """A residual block and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.b(F.relu(self.a(x))) + self.a(x))
        return torch.cat([self.c(y), y], 1)


@pytest.mark.parametrize("way", WAYS)
def test_the_graph_of_layers_is_acyclic_and_shows_where_branches_meet(way: str) -> None:
    graph = counted(way, Branches, ((1, 4, 3, 3),)).graph
    assert nx.is_directed_acyclic_graph(graph)
    assert [node for node, data in graph.nodes(data=True) if data["layer"] and data["of"] == "a"] == ["a"]
    assert {data["kind"] for _, data in graph.nodes(data=True)} == {"conv2d", "add", "cat"}
    assert nx.has_path(graph, "a", "c")
    assert {source for source, _ in graph.in_edges(":add")} == {"a", "b"}
