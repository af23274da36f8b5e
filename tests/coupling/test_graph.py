"""The graph of channels: who flows into whom, on networks whose answer can be written down."""

import numpy as np
import pytest
import torch
from torch import nn

from advisor.coupling import Edges, LayerUse, channel_graph
from advisor.coupling.graph import aliases_of, walk_ops
from advisor.coupling.groups import width_groups
from advisor.coupling.labels import blocks, reshape, shrink
from advisor.recording import record
from advisor.trace import analyze
from tests.coupling.networks import NETWORKS, build, example


def uses(network):
    return {step.layer: step for step in channel_graph(network).steps if isinstance(step, LayerUse)}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_reads_what_was_made_before(name):
    graph = channel_graph(build(name))
    made = np.zeros(graph.nodes, dtype=bool)
    made[graph.sources] = True
    for step in graph.steps:
        before, after = (step.source, step.target) if isinstance(step, Edges) else (step.inputs, step.outputs)
        assert made[before].all()
        made[after] = True
    assert made.all()
    assert len(graph.sinks)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_use_has_all_channels_of_its_layer(name):
    network = build(name)
    found = uses(network)
    for layer in network.sparsifiable:
        assert len(found[layer.name].inputs) == layer.in_channels
        assert len(found[layer.name].outputs) == layer.out_channels


def test_flatten_repeats_each_channel_for_each_place():
    found = uses(build("flatten"))
    np.testing.assert_array_equal(found["b"].inputs, np.repeat(found["a"].outputs, 16))


def test_concat_and_chunk_put_channels_side_by_side():
    found = uses(build("concat"))
    np.testing.assert_array_equal(found["c"].inputs, [*found["a"].outputs, *found["b"].outputs])
    found = uses(build("split"))
    np.testing.assert_array_equal(found["b"].inputs, found["a"].outputs[16:])


def test_shuffle_deals_the_groups_out_in_turn():
    found = uses(build("shuffle"))
    expected = np.stack([found["b"].outputs[:16], found["b"].outputs[16:]], axis=1).ravel()
    np.testing.assert_array_equal(found["c"].inputs, expected)


def test_a_residual_add_joins_channel_by_channel():
    network = build("residual")
    found, coupling = uses(network), network.coupling
    joined = [step for step in coupling.graph.steps if isinstance(step, Edges) and step.tie]
    np.testing.assert_array_equal(np.sort(joined[0].source), np.sort(found["a"].outputs))
    np.testing.assert_array_equal(np.sort(joined[1].source), np.sort(found["c"].outputs))
    np.testing.assert_array_equal(
        coupling.class_of[found["a"].outputs], coupling.class_of[found["c"].outputs]
    )  # fmt: skip


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "reshape"])
def test_a_recorded_run_ties_the_same_channels(name):
    network = build(name)
    graph = record(network.module, (example(name),))
    walker = walk_ops(graph, network.sparsifiable, aliases_of(network.module))
    coupling = width_groups(network, walker)
    recorded = {step.layer: step for step in walker.steps if isinstance(step, LayerUse)}
    for layer, use in uses(network).items():
        for side in ("inputs", "outputs"):
            classes = network.coupling.class_of[getattr(use, side)]
            again = coupling.class_of[getattr(recorded[layer], side)]
            pairs = np.unique(np.stack([classes, again]), axis=1)
            assert pairs.shape[1] == len(np.unique(classes)) == len(np.unique(again))
    assert [group.name for group in coupling.groups] == [group.name for group in network.coupling.groups]


def test_attention_is_frozen_and_says_so():
    encoder = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, dropout=0.0).eval()
    coupling = analyze(nn.Sequential(nn.Linear(5, 16), encoder, nn.Linear(16, 3)), (2, 7, 5)).coupling
    heads = coupling.groups[coupling.of("1.self_attn")[1]]
    assert "multiplies channels" in heads.frozen or "runs inside" in heads.frozen


def test_the_fused_encoder_is_frozen_as_a_whole():
    encoder = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, dropout=0.0).eval()
    module = nn.Sequential(nn.Linear(5, 16), encoder, nn.Linear(16, 3)).eval()
    network = analyze(module, (2, 7, 5))
    walker = walk_ops(record(module, (torch.randn(2, 7, 5),)), network.sparsifiable, aliases_of(module))
    assert any("_transformer_encoder_layer_fwd" in op.target for op in walker.graph.ops)
    assert all(group.frozen for group in width_groups(network, walker).groups)


def test_an_unknown_operator_freezes_what_it_reads():
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(self.a(x).sort(1)[0])

    groups = {g.name: g.frozen for g in analyze(Sorted(), (3, 4)).coupling.groups}
    assert "sort" in groups["a"]


def test_writing_into_a_part_freezes_both():
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(4, 4), nn.Linear(8, 2)

        def forward(self, x):
            y = self.a(x)
            y[:, :4] += self.b(x)
            return self.c(y)

    coupling = analyze(Written(), (3, 4)).coupling
    assert all(coupling.groups[coupling.of(layer)[1]].frozen for layer in ("a", "b"))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((2, 3, 4), (6, 4), [([0, 1], [0]), ([2], [1])]),
        ((1, 6, 4), (1, 2, 3, 4), [([1], [1, 2]), ([2], [3])]),
        ((4, 1, 6), (2, 2, 6), [([0], [0, 1]), ([2], [2])]),
        ((4, 6), (6, 4), [([0, 1], [0, 1])]),
    ],
)
def test_blocks_of_a_reshape(before, after, expected):
    assert blocks(before, after) == expected


def test_reshaped_labels_name_the_same_elements():
    generator = np.random.Generator(np.random.PCG64(0))
    for before, after in [((2, 6, 4), (12, 4)), ((2, 6, 4), (2, 24)), ((2, 24), (2, 3, 8)), ((4, 6), (8, 3))]:
        for axis in range(len(before)):
            sizes = [before[a] if a == axis else 1 for a in range(len(before))]
            labels = generator.integers(0, 99, sizes)
            got = np.broadcast_to(reshape(labels, before, after), after)
            np.testing.assert_array_equal(got, np.broadcast_to(labels, before).reshape(after))


def test_shrinking_keeps_what_varies():
    labels = np.broadcast_to(np.arange(3)[None, :, None], (2, 3, 4))
    assert shrink(labels).shape == (1, 3, 1)
    assert shrink(np.zeros((2, 2), dtype=np.int64)).shape == (1, 1)
