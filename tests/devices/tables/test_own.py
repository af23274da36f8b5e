from dataclasses import replace
from pathlib import Path

import pytest

from advisor.devices.profile import Profile, StepTime
from advisor.devices.tables.convert import kind_of, read_table
from advisor.devices.tables.own import execution_columns, execution_csv, from_csv, from_filled, to_csv
from advisor.errors import ProfileError
from advisor.network import Network
from advisor.runtime.execution import Execution
from tests.devices.formula import operator
from tests.devices.synthetic import all_executions, profile_of, widths

HEAD = "kind,method,input_shape,weight_shape,stride,padding,dilation,ms\n"
CONV = "conv2d,dense,1x3x8x8,16x3x3x3,1x1,1x1,1x1,0.5\n"


@pytest.fixture
def profile(mobilenet: Network) -> Profile:
    from advisor.devices.measuring.work import options_of

    sparse = options_of(mobilenet, ("channel",))
    executed = {**all_executions(mobilenet, widths(mobilenet)), **all_executions(mobilenet, sparse, have=True)}
    return profile_of(mobilenet, executed.values())


def test_what_is_written_reads_back_equal(profile: Profile) -> None:
    text = to_csv(profile)
    assert kind_of(text, "x.csv") == "csv"
    again = from_csv(text, "x.csv")
    assert again.measurements == dict(sorted(profile.measurements.items()))
    for name in ("name", "origin", "source", "created", "machine", "settings", "networks", "notes"):
        assert getattr(again, name) == getattr(profile, name), name
    assert again.error is not None
    assert to_csv(again) == text


def test_steps_and_parts_of_a_network_in_place_go_along(profile: Profile) -> None:
    step = operator("relu", ((1, 8, 4, 4),), (1, 8, 4, 4), in_place=True)
    found = StepTime(step=step, median_ms=0.1, low_ms=0.09, high_ms=0.11, repeats=7)
    whole = next(iter(profile.networks.values()))
    whole = replace(whole, parts={"elementwise": 0.5}, interpreter_ms=-0.1, saved={"features.0": 0.01})
    made = replace(profile, steps={step.key: found}, networks={whole.key: whole})
    again = from_csv(to_csv(made), "x.csv")
    assert again.steps == made.steps
    assert again.networks == made.networks


def test_a_spreadsheet_pads_and_rewrites(profile: Profile) -> None:
    lines = to_csv(profile).splitlines()
    columns = lines[-1].count(",")
    padded = [line + "," * columns if line.startswith(("#", '"#')) else line for line in lines]
    again = from_csv("\r\n".join(padded), "x.csv")
    assert again.settings == profile.settings
    assert again.networks == profile.networks
    assert again.measurements == profile.measurements


def test_little_is_enough() -> None:
    made = from_csv(HEAD + CONV + "linear,dense,4x16,10x16,,,,0.01\n", "phone.csv", machine="a phone", threads=4)
    assert made.name == "phone"
    assert made.settings is not None
    assert (made.settings.device, made.settings.batch, made.settings.threads) == ("cpu", 1, 4)
    assert made.machine is not None
    assert made.machine.name == "a phone"
    first = next(iter(made.measurements.values()))
    assert first.low_ms == pytest.approx(0.5 / 1.1)
    assert first.repeats == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("kind,method\n", "column input_shape: the header lacks it"),
        (HEAD.replace("ms", "kind"), "column kind: the header names it twice"),
        (HEAD.replace("ms", "ms,sped"), "unknown column 'sped'"),
        (HEAD, "no rows with a time"),
        (HEAD + "conv2d,dense\n", "row 2: got 2 cells, expected 8"),
        (HEAD + CONV.replace("0.5", "-1"), "row 2, column ms: got '-1', expected a time in ms above 0"),
        (HEAD + CONV.replace("0.5", "nan"), "row 2, column ms: got 'nan'"),
        (HEAD + CONV.replace("0.5", "1e999"), "row 2, column ms"),
        (HEAD + CONV.replace("1x3x8x8", "1x3x8xa"), "column input_shape: got '1x3x8xa', expected sizes as"),
        (HEAD + CONV.replace("1x3x8x8", "1x4x8x8"), "column weight_shape: got '16x3x3x3': expected an input with 3"),
        (HEAD + CONV.replace("conv2d", "conv9d"), "column kind: got 'conv9d': unknown kind"),
        (HEAD + CONV.replace("dense", "magic"), "column method: got 'magic'"),
        (HEAD + CONV + CONV, "row 3, column kind: the same work as row 2"),
        ("# batch: none\n" + HEAD + CONV, "# batch: got 'none'"),
        ("# bacth: 1\n" + HEAD + CONV, "unknown field 'bacth'; did you mean 'batch'"),
        ("# training: maybe\n" + HEAD + CONV, "# training: got 'maybe'"),
        ('"# network: {""model"": 1}"\n' + HEAD + CONV, "# network"),
        (HEAD + '"conv2d\n', "no CSV"),
    ],
)
def test_a_bad_row_is_named(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        from_csv(text, "bad.csv")
    assert "bad.csv" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("low_ms", "0.6", "at most ms"),
        ("high_ms", "0.4", "at least ms"),
        ("repeats", "0", "a whole number from 1 on"),
        ("repeats", "2.5", "a whole number from 1 on"),
        ("groups", "x", "a whole number from 1 on"),
        ("bias", "maybe", "true or false"),
    ],
)
def test_a_bad_cell_is_named(column: str, cell: str, expected: str) -> None:
    text = HEAD.replace("ms\n", f"ms,{column}\n") + CONV.replace("0.5\n", f"0.5,{cell}\n")
    with pytest.raises(ProfileError, match=f"row 2, column {column}: got '{cell}', expected {expected}"):
        from_csv(text, "bad.csv")


def test_a_table_to_fill_in(profile: Profile) -> None:
    asked = [m.execution for m in list(profile.measurements.values())[:3]]
    text = execution_csv(asked)
    with pytest.raises(ProfileError, match="no rows with a time, expected one for each piece of work"):
        from_filled(text, "table.csv")
    lines = text.replace("# machine:", "# machine: a phone").splitlines()
    lines[5] = lines[5].removesuffix(",,,") + "1.25,,,"
    found = from_filled("\n".join(lines), "table.csv", threads=4)
    assert {key: m.median_ms for key, m in found.measurements.items()} == {asked[0].key: 1.25}
    assert found.machine is not None
    assert found.settings is not None
    assert (found.machine.name, found.settings.threads, found.settings.device) == ("a phone", 4, "cpu")


def test_every_field_of_an_execution_has_a_column() -> None:
    assert set(execution_columns()) == set(Execution.__dataclass_fields__)


def test_the_settings_must_be_those_of_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("# dtype: int8\n" + HEAD + CONV)
    with pytest.raises(ProfileError, match="settings/dtype"):
        read_table(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="not UTF-8"):
        read_table(file)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ProfileError, match="got the columns a, b, expected"):
        read_table(file)
    with pytest.raises(ProfileError, match="no such file"):
        read_table(tmp_path / "none.csv")
