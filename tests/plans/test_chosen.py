"""Connections chosen by trained weights travel in a safetensors file that nothing else can pass for."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save

from advisor.errors import PlanError
from advisor.plans.plan import Plan, load_plan
from tests.plans.samples import OPTIONS, rewired, small_plan

PLAN = rewired(small_plan(selection="magnitude"), "up")


def saved(folder: Path) -> tuple[Path, Path]:
    PLAN.save(folder / "plan.json")
    return folder / "plan.json", folder / "plan.connections.safetensors"


def test_saved_and_loaded(tmp_path: Path) -> None:
    place, beside = saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.connections.safetensors", "plan.json"]
    named = json.loads(place.read_text())["connections"]
    assert named == {"file": beside.name, "sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}
    loaded = load_plan(place)
    assert loaded == PLAN
    assert loaded.chosen is not None
    assert PLAN.chosen is not None
    assert set(loaded.chosen) == set(OPTIONS)
    for name, mask in PLAN.masks().items():
        assert torch.equal(loaded.masks()[name], mask)
    assert all(np.array_equal(loaded.chosen[name], array) for name, array in PLAN.chosen.items())


def test_the_weights_decide_and_not_the_seed(tmp_path: Path) -> None:
    other = dataclasses.replace(PLAN, layers=tuple(dataclasses.replace(layer, seed=99) for layer in PLAN.layers))
    for name, mask in PLAN.masks().items():
        assert torch.equal(other.masks()[name], mask)


def test_a_renamed_plan_still_finds_them(tmp_path: Path) -> None:
    place, _ = saved(tmp_path)
    assert load_plan(place.rename(tmp_path / "renamed.json")).chosen is not None


def rewrite(place: Path, **changes: Any) -> None:
    document = json.loads(place.read_text())
    document["connections"] |= changes
    place.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "name",
    [
        "../other.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        ".",
        "C:\\x",
        "..\\x",
        "a\0b",
        "\ud800",
        "x" * 255,
    ],
)
def test_refuses_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    place, _ = saved(tmp_path)
    rewrite(place, file=name)
    with pytest.raises(PlanError) as caught:
        load_plan(place)
    assert "\n" not in str(caught.value)


def test_refuses_another_content(tmp_path: Path) -> None:
    place, beside = saved(tmp_path)
    data = bytearray(beside.read_bytes())
    data[-1] ^= 1
    beside.write_bytes(bytes(data))
    with pytest.raises(PlanError, match=r"has SHA-256 .* was written with"):
        load_plan(place)
    beside.unlink()
    with pytest.raises(PlanError, match="is not beside it; copy both files together"):
        load_plan(place)


def test_refuses_a_file_far_too_large(tmp_path: Path) -> None:
    place, beside = saved(tmp_path)
    with beside.open("ab") as stream:
        stream.truncate(10 * 2**30)  # sparse: no disk is used
    with pytest.raises(PlanError, match=r"has 10,737,418,240 bytes, the plan's layers need at most"):
        load_plan(place)


def forge(place: Path, beside: Path, content: bytes) -> None:
    beside.write_bytes(content)
    rewrite(place, sha256=hashlib.sha256(content).hexdigest())


def test_refuses_forged_connections(tmp_path: Path) -> None:
    place, beside = saved(tmp_path)
    good = load_file(beside)

    def without(name: str) -> dict[str, np.ndarray]:
        return {key: array for key, array in good.items() if key != name}

    for content, message in (
        (b"", "is no safetensors file"),
        (b"\xff" * 64, "is no safetensors file"),
        (beside.read_bytes()[:-3], "is no safetensors file"),
        (save(without("up")), "lacks connections of layer 'up'"),
        (save(good | {"nowhere": good["up"]}), "holds unexpected connections of layer 'nowhere'"),
        (save(good | {"up": good["up"][:4]}), "up: bool of shape .* expected bool of shape"),
        (save(good | {"up": good["up"].astype(np.int64)}), "up: int64 of shape"),
        (save(good | {"up": np.ones_like(good["up"])}), "up: 512 kept weights, channel d=0.5 keeps 256"),
    ):
        forge(place, beside, content)
        with pytest.raises(PlanError, match=message) as caught:
            load_plan(place)
        assert "\n" not in str(caught.value)


def test_a_plan_without_its_connections_says_so(tmp_path: Path) -> None:
    lost = dataclasses.replace(PLAN, chosen=None)
    with pytest.raises(PlanError, match="lacks connections of layer 'grouped'"):
        lost.save(tmp_path / "plan.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(PlanError, match=r"layer stem\.0 has chosen connections, but they are missing"):
        lost.masks()


def test_connections_for_a_layer_that_draws_are_refused() -> None:
    plan: Plan = small_plan()
    with pytest.raises(PlanError, match="'up', a layer that has none to choose"):
        dataclasses.replace(plan, chosen={"up": np.ones((8, 16), dtype=bool)}).masks()
