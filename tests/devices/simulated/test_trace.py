"""A trace file comes back as it was, and what is none is refused with the line and the reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from advisor.devices.simulated.trace import Trace, TracedLayer, TracedStep, from_lines, read_trace, schema, to_lines
from advisor.errors import TraceError

LAYER = TracedLayer(
    name="features.0",
    kind="conv2d",
    weight_shape=(8, 3, 3, 3),
    input_shape=(1, 3, 8, 8),
    output_shape=(1, 8, 8, 8),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
    pruned_at="output",
    why="batch_norm makes dO dense",
    reads_input=True,
    masked=False,
)
STEP = TracedStep(
    step=0,
    batch=64,
    input_density=(1.0, 0.5),
    output_gradient_density=(0.25, None),
    before_density=(1.0, None),
    after_density=(0.25, None),
    threshold=(1.25e-7, None),
)
TRACE = Trace(
    model="zoo:cnn4",
    settings={"p": 0.9, "fifo": 4, "include_zeros": True},
    layers=(LAYER, replace(LAYER, name="features.3", pruned_at="nowhere", reads_input=False, masked=True)),
    steps=(STEP, replace(STEP, step=10)),
)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(to_lines(TRACE))
    assert read_trace(path) == TRACE


def test_every_line_obeys_the_published_schema() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    jsonschema.Draft202012Validator.check_schema(schema())
    lines = to_lines(TRACE).decode().splitlines()
    assert len(lines) == 3
    for line in lines:
        validator.validate(json.loads(line))


def test_thresholds_that_overflowed_are_none() -> None:
    trace = replace(TRACE, steps=(replace(STEP, threshold=(float("inf"), float("nan"))),))
    assert from_lines(to_lines(trace), "here").steps[0].threshold == (None, None)


def changed(line: int, change: Callable[[dict[str, Any]], object]) -> bytes:
    lines = [json.loads(text) for text in to_lines(TRACE).decode().splitlines()]
    change(lines[line])
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, expected a header line"),
        (b"\xff", "byte 0 is no UTF-8"),
        (b"[1]\n", "line 1, at the top: "),
        (to_lines(TRACE)[:-30], "line 3 is no JSON .*the file was cut off"),
        (to_lines(TRACE).replace(b"0.25", b"NaN"), "line 2 is no JSON .NaN is no number"),
        (changed(0, lambda line: line.update(schema="other")), "line 1, at schema: "),
        (changed(0, lambda line: line["layers"][1].pop("kind")), "line 1, at layers/1: 'kind' is a required"),
        (changed(1, lambda line: line.update(extra=1)), "line 2, at the top: Additional properties"),
        (changed(1, lambda line: line.update(input_density=[1.5, 0])), "line 2, at input_density/0: 1.5 is greater"),
        (changed(2, lambda line: line["threshold"].pop()), "line 3, threshold has 1 entries, expected one for each of"),
        (changed(2, lambda line: line.update(step=0)), "line 3 is step 0, expected one after 0"),
        (b"[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_what_is_no_trace(data: bytes, message: str) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        from_lines(data, "here")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.jsonl")
