"""How dense activations and gradients were in a real training run, step by step: what a simulated machine replays.

The file is JSON lines in UTF-8 (`trace.schema.json` is its schema). The first line names the layers with their shapes
and where each one's gradient was pruned; every other line is one recorded step with a list per quantity, one entry per
layer in the order of the first line:

    {"schema": "sparsity-advisor/gradient-trace-1", "model": …, "settings": {"p": 0.9, …}, "layers": [{"name": …}, …]}
    {"step": 0, "batch": 64, "input_density": [1.0, 0.48], "output_gradient_density": [0.31, 1.0], …}

All densities are shares of elements that are not zero. null means that nothing was seen of the layer in that step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import jsonschema

from advisor.errors import TraceError
from advisor.network import Shape

SCHEMA = "sparsity-advisor/gradient-trace-1"
PerLayer = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedLayer:
    """A layer of the trace, as it stands in the header. Shapes are of one image, as the layer ran."""

    name: str
    kind: str
    weight_shape: Shape
    input_shape: Shape
    output_shape: Shape
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    pruned_at: Literal["input", "output", "nowhere"]
    why: str
    reads_input: bool
    masked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """One recorded step; every tuple has one entry per layer (`L`). The schema says what each quantity is."""

    step: int
    batch: int
    input_density: PerLayer
    output_gradient_density: PerLayer
    before_density: PerLayer
    after_density: PerLayer
    threshold: PerLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole trace. `settings` are those of the pruning."""

    model: str
    settings: Mapping[str, float | bool | str]
    layers: tuple[TracedLayer, ...]
    steps: tuple[TracedStep, ...]


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The JSON schema of one line."""
    text = resources.files("advisor.devices.simulated").joinpath("trace.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def to_lines(trace: Trace) -> bytes:
    """The trace as a file's content. Floats keep six digits, which is more than a density is worth."""
    header = {
        "schema": SCHEMA,
        "model": trace.model,
        "settings": dict(trace.settings),
        "layers": [asdict(layer) for layer in trace.layers],
    }
    lines = [header, *(_step_document(step) for step in trace.steps)]
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()


def read_trace(path: Path) -> Trace:
    """Reads and checks a trace file.

    Raises:
        TraceError: it cannot be read or is no trace; says in which line and what is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(
            f"gradient trace {path}: {error.strerror or error}; give a file that training wrote"
        ) from error
    return from_lines(data, str(path))


def from_lines(data: bytes, where: str) -> Trace:
    """The trace that a file's content holds. `where` names it in errors.

    Raises:
        TraceError: a line is no JSON or breaks the schema, steps do not rise, or their lists do not fit the layers.
    """
    try:
        lines = data.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise TraceError(f"gradient trace {where}: byte {error.start} is no UTF-8, expected lines of JSON") from error
    if lines == [""]:
        raise TraceError(f"gradient trace {where} is empty, expected a header line; train again to write it anew")
    header = _line(lines[0], "header", 1, where)
    layers = tuple(TracedLayer(**_with_tuples(layer)) for layer in header["layers"])
    steps = [TracedStep(**_with_tuples(_line(text, "step", number, where))) for number, text in enumerate(lines[1:], 2)]
    _check_steps(steps, len(layers), where)
    return Trace(model=header["model"], settings=header["settings"], layers=layers, steps=tuple(steps))


def _step_document(step: TracedStep) -> dict[str, Any]:
    return {
        key: [_rounded(item) for item in value] if isinstance(value, tuple) else value
        for key, value in asdict(step).items()
    }


def _rounded(value: float | None) -> float | None:
    # A threshold that overflowed pruned nothing.
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


@lru_cache(maxsize=2)
def _validator(part: str) -> jsonschema.Draft202012Validator:
    whole = schema()
    return jsonschema.Draft202012Validator({"$defs": whole["$defs"], "$ref": f"#/$defs/{part}"})


def _line(text: str, part: str, number: int, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        cut = "; the file was cut off" if number > 1 else ""
        raise TraceError(f"gradient trace {where}: line {number} is no JSON ({error}){cut}") from error
    for problem in _validator(part).iter_errors(document):
        place = "/".join(str(one) for one in problem.absolute_path) or "the top"
        message = " ".join(str(problem.message).split())
        message = message if len(message) < 200 else f"{message[:70]}…{message[-130:]}"
        raise TraceError(
            f"gradient trace {where}: line {number}, at {place[:200]}: {message}; it is no {part} of this version"
        )
    found: dict[str, Any] = document
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _with_tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}


def _check_steps(steps: Iterable[TracedStep], layers: int, where: str) -> None:
    last = -1
    for number, step in enumerate(steps, 2):
        for field in fields(step):
            value = getattr(step, field.name)
            if isinstance(value, tuple) and len(value) != layers:
                raise TraceError(
                    f"gradient trace {where}: line {number}, {field.name} has {len(value)} entries, "
                    f"expected one for each of the {layers} layers"
                )
        if step.step <= last:
            raise TraceError(f"gradient trace {where}: line {number} is step {step.step}, expected one after {last}")
        last = step.step
