"""SPDY's timing files as they stand (Frantar and Alistarh, ICML 2022), every line checked.

base            whole network, seconds
0.45038264
prunable        sum of the layers below
0.44644355
conv1           a layer's dotted name
0.013860 0.0000 seconds and sparsity, one line each
…
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.errors import ProfileError


@dataclass(frozen=True, slots=True)
class Timings:
    """A file as it stands: `layers` has (line, seconds, sparsity) of each layer, in the file's order."""

    base: float
    prunable: float
    layers: dict[str, list[tuple[int, float, float]]]
    names: dict[str, int]  # layer → the line that names it


def parse(text: str, file: str) -> Timings:
    """Reads a file.

    Raises:
        ProfileError: line, column, got, expected.
    """
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    totals: dict[str, float] = {}
    for place, word in enumerate(("base", "prunable")):
        at = lines[2 * place : 2 * place + 2]
        if len(at) < 2 or at[0][1] != [word]:
            number, got = (at[0][0], " ".join(at[0][1])) if at else (len(lines) + 1, "")
            raise ProfileError(f"{file} row {number}: got {got[:60]!r}, expected {word!r} and a number below it")
        totals[word] = _number(at[1][1][0], file, at[1][0], f"seconds of {word}", above=0.0)
    layers: dict[str, list[tuple[int, float, float]]] = {}
    names: dict[str, int] = {}
    name = ""
    for number, words in lines[4:]:
        if len(words) == 1 and not _numeric(words[0]):
            name = words[0]
            if name in names:
                raise ProfileError(
                    f"{file} row {number}, column layer: got {name[:60]!r} again, expected each layer once (first in "
                    f"row {names[name]})"
                )
            names[name] = number
        elif len(words) != 2:
            raise ProfileError(
                f"{file} row {number}: got {len(words)} words, expected a layer's name, or seconds and a sparsity"
            )
        elif not name:
            raise ProfileError(f"{file} row {number}, column layer: got a time before any layer's name, expected one")
        else:
            seconds = _number(words[0], file, number, "seconds", above=0.0)
            sparsity = _number(words[1], file, number, "sparsity", above=-1e-9, below=1.0)
            layers.setdefault(name, []).append((number, seconds, max(sparsity, 0.0)))
    if not layers:
        raise ProfileError(f"{file}: no layer with times, expected at least one")
    return Timings(totals["base"], totals["prunable"], layers, names)


def looks_like(text: str) -> bool:
    """Whether a text begins as such a file does."""
    return text[:4096].split()[0:3:2] == ["base", "prunable"]


def _numeric(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(word: str, file: str, line: int, column: str, *, above: float, below: float = math.inf) -> float:
    value = float(word) if _numeric(word) else math.nan
    if not above < value < below:
        limit = f"a number above {max(above, 0):g}" if below == math.inf else f"a number from 0 up to {below:g}"
        raise ProfileError(f"{file} row {line}, column {column}: got {word[:60]!r}, expected {limit}")
    return value
