"""Profiles as JSON documents: checked by the schema, then by what a schema cannot say."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema

from advisor.devices.energy import Coefficients
from advisor.devices.profile import Measurement, Profile, StepTime, Whole
from advisor.devices.settings import Machine, Settings
from advisor.devices.steps.document import listed, step_document, step_from
from advisor.devices.suite.table import table_document, table_from
from advisor.errors import AdvisorError, ProfileError

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

SCHEMA_NAME = "sparsity-advisor/profile-1"


@lru_cache(maxsize=1)
def _validator() -> Any:
    text = files("advisor.devices").joinpath("profile.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def to_document(profile: Profile) -> dict[str, Any]:
    """The profile as plain JSON values."""
    return {
        "schema": SCHEMA_NAME,
        "name": profile.name,
        "origin": profile.origin,
        "source": profile.source,
        "created": profile.created,
        "machine": asdict(profile.machine) if profile.machine else None,
        "settings": _settings_document(profile.settings) if profile.settings else None,
        "energy": asdict(profile.energy) if profile.energy else None,
        "error": dict(profile.error) if profile.error else None,
        "notes": list(profile.notes),
        "networks": [_whole_document(whole) for _, whole in sorted(profile.networks.items())],
        "measurements": [measurement_document(m) for _, m in sorted(profile.measurements.items())],
        "unmeasured": list(profile.unmeasured),
        **({"steps": [_step_document(found) for _, found in sorted(profile.steps.items())]} if profile.steps else {}),
        **({"tables": [table_document(table) for table in profile.tables]} if profile.tables else {}),
        **({"model": dict(profile.model)} if profile.model is not None else {}),
    }


def from_document(document: Any, where: str) -> Profile:
    """Checks a document and builds the profile. `where` names the file in errors.

    Raises:
        ProfileError: one line with the first thing that is wrong.
    """
    for error in _validator().iter_errors(document):
        place = "/".join(str(part) for part in error.absolute_path) or "the top"
        message = error.message if len(error.message) < 200 else error.message[:200] + "…"
        raise ProfileError(f"profile {where}: at {place}: {message}; it is no profile of this version, make it anew")
    try:
        measurements = [measurement_from(item) for item in document["measurements"]]
        networks = [_whole_from(item) for item in document["networks"]]
        steps = {found.step.key: found for found in map(_step_from, document.get("steps", []))}
    except (AdvisorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ProfileError(f"profile {where}: a measurement makes no sense: {error}; make the profile anew") from error
    settings, machine, energy = document["settings"], document["machine"], document["energy"]
    if (measurements or networks or steps) and (settings is None or machine is None):
        raise ProfileError(f"profile {where}: it holds times but not the settings or machine they were taken with")
    return Profile(
        name=document["name"],
        origin=document["origin"],
        source=document["source"],
        created=document["created"],
        machine=Machine(**(machine | {"flags": tuple(machine["flags"])})) if machine else None,
        settings=Settings(**settings) if settings else None,
        measurements={m.execution.key: m for m in measurements},
        networks={w.key: w for w in networks},
        unmeasured=tuple(document["unmeasured"]),
        error=document["error"],
        energy=(Coefficients(**{"source": document["source"], **energy}) if energy else None),
        notes=tuple(document["notes"]),
        steps=steps,
        tables=tuple(table_from(item, where) for item in document.get("tables", [])),
        model=document.get("model"),
    )


def measurement_document(m: Measurement) -> dict[str, Any]:
    """One measurement as plain JSON values."""
    return {
        "execution": execution_document(m.execution),
        "median_ms": m.median_ms,
        "low_ms": m.low_ms,
        "high_ms": m.high_ms,
        "repeats": m.repeats,
        **({"origin": m.origin} if m.origin != "measured" else {}),  # left out as in older profiles
    }


def execution_document(execution: Execution) -> dict[str, Any]:
    return {item.name: getattr(execution, item.name) for item in fields(execution)}


def execution_from(document: dict[str, Any]) -> Execution:
    """The reverse of `execution_document`; lists become tuples."""
    from advisor.runtime.execution import Execution

    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in document.items()}
    return Execution(**values)


def measurement_from(document: dict[str, Any]) -> Measurement:
    """The reverse of `measurement_document`; what older profiles called otherwise gets today's name."""
    from advisor.runtime.execution import canonical

    m = Measurement(**(document | {"execution": canonical(execution_from(document["execution"]))}))
    if not 0 < m.low_ms <= m.median_ms <= m.high_ms:
        raise ValueError(
            f"{m.execution.key}: low {m.low_ms}, median {m.median_ms}, high {m.high_ms} ms are no interval"
        )
    return m


def _settings_document(settings: Settings) -> dict[str, Any]:
    """What only GPUs know is left out where it is as usual, as in older profiles."""
    document = asdict(settings)
    for name in ("number", "channels_last", "flush_l2"):
        if not document[name]:
            del document[name]
    return document


def _whole_document(whole: Whole) -> dict[str, Any]:
    """What nobody looked at is left out, as in older profiles."""
    document = asdict(whole)
    for name in ("graph_ms", "launch_ms", "launches"):
        if document[name] is None:
            del document[name]
    if whole.origin == "measured":
        del document["origin"]
    if whole.interpreter_ms is None:
        for name in ("parts", "interpreter_ms", "saved", "deviation"):
            del document[name]
    return document


def _step_document(found: StepTime) -> dict[str, Any]:
    times = {name: getattr(found, name) for name in ("median_ms", "low_ms", "high_ms", "repeats")}
    return {"step": step_document(found.step), **times}


def _step_from(document: dict[str, Any]) -> StepTime:
    found = StepTime(**(document | {"step": step_from(listed(document["step"]))}))
    if not 0 < found.low_ms <= found.median_ms <= found.high_ms:
        raise ValueError(f"step {found.step.target}: low, median and high ms are no interval")
    return found


def _whole_from(document: dict[str, Any]) -> Whole:
    shapes = tuple(tuple(shape) for shape in document["input_shapes"])
    whole = Whole(**(document | {"input_shapes": shapes}))
    if not 0 < whole.low_ms <= whole.median_ms <= whole.high_ms:
        raise ValueError(f"network {whole.model}: low, median and high ms are no interval")
    return whole
