"""What is asked of single layers, as it stands in the page's fields and address: "layer4.*=channel@0.25"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from advisor.errors import AdvisorError
from advisor.network import Network
from advisor.planning.constraints.asked import asked_of


def arguments(pins: Sequence[str], forbidden: Sequence[str]) -> dict[str, Any]:
    """For `advisor.plan`: pins by layer, forbidden patterns by layer."""
    found: dict[str, list[str]] = {}
    for text in forbidden:
        layer, _, names = text.partition("=")
        found.setdefault(layer.strip(), []).extend(name.strip() for name in names.split(",") if name.strip())
    chosen = dict((part.strip() for part in text.split("=", 1)) for text in pins)
    return {key: value for key, value in (("pins", chosen), ("forbidden", found)) if value}


def problem(text: str, kind: str) -> str:
    """What is wrong with one pin ("pin") or forbidden pattern ("forbid") as typed; "" when nothing is."""
    layer, equals, value = text.partition("=")
    if not equals or not layer.strip() or not value.strip():
        example = "layer4.*=channel@0.25" if kind == "pin" else "layer4.*=width"
        return f"{kind} {text[:80]!r}; expected LAYER={'OPTION' if kind == 'pin' else 'PATTERN'}, for example {example}"
    try:
        asked_of(**arguments(*(((text,), ()) if kind == "pin" else ((), (text,)))))
    except AdvisorError as error:
        return str(error)
    return ""


def offered(network: Network | None, patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Pins and forbidden patterns to choose from; others can be typed."""
    if network is None:
        return [], []
    names = [layer.name for layer in network.sparsifiable]
    return [f"{name}=dense" for name in names], [f"{name}={pattern}" for name in names for pattern in patterns]
