"""What the page offers, and what it refuses whoever asks."""

import os
from pathlib import Path

import pytest

from advisor.errors import AdvisorError, ModelError, ProfileError
from validation.page.offer import OWN, default_home, offer_from


def test_an_address_cannot_name_python_code(tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('this was run')")
    offer = offer_from([])
    for spec in (f"{trap}:build", "os:getcwd", "antigravity:fly", "yours:anything", "nonsense", ""):
        with pytest.raises(ModelError):
            offer.split(spec)


def test_python_given_at_start_is_offered_first(tmp_path: Path) -> None:
    offer = offer_from(["--model", "net.py:build", "--model", "pkg.mod:make", "--home", str(tmp_path)])
    assert offer.sources[:2] == (OWN, "zoo")
    assert offer.networks(OWN) == ("net.py:build", "pkg.mod:make")
    assert offer.split("net.py:build") == (OWN, "net.py:build")
    assert offer.spec(OWN, "net.py:build") == "net.py:build"
    assert offer.default_model == "net.py:build"
    assert offer.home == tmp_path
    with pytest.raises(ModelError, match="started with"):
        offer.split("net.py:other")


def test_installed_networks_have_names() -> None:
    offer = offer_from([])
    assert "resnet50" in offer.networks("torchvision")
    assert offer.split("torchvision:resnet50") == ("torchvision", "resnet50")
    assert offer.spec("zoo", "digits_cnn") == offer.default_model
    with pytest.raises(ModelError, match="no network"):
        offer.split("zoo:digits")


def test_profiles_are_those_given_measured_and_shipped(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "here.json").write_text("{}")
    offer = offer_from(["--profile", "mine.json", "--home", str(tmp_path)])
    names = offer.profile_names()
    assert names[:2] == ("mine.json", str(tmp_path / "profiles" / "here.json"))
    assert "energy-45nm" in names
    assert offer.profile("energy-45nm") is not None
    assert offer.profile("") is None
    with pytest.raises(ProfileError, match="--profile"):
        offer.profile("/etc/passwd")
    with pytest.raises(ProfileError, match="no such file"):
        offer.profile("mine.json")


def test_the_same_question_finds_the_same_folder(tmp_path: Path) -> None:
    offer = offer_from(["--home", str(tmp_path)])
    assert offer.folder("validations", "a", 1) == offer.folder("validations", "a", 1)
    assert offer.folder("validations", "a", 1) != offer.folder("validations", "a", 2)
    assert offer.folder("validations", "a").parent == tmp_path / "validations"


@pytest.mark.parametrize("arguments", [["--model"], ["--nonsense"], ["stray"]])
def test_wrong_arguments_are_one_line(arguments: list[str]) -> None:
    with pytest.raises(AdvisorError) as caught:
        offer_from(arguments)
    assert "\n" not in str(caught.value)


def test_home_follows_the_desktop_convention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_home() == tmp_path / "sparsity-advisor"


def test_a_profile_measured_again_is_another(tmp_path: Path) -> None:
    offer, path = offer_from([]), tmp_path / "p.json"
    assert offer.stamp("") == offer.stamp("energy-45nm") == offer.stamp(str(path)) == 0
    path.write_text("{}")
    os.utime(path, ns=(1, 1))
    assert offer.stamp(str(path)) == 1
