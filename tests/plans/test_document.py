"""Plan files: what was written comes back, and whatever else someone wrote ends in one line."""

import copy
import dataclasses
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.errors import AdvisorError, PlanError
from advisor.patterns.option import Option
from advisor.plans.document import from_document, schema, to_document
from advisor.plans.plan import PlanLayer, load_plan
from tests.plans.samples import rewired, small_plan

PLAN = small_plan()
DOCUMENT = json.loads(json.dumps(to_document(rewired(PLAN, "up"))))


def test_saved_and_loaded(tmp_path: Path) -> None:
    plan = rewired(PLAN, "up")
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    assert loaded == plan, "all but the analysis and the chosen connections"
    assert loaded.network is None
    assert loaded.chosen is None
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_the_contract_of_the_file() -> None:
    document = PLAN.to_json()
    assert document["schema"] == "sparsity-advisor/plan-1"
    assert document["input"] == [[2, 4, 8, 8]]
    assert document["costs"]["params"].keys() == {"dense", "plan", "budget"}
    assert document["costs"]["latency"].keys() == {"dense", "plan", "low", "high"}
    layer = next(layer for layer in document["layers"] if layer["name"] == "point")
    assert (layer["pattern"], layer["density"], layer["n"], layer["m"]) == ("n:m", 0.5, 2, 4)
    assert layer["weight"] == "point.weight"
    assert layer["weight_shape"] == [8, 8, 1, 1]
    json.dumps(document, allow_nan=False)


def test_the_published_schema_is_a_schema_and_accepts_what_we_write() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(DOCUMENT, schema())


def test_the_method_that_a_profile_found_stands_in_the_file_and_older_plans_have_none(tmp_path: Path) -> None:
    recorded = {"stem.0": "direct", "grouped": "gather", "up": "dense", "point": "direct", "head": "packed"}
    layers = tuple(dataclasses.replace(layer, method=recorded.get(layer.name)) for layer in PLAN.layers)
    plan = dataclasses.replace(PLAN, layers=layers)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    written = json.loads((tmp_path / "plan.json").read_text())["layers"]
    assert {layer["name"]: layer["method"] for layer in written} == recorded
    assert all("method" not in layer for layer in DOCUMENT["layers"])
    assert {layer.method for layer in from_document(DOCUMENT, "old").layers} == {None}


@pytest.mark.parametrize(
    ("name", "method", "says"),
    [
        ("up", "direct", "layer up: a conv_transpose2d with pattern 'channel' cannot run by method 'direct'"),
        ("head", "gather", "layer head: a linear with pattern 'unstructured' cannot run by method 'gather'"),
        ("head", "magic", "'magic' is not one of"),
    ],
)
def test_a_method_that_cannot_run_the_layer_is_refused(name: str, method: str, says: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    next(layer for layer in document["layers"] if layer["name"] == name)["method"] = method
    with pytest.raises(PlanError) as error:
        from_document(document, "p.json")
    assert says in str(error.value)


def test_no_bound_is_null(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, status="baseline", bound=math.nan, gap=math.nan)
    plan.save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["bound"] is None
    loaded = load_plan(tmp_path / "plan.json")
    assert math.isnan(loaded.bound)
    assert math.isnan(loaded.gap)


def change(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    place: Any = changed
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        place = place[part]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "sparsity-advisor/plan-2", "plan-1"),
        ("seed", -1, "minimum"),
        ("seed", 10**400, "maximum"),
        ("objective", "0.5", "not of type 'number'"),
        ("objective", 10**400, "too large"),
        ("gap", -0.1, "minimum"),
        ("status", "perfect", "not one of"),
        ("extra", 1, "Additional properties"),
        ("layers/0/density", 0, "minimum"),
        ("layers/0/density", 1e9, "maximum"),
        ("layers/0/density", True, "not of type 'number'"),
        ("layers/0/pattern", "chanel", "did you mean 'channel'"),
        ("layers/0/pattern", "unstructured", "expected none"),
        ("layers/0/block", 3, "block 3 does not divide the 8 outputs"),
        ("layers/0/block", 2**31, "maximum"),
        ("layers/0/weight_shape", [8, 2**31 - 1, 2**20, 2**20], "are more than"),
        ("layers/0/weight_shape", [8, 4], "has a weight of 4 sizes"),
        ("layers/0/weight_shape", [8, 0, 3, 3], "minimum"),
        ("layers/0/weight", "", "non-empty"),
        ("layers/0/groups", 3, "3 groups do not fit"),
        ("layers/0/seed", 2**32, "maximum"),
        ("layers/0/kind", "conv4d", "not one of"),
        ("layers/0/selection", "chosen", "not one of"),
        ("layers/0/selection", "magnitude", "names no file"),
        ("layers/1/name", "stem.0", "'stem.0' is there twice"),
        ("layers/1/weight", "stem.0.weight", "both thin out stem.0.weight"),
        ("layers/2/rewired", [[8, 0, 1]], "outside 8 rows of 16 inputs"),
        ("layers/2/rewired", [[0, 0, 16]], "outside 8 rows of 16 inputs"),
        ("layers/2/rewired", [[0, 1, 1]], "outside 8 rows of 16 inputs"),
        ("layers/2/rewired", [[0, 1]], "too short"),
        ("layers/2/dropped", [8], "beyond the 8"),
        ("layers/2/dropped", [2, 2], "do not ascend"),
        ("layers/0/dropped", [0], "beyond the 2 of pattern 'group'"),
        ("layers/3/rewired", [[0, 0, 1]], "'n:m' has no connections that could be rewired"),
        ("layers/3/density", 0.25, "is not n/m"),
        ("layers/3/kept_inputs", [[0, 4]], "only width keeps channels"),
        ("connections", {"file": "a.safetensors", "sha256": "0"}, "does not match"),
    ],
)
def test_refuses_with_the_reason(tmp_path: Path, path: str, value: Any, message: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(change(DOCUMENT, path, value)))
    with pytest.raises(PlanError) as caught:
        load_plan(tmp_path / "plan.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "plan.json" in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text",
    [
        "",
        json.dumps(DOCUMENT)[:-200],
        json.dumps(DOCUMENT).replace("0.4999", "NaN"),
        json.dumps(DOCUMENT).replace("0.4999", "1e999"),
        json.dumps(DOCUMENT).replace('"seed": 0', '"seed": 0, "seed": 1', 1),
        "[" * 100_000,
        "[]",
        "null",
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_refuses_what_is_no_plan_file(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "plan.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PlanError) as caught:
        load_plan(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_refuses_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PlanError, match=path.name):
            load_plan(path)


def test_huge_layers_cost_nothing_to_load(tmp_path: Path) -> None:
    document = change(DOCUMENT, "layers/4/weight_shape", [2**17, 2**17])
    (tmp_path / "plan.json").write_text(json.dumps(document))
    tracemalloc.start()
    plan = load_plan(tmp_path / "plan.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.layer("head").weight_shape == (2**17, 2**17)
    assert peak < 100 * 2**20, (
        "reading reserves as much as a plan file may hold, 64 MiB; the mask alone would be 16 GiB"
    )


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, 1, 2, 3, 4, 8, 0.5, 2**31 - 1, 2**32, 1e300, -1.0, 1e-300, 3.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "magnitude", "random", "width", "group", "channel", "dense", "conv2d", "linear"]),
    st.lists(st.integers(-2, 20), max_size=5),
    st.lists(st.lists(st.integers(-2, 20), max_size=4), max_size=3),
    st.dictionaries(st.sampled_from(["dense", "plan", "low", "file", "sha256"]), st.integers(0, 3), max_size=3),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_change_gives_a_plan_or_one_line(data: st.DataObject) -> None:
    document = copy.deepcopy(DOCUMENT)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(places(document)))
        place: Any = document
        for part in parents:
            place = place[part]
        match data.draw(st.sampled_from(["replace", "delete", "add", "repeat"])):
            case "replace":
                place[last] = data.draw(VALUES)
            case "delete":
                del place[last]
            case "add" if isinstance(place, dict):
                place[data.draw(st.sampled_from(["in", "out", "rows", "kept_inputs", "n", "x"]))] = data.draw(VALUES)
            case "repeat" if isinstance(place, list):
                place.append(copy.deepcopy(place[last]))
        if not document:
            break
    try:
        plan = from_document(json.loads(json.dumps(document)), "fuzz")
    except PlanError as error:
        plan, message = None, str(error)
    if plan is None:
        assert "\n" not in message
        return
    assert from_document(json.loads(json.dumps(to_document(plan), allow_nan=False)), "again").layers == plan.layers
    if all(layer.layer.weights < 10**6 and not layer.is_chosen for layer in plan.layers):
        try:
            found = plan.masks()
        except PlanError:
            return
        assert {name: tuple(mask.shape) for name, mask in found.items()} == {
            layer.name: layer.weight_shape for layer in plan.layers
        }


def test_a_full_disk_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    PLAN.save(tmp_path / "plan.json")
    before = (tmp_path / "plan.json").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AdvisorError, match="No space left on device"):
        dataclasses.replace(PLAN, seed=7).save(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_an_inconsistent_plan_is_not_saved(tmp_path: Path) -> None:
    broken = dataclasses.replace(PLAN, layers=(PLAN.layers[0], PLAN.layers[0]))
    with pytest.raises(PlanError, match="there twice"):
        broken.save(tmp_path / "plan.json")
    assert not list(tmp_path.iterdir())


def test_layers_without_a_weight_cannot_be_planned() -> None:
    assert PLAN.network is not None
    norm = next(layer for layer in PLAN.network.layers if layer.weight is None)
    with pytest.raises(PlanError, match="no weight that a pattern could thin out"):
        PlanLayer.of(norm, Option(pattern="channel", density=0.5), seed=0)
    with pytest.raises(KeyError):
        PLAN.layer("nowhere")
