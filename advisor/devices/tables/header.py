"""The lines above a table: what its times were taken under, and a profile made of both."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.document import from_document, to_document
from advisor.devices.predicting.predict import Predictor, error_summary
from advisor.devices.profile import Measurement, Profile, Whole
from advisor.devices.settings import Machine, Settings
from advisor.errors import AdvisorError, ProfileError, unknown
from advisor.files import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = "unknown"
_MACHINE = {"machine": "name", "flags": "flags", "cores": "cores", "torch": "torch", "system": "system"}
_SETTINGS = ("device", "batch", "threads", "dtype", "training", "kernels")
_FIELDS = ("name", "origin", "source", "created", "note", *_SETTINGS, *_MACHINE, "network", "step")


def settings_lines(profile: Profile) -> list[str]:
    """`field: value` for everything but the measurements and the networks."""
    lines = [f"name: {profile.name}", f"origin: {profile.origin}", f"source: {_line(profile.source)}"]
    lines.append(f"created: {profile.created}")
    if made := profile.settings:
        values = {name: getattr(made, name) for name in _SETTINGS}
        lines += [f"{name}: {str(value).lower() if name == 'training' else value}" for name, value in values.items()]
    if machine := profile.machine:
        for name, attribute in _MACHINE.items():
            value = getattr(machine, attribute)
            lines.append(f"{name}: {' '.join(value) if isinstance(value, tuple) else value}")
    return lines + [f"note: {_line(note)}" for note in profile.notes]


def _line(text: str) -> str:
    return " ".join(text.split())


def profile_from(
    comments: Sequence[str],
    file: str,
    measurements: Mapping[str, Measurement],
    *,
    name: str,
    device: str | None = None,
    threads: int | None = None,
    machine: str | None = None,
) -> Profile:
    """A profile from the lines above a table and the measurements in it; arguments win over lines.

    Raises:
        ProfileError: a field that is unknown or makes no sense.
    """
    found = _fields(comments, file)
    batches = {m.execution.input_shape[0] for m in measurements.values()}
    training = one(found, "training", "false").lower()
    if training not in ("true", "false"):
        raise ProfileError(f"{file}: # training: got {training!r}, expected true or false")
    settings = Settings(
        device=device or one(found, "device", "cpu"),
        batch=_count(found, "batch", min(batches), file),
        threads=threads or _count(found, "threads", 1, file),
        dtype=one(found, "dtype", "float32"),
        training=training == "true",
        kernels=one(found, "kernels", ""),
    )
    where = Machine(
        name=machine or one(found, "machine", UNKNOWN),
        flags=tuple(one(found, "flags", "").split()),
        cores=_count(found, "cores", 1, file),
        torch=one(found, "torch", UNKNOWN),
        system=one(found, "system", UNKNOWN),
    )
    origin: Any = one(found, "origin", "measured")
    wholes = [_whole(text, file) for text in found["network"]]
    profile = Profile(
        name=one(found, "name", name),
        origin=origin,
        source=one(found, "source", f"read from the table {name}"),
        created=one(found, "created", today()),
        machine=where,
        settings=settings,
        measurements=dict(measurements),
        networks={whole.key: whole for whole in wholes},
        error=error_of(measurements),
        notes=tuple(found["note"]),
    )
    steps = [parse_json(text.encode(), f"{file}: # step", error=ProfileError) for text in found["step"]]
    return through_document(profile, file, steps)


def through_document(profile: Profile, file: str, steps: Sequence[Any] = ()) -> Profile:
    """The profile as its own file would give it back, and so checked as one, with these steps in it."""
    document = to_document(profile) | ({"steps": steps} if steps else {})
    return from_document(json.loads(json.dumps(document)), file)


def error_of(measurements: Mapping[str, Measurement]) -> dict[str, float | int | str]:
    """How far predictions from these measurements are off, left out in turn."""
    return error_summary(Predictor(list(measurements.values())))


def machine_of(name: str | None, file: str) -> Machine:
    """A machine of which a table says nothing but, at best, the name."""
    return Machine(name=name or f"{UNKNOWN} ({Path(file).name})", flags=(), cores=1, torch="none", system=UNKNOWN)


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def one(found: Mapping[str, list[str]], field: str, default: str) -> str:
    """The last value given for a field."""
    return found[field][-1] if found.get(field) and found[field][-1] else default


def _fields(comments: Sequence[str], file: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in comments:
        field, colon, value = line.partition(":")
        if not colon:
            continue  # a remark
        if field.strip() not in _FIELDS:
            raise ProfileError(f"{file}: # {unknown('field', field.strip()[:60], _FIELDS)}")
        found[field.strip()].append(value.strip())
    return found


def _count(found: Mapping[str, list[str]], field: str, default: int, file: str) -> int:
    text = one(found, field, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ProfileError(f"{file}: # {field}: got {text[:60]!r}, expected a whole number from 1 on")
    return int(text)


def _whole(text: str, file: str) -> Whole:
    try:
        document = parse_json(text.encode(), f"{file}: # network", error=ProfileError)
        known = {item.name for item in fields(Whole)}
        values = {key: value for key, value in document.items() if key in known}
        values["input_shapes"] = tuple(tuple(shape) for shape in values["input_shapes"])
        return Whole(**values)
    except AdvisorError:
        raise
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ProfileError(f"{file}: # network: {_line(str(error))[:120]}; expected what a profile holds") from error
