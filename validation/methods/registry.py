"""Training methods by name, and how a user writes one down: `rigl@plan:drop=0.3,every=50`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from advisor.errors import AdvisorError, unknown
from advisor.registry import registered
from validation.methods import load_all
from validation.methods.method import MethodSettings, Target

S = TypeVar("S", bound=type[MethodSettings])

METHODS: dict[str, type[MethodSettings]] = {}
FORM = "NAME[@dense|@plan][:key=value,...], several at once joined by +"


def register_method(name: str, *, target: Target) -> Callable[[S], S]:
    """Puts a settings class into the table under `name`.

    Args:
        target: what the method is applied to where the user says nothing.
    """

    def register(settings: S) -> S:
        settings.name, settings.target = name, target
        registered(METHODS, (name,), "training methods")(settings)
        return settings

    return register


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Methods at work in one run, and on what.

    Attributes:
        text: as the user wrote it.
        label: of the runs, "plan+rigl".
    """

    text: str
    label: str
    target: Target
    settings: tuple[MethodSettings, ...]


def parse_methods(texts: tuple[str, ...]) -> tuple[Applied, ...]:
    """Reads `--method` options.

    Raises:
        AdvisorError: an unknown method, target or key, or a value of another type.
    """
    load_all()
    found: list[Applied] = []
    for text in dict.fromkeys(texts):
        one = _parse(text)
        same = sum(other.label.partition("#")[0] == one.label for other in found)
        found.append(dataclasses.replace(one, label=f"{one.label}#{same + 1}") if same else one)
    return tuple(found)


def described() -> list[dict[str, Any]]:
    """Every method: `name`, `target`, `settings` (key → default) and one line of `text`."""
    load_all()
    return [
        {
            "name": name,
            "target": kind.target,
            "settings": dataclasses.asdict(kind()),
            "text": (kind.__doc__ or "").partition("\n")[0],
        }
        for name, kind in sorted(METHODS.items())
    ]


def _parse(text: str) -> Applied:
    settings: list[MethodSettings] = []
    targets: list[Target] = []
    for part in text.split("+"):
        head, _, keys = part.partition(":")
        name, at, target = head.strip().partition("@")
        if name not in METHODS:
            raise AdvisorError(f"{unknown('training method', name, METHODS)} (--method {FORM})")
        if at and target not in ("dense", "plan"):
            raise AdvisorError(f"--method {text!r}: got target {target!r}, expected dense or plan")
        settings.append(_settings(METHODS[name], text, keys))
        targets.append("plan" if (target or METHODS[name].target) == "plan" else "dense")
    if len(set(targets)) > 1:
        raise AdvisorError(
            f"--method {text!r} joins methods for {' and '.join(sorted(set(targets)))}; write @dense or @plan at each"
        )
    if len({one.name for one in settings}) < len(settings):
        raise AdvisorError(f"--method {text!r} names one method twice; join different ones")
    label = "+".join([targets[0], *(one.name for one in settings)])
    return Applied(text=text, label=label, target=targets[0], settings=tuple(settings))


def _settings(kind: type[MethodSettings], text: str, keys: str) -> MethodSettings:
    hints = get_type_hints(kind)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    values: dict[str, int | float | bool | str] = {}
    for item in filter(None, (word.strip() for word in keys.split(","))):
        key, equals, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if key not in fields:
            known = ", ".join(f"{name}={getattr(kind(), name)}" for name in fields) or "none"
            raise AdvisorError(f"--method {text!r}: {kind.name} has no setting {key!r}; it has {known}")
        if not equals:
            raise AdvisorError(f"--method {text!r}: setting {key!r} has no value; write {key}=VALUE")
        if key in values:
            raise AdvisorError(f"--method {text!r}: setting {key!r} is given twice")
        values[key] = _value(fields[key], value.strip(), f"--method {text!r}: setting {key}")
    return kind(**values)


def _value(kind: type, text: str, where: str) -> int | float | bool | str:
    if kind is bool:
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise AdvisorError(f"{where} got {text!r}, expected true or false")
        return text.lower() in ("true", "yes", "1")
    if kind is str:
        return text
    try:
        number = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise AdvisorError(f"{where} got {text!r}, expected {what}") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise AdvisorError(f"{where} got {text!r}, expected a finite number")
    found: int | float = number
    return found
