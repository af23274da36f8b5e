"""How a training method is asked for, and what is said when it is asked for wrongly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from advisor.errors import AdvisorError
from validation.methods.method import Method, MethodSettings, Run
from validation.methods.registry import METHODS, parse_methods, register_method


@pytest.fixture
def table() -> Iterator[None]:
    """Two methods of the test's own."""

    @register_method("first", target="plan")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class First(MethodSettings):
        every: int = 100
        drop: float = 0.3
        dense: bool = False
        penalty: str = "l0"

        def attach(self, run: Run) -> Method:
            return Method()

    @register_method("second", target="dense")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Second(MethodSettings):
        def attach(self, run: Run) -> Method:
            return Method()

    yield
    del METHODS["first"], METHODS["second"]


@pytest.mark.usefixtures("table")
def test_settings_keep_their_types() -> None:
    (one,) = parse_methods(("first@dense: every=50, drop=0.5,dense=yes,penalty=l1",))
    assert (one.label, one.target) == ("dense+first", "dense")
    (settings,) = one.settings
    assert repr(settings).endswith("First(every=50, drop=0.5, dense=True, penalty='l1')")


@pytest.mark.usefixtures("table")
def test_labels_tell_runs_apart_and_joined_methods_run_together() -> None:
    found = parse_methods(("first", "first:every=7", "first", "first+second@plan"))
    assert [one.label for one in found] == ["plan+first", "plan+first#2", "plan+first+second"]
    assert [one.name for one in found[2].settings] == ["first", "second"]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frist", "unknown training method 'frist'.*first"),
        ("first@plane", "got target 'plane', expected dense or plan"),
        ("first:evry=3", "no setting 'evry'; it has every=100, drop=0.3, dense=False, penalty=l0"),
        ("second:every=3", "no setting 'every'; it has none"),
        ("first:every", "has no value; write every=VALUE"),
        ("first:every=3,every=4", "given twice"),
        ("first:every=x", "got 'x', expected a whole number"),
        ("first:every=1.5", "expected a whole number"),
        ("first:drop=nan", "expected a finite number"),
        ("first:dense=maybe", "expected true or false"),
        ("first+second", "write @dense or @plan at each"),
        ("first+first", "one method twice"),
        ("", "unknown training method"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(AdvisorError, match=said) as caught:
        parse_methods((text,))
    assert "\n" not in str(caught.value)


def test_every_method_is_listed_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    from advisor.cli import run

    assert run(["methods", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["methods"]}
    assert found["rigl"]["target"] == "plan"
    for name, one in found.items():
        assert one["text"].endswith(".")
        text = ",".join(f"{key}={value}" for key, value in one["settings"].items())
        (applied,) = parse_methods((f"{name}:{text}",))  # defaults are legal, and what is listed can be written
        assert dataclasses.asdict(applied.settings[0]) == one["settings"]


def test_a_taken_name_is_a_programming_error(table: None) -> None:
    with pytest.raises(ValueError, match="two training methods"):
        register_method("first", target="plan")(METHODS["second"])
