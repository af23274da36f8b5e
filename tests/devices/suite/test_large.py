from itertools import islice, pairwise

import pytest
import torch
from torch import nn

from advisor.devices.model.law import weight_bytes
from advisor.devices.steps.record import record_steps
from advisor.devices.suite import thin
from advisor.devices.suite.designs import LARGE, kinds, large_kinds, order, piece
from advisor.devices.suite.grower import Draw
from advisor.devices.suite.large import headed, large, linear
from advisor.devices.suite.measure import _runs
from advisor.devices.suite.thin import thinned

DRAWN = 120
KINDS = len(kinds()) + len(large_kinds())


def test_linear_layers_reach_beyond_those_that_networks_have() -> None:
    """VGG's is 25088 x 4096 at batch 1 and 8; each size up to it is drawn again and again."""
    seen = []
    for number in range(DRAWN):
        with torch.device("meta"):
            built = headed(Draw(LARGE + 2 * number + 1), 1, 1e8, False)
        layers = [m for m in built.module.modules() if isinstance(m, nn.Linear)]
        assert len(layers) == 3
        assert [a.out_features for a in layers[:-1]] == [b.in_features for b in layers[1:]]
        seen.append(layers[0].weight.numel())
    assert max(seen) > 0.9 * 25088 * 4096
    assert sum(weights > 3e7 for weights in seen) > DRAWN // 8, "there, no cache holds it"
    assert sum(weights < 5e6 for weights in seen) > DRAWN // 8
    assert max(seen) < 1.2e8, "half a gigabyte"


def test_convolutions_are_as_large_as_in_vgg_and_no_piece_is_much_larger() -> None:
    most = 0.0
    for number in range(DRAWN // 3):
        with torch.device("meta"):
            built = large(Draw(LARGE + 2 * number), 1, 2e9, False)
            steps = record_steps(built.module.eval(), (torch.zeros(built.shape),)).steps
        each = [step.macs for step in steps if step.target == "conv2d"]
        most = max(most, *each)
        assert max(each) < 2.3e9
        assert sum(each) < 6e9
    assert most > 0.75 * 9 * 512 * 512 * 28 * 28


@pytest.mark.parametrize("batch", [1, 8])
def test_a_classifier_s_weights_are_told_from_what_else_it_reads(batch: int) -> None:
    module = nn.Linear(64, 32)
    (step,) = record_steps(module, (torch.zeros(batch, 64),)).steps
    assert weight_bytes(step) == 4 * 64 * 32
    assert step.read_bytes == weight_bytes(step) + 4 * (32 + batch * 64)


def test_numbers_come_in_turn_and_keep_their_networks() -> None:
    numbers = [number for number, _ in islice(order(), 3 * KINDS)]
    assert numbers[:14] == [*range(12), LARGE, LARGE + 1]
    assert numbers[14:28] == [*range(12, 24), LARGE + 2, LARGE + 3]
    assert len(set(numbers)) == len(numbers)
    assert piece(12).kind == piece(0).kind == "plain"
    assert piece(LARGE + 18).kind == "large"


@pytest.mark.parametrize("counts", [(1,), (1, 2)])
def test_every_kind_is_measured_in_training_under_every_number_of_threads(counts: tuple[int, ...]) -> None:
    seen: dict[tuple[str, int, bool], set[int]] = {}
    for place, (_, turn) in enumerate(islice(order(), 10 * KINDS)):
        for run in _runs(turn, counts, True):
            seen.setdefault(run, set()).add(place % KINDS)
    everything = set(range(KINDS))
    for threads in counts:
        for variant in ("dense", "sparse"):
            assert seen[variant, threads, False] == everything
            assert seen[variant, threads, True] == everything


def test_a_large_layer_keeps_lists_that_are_ascending_and_as_long_as_asked(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thin, "_DRAWN", 1)
    monkeypatch.setattr(thin, "_SHARE", 1.0)
    module = nn.Sequential(nn.Linear(1000, 96))
    made = thinned(module, torch.randn(2, 1000), 4)
    assert made is not None
    (layer,) = made
    indptr, inputs = layer.indptr.tolist(), layer.inputs.tolist()
    lists = [inputs[a:b] for a, b in pairwise(indptr)]
    assert all(one == sorted(set(one)) for one in lists)
    assert min(map(min, lists)) >= 0
    assert max(map(max, lists)) < 1000
    assert len({len(one) for one in lists}) == 1
    x = torch.randn(2, 1000)
    with torch.inference_mode():
        assert torch.allclose(made(x), layer.to_dense()(x), atol=1e-4)


def test_a_linear_layer_is_filled_to_its_end() -> None:
    torch.manual_seed(0)
    made = linear(1500, 1000).requires_grad_(False)
    assert float(made.weight.abs().max()) <= 1500**-0.5
    assert float((made.weight == 0).float().mean()) < 0.01
    assert made.weight.std(dim=1).min() > 0.3 * 1500**-0.5
