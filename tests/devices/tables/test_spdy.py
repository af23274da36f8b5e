from itertools import pairwise
from pathlib import Path

import pytest

from advisor.devices.predicting.compose import predict_latency
from advisor.devices.tables.convert import kind_of, read_table
from advisor.devices.tables.spdy import from_spdy
from advisor.devices.tables.spdy_lines import parse
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.patterns.option import DENSE
from advisor.planning.make import plan
from advisor.runtime.execution import executions

SHARED = Path(__file__).parents[4] / "shared" / "data" / "spdy"
LEVELS = (0.0, 0.4, 0.6, 0.8, 0.9, 0.95)


def table(network: Network, *, seconds: float = 0.01) -> str:
    lines = ["base", "0.06", "prunable", str(seconds * len(network.sparsifiable))]
    for layer in network.sparsifiable:
        lines += [layer.name, *(f"{seconds * (1 - 0.8 * level):.6f} {level:.4f}" for level in LEVELS)]
    return "\n".join(lines) + "\n"


def test_times_of_named_layers(digits: Network) -> None:
    made = from_spdy(table(digits), "digits_unstr.txt", digits, threads=18, machine="a server")
    assert kind_of(table(digits), "x") == "spdy"
    assert made.settings is not None
    assert made.settings.threads == 18
    dense = next(iter(executions(digits.sparsifiable[1], DENSE)))
    assert made.measurements[dense.key].median_ms == pytest.approx(10.0)
    found = predict_latency(digits, made)
    assert found.latency_ms == pytest.approx(60.0)
    assert found.rest_ms == pytest.approx(10.0)
    thin = [m for m in made.measurements.values() if m.execution.weight_shape == dense.weight_shape]
    assert len(thin) == len(LEVELS)
    for a, b in pairwise(sorted(thin, key=lambda m: m.execution.macs)):
        assert a.median_ms < b.median_ms


def test_block_is_read_from_the_name(digits: Network) -> None:
    made = from_spdy(table(digits), "digits_4block.txt", digits)
    blocks = {m.execution.block for m in made.measurements.values() if m.execution.method == "direct"}
    assert 4 in blocks
    forced = from_spdy(table(digits), "digits_4block.txt", digits, pattern="unstructured")
    assert {m.execution.block for m in forced.measurements.values() if m.execution.method == "direct"} == {1}


def test_a_plan_can_be_made_with_it(digits: Network) -> None:
    made = plan(digits, profile=from_spdy(table(digits), "x.txt", digits), budgets={"latency": "70%"})
    assert made.costs["latency"].plan <= 0.7 * 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: got '', expected 'base'"),
        ("base\n0.1\nprune\n1\n", "row 3: got 'prune', expected 'prunable'"),
        ("base\nx\nprunable\n1\n", "row 2, column seconds of base: got 'x', expected a number above 0"),
        ("base\n1\nprunable\n1\n", "no layer with times"),
        ("base\n1\nprunable\n1\n0.1 0.0\n", "row 5, column layer: got a time before any layer's name"),
        ("base\n1\nprunable\n1\nconv\n0.1 0.0 3\n", "row 6: got 3 words"),
        ("base\n1\nprunable\n1\nconv\n-0.1 0.0\n", "row 6, column seconds: got '-0.1'"),
        (
            "base\n1\nprunable\n1\nconv\n0.1 1.0\n",
            "row 6, column sparsity: got '1.0', expected a number from 0 up to 1",
        ),
        ("base\n1\nprunable\n1\nconv\n0.1 0.0\nconv\n0.1 0.0\n", "row 7, column layer: got 'conv' again"),
        ("base\n1\nprunable\n1\nnosuch\n0.1 0.0\n", "row 5, column layer: unknown layer 'nosuch'"),
    ],
)
def test_a_bad_line_is_named(digits: Network, text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        from_spdy(text, "bad.txt", digits)
    assert f"bad.txt{':' if message.startswith('no ') else ''} {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_needs_a_network(digits: Network, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(table(digits))
    with pytest.raises(ProfileError, match="pass --model"):
        read_table(tmp_path / "t.txt")


def test_names_without_times_at_the_end_are_an_index() -> None:
    found = parse("base\n1\nprunable\n1\nconv\n0.1 0.0\nconv.weight\n", "x")
    assert set(found.layers) == {"conv"}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no third-party tables in {SHARED}")
def test_a_published_file(resnet18: Network) -> None:
    made = read_table(SHARED / "rn18_unstr.txt", network=resnet18)
    whole = next(iter(made.networks.values()))
    assert whole.median_ms == pytest.approx(160.36, abs=0.01)
    assert whole.layers_ms == pytest.approx(155.93, rel=1e-3)
    methods = [m.execution.method for m in made.measurements.values()]
    assert set(methods) == {"dense", "direct"}
