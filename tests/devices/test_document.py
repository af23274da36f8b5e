import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.devices.document import from_document, to_document
from advisor.devices.energy import Coefficients
from advisor.devices.profile import Profile, StepTime, list_profiles, load_profile
from advisor.errors import ProfileError
from advisor.network import Network
from tests.devices.formula import operator
from tests.devices.synthetic import MACHINE, SETTINGS, all_executions, profile_of, widths


@pytest.fixture(scope="module")
def profile(digits: Network) -> Profile:
    return profile_of(digits, all_executions(digits, widths(digits, (1.0, 0.5))).values())


@pytest.fixture(scope="module")
def document(profile: Profile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(to_document(profile)))
    return found


def test_a_profile_survives_its_file(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == profile
    assert load_profile(str(tmp_path / "p.json")) == profile


def test_what_was_timed_in_place_survives_its_file(profile: Profile, tmp_path: Path) -> None:
    shape = (1, 8, 4, 4)
    step = operator("add", (shape, shape), shape, 1)
    (whole,) = profile.networks.values()
    known = replace(
        whole, parts={"elementwise": 0.1}, interpreter_ms=-0.02, saved={"features.8": -0.01}, deviation=0.03
    )
    time = StepTime(step=step, median_ms=0.1, low_ms=0.09, high_ms=0.12, repeats=9)
    made = replace(profile, networks={known.key: known}, steps={step.key: time})
    made.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == made
    document = to_document(made)
    older = {"target": "add", "family": "elementwise", "inputs": [list(shape)] * 2, "layouts": "cc",
             "outputs": [list(shape)], "parameters": [1], "dtype": "float32", "read_bytes": 1024, "written_bytes": 512,
             "macs": 0, "in_place": False, "backward": False}  # fmt: skip
    again = from_document(json.loads(json.dumps(document | {"steps": [document["steps"][0] | {"step": older}]})), "p")
    assert again.steps == made.steps, "as profiles have it that were made before device profiles"
    document["steps"][0]["step"][3] = "c"
    with pytest.raises(ProfileError, match="layouts 'c' of 2 inputs"):
        from_document(json.loads(json.dumps(document)), "p.json")


def test_a_predicted_time_stays_one_in_the_file(profile: Profile, tmp_path: Path) -> None:
    first, second, *_ = sorted(profile.measurements)
    given = {
        **profile.measurements,
        first: replace(profile.measurements[first], origin="predicted"),
        second: replace(profile.measurements[second], origin="extrapolated"),
    }
    replace(profile, measurements=given).save(tmp_path / "carried.json")
    made = load_profile(tmp_path / "carried.json")
    assert {key: m.origin for key, m in made.measurements.items()} == {key: m.origin for key, m in given.items()}
    written = to_document(replace(profile, measurements=given))["measurements"]
    assert [item["origin"] for item in written if "origin" in item] == ["predicted", "extrapolated"]


def test_what_comes_along_is_readable() -> None:
    assert "energy-45nm" in list_profiles()
    for name in list_profiles():
        assert load_profile(name).name == name
        assert load_profile(name).summary()["source"]


def test_energy_beside_times(profile: Profile, document: dict[str, Any]) -> None:
    changed = document | {"energy": {"mac_pj": 1.0, "dram_byte_pj": 2.0, "source": "s"}}
    assert from_document(changed, "p").energy == Coefficients(mac_pj=1.0, dram_byte_pj=2.0, source="s")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.json", "no such file; make one with: advisor profile MODEL --out nowhere.json"),
        ("energy-45", "unknown profile 'energy-45'; did you mean 'energy-45nm'?"),
    ],
)
def test_a_missing_profile(name: str, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_profile(name)


def test_a_truncated_file_is_one_line(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    profile.save(path)
    data = path.read_bytes()
    for cut in (0, 1, 100, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:cut])
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


HOSTILE: list[tuple[tuple[Any, ...], Any]] = [
    (("schema",), "sparsity-advisor/profile-2"),
    (("origin",), "guessed"),
    (("created",), "today"),
    (("machine",), None),
    (("settings",), None),
    (("settings", "threads"), 0),
    (("settings", "threads"), True),
    (("machine", "cores"), 1e99),
    (("measurements", 0, "median_ms"), -1),
    (("measurements", 0, "median_ms"), "fast"),
    (("measurements", 0, "low_ms"), 1e8),
    (("measurements", 0, "repeats"), 0.5),
    (("measurements", 0, "execution", "groups"), 7),
    (("measurements", 0, "execution", "kind"), "__import__"),
    (("measurements", 0, "execution", "weight_shape"), [1]),
    (("measurements", 0, "execution", "stride"), []),
    (("measurements", 0, "execution", "kept"), 3.7),
    (("networks", 0, "high_ms"), 1e-9),
    (("networks", 0, "network_hash"), ["x"]),
    (("notes",), ["x" * 3000]),
    (("unmeasured",), {"a": 1}),
    (("error",), [1]),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=str)
def test_hostile_values_are_one_line(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(document)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(ProfileError) as caught:
        from_document(changed, "p.json")
    text = str(caught.value)
    assert text.startswith("profile p.json: ")
    assert "\n" not in text
    assert len(text) < 700


@pytest.mark.parametrize("rubbish", [None, 3, "text", [], [{}], {}, {"schema": "sparsity-advisor/profile-1"}])
def test_documents_that_are_none(rubbish: Any) -> None:
    with pytest.raises(ProfileError, match=r"p\.json"):
        from_document(rubbish, "p.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_mutation_is_read_or_refused_in_one_line(document: dict[str, Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(document | {"measurements": document["measurements"][:2]})
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(changed)))
        place: Any = changed
        for part in path[:-1]:
            place = place[part]
        if data.draw(st.booleans()):
            place[path[-1]] = data.draw(JSON)
        else:
            del place[path[-1]]
    problem = ""
    try:
        made = from_document(changed, "p.json")
    except ProfileError as error:
        problem = str(error)
    if problem:
        assert "\n" not in problem
        return
    assert to_document(made)["schema"] == "sparsity-advisor/profile-1"
    for found in made.measurements.values():
        assert 0 < found.low_ms <= found.median_ms <= found.high_ms < math.inf
        assert found.execution.macs >= 0


def test_a_profile_without_times_says_so(digits: Network) -> None:
    empty = load_profile("energy-45nm")
    execution = next(iter(all_executions(digits, {}).values()))
    for ask in (lambda: empty.latency(execution), lambda: empty.check(batch=1)):
        with pytest.raises(ProfileError, match=r"holds no times; make one with: advisor profile"):
            ask()
    assert empty.warnings() == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"threads": 4}, "made with threads=1, asked for threads=4"),
        ({"batch": 8}, "made with batch=1, asked for batch=8"),
        ({"device": "cuda:0"}, "made with device=cpu, asked for device=cuda"),
        ({"training": True}, "made with training=False, asked for training=True"),
        ({"dtype": "bfloat16"}, "made with dtype=float32"),
    ],
)
def test_other_settings_are_refused(profile: Profile, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        profile.check(**asked)


def test_another_machine_is_a_warning(profile: Profile) -> None:
    warnings = profile.check(device="cpu", batch=1, threads=1, training=False)
    assert any("the profile was made with device Roofline" in text for text in warnings)


def test_measured_times_come_back_and_others_are_predicted(profile: Profile, digits: Network) -> None:
    known = next(iter(profile.measurements.values()))
    assert profile.latency(known.execution) is known
    other = next(e for k, e in all_executions(digits, widths(digits)).items() if k not in profile.measurements)
    guess = profile.latency(other)
    assert guess.origin in ("predicted", "extrapolated")
    assert guess.repeats == 0
    assert profile.latency(other) is guess


def test_the_settings_and_machine_stand_in_the_file(document: dict[str, Any]) -> None:
    assert document["settings"] == {
        "device": SETTINGS.device,
        "batch": 1,
        "threads": 1,
        "dtype": "float32",
        "training": False,
        "kernels": "",
    }
    assert document["machine"]["name"] == MACHINE.name
