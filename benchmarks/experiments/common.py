"""What experiments share: trials that are kept on disk, and claims with the rows that they rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tabulate import tabulate
from tqdm import tqdm

from advisor.files import read_json, write_json
from validation.reporting.statistics import Mean, mean_interval, paired

Scale = Literal["quick", "full"]
Shown = Literal["shown", "not shown", "opposite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting's figure: a mean, with its 95 % interval where there are several values."""

    setting: str
    mean: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a paper claims, what was measured, and whether that shows it."""

    text: str
    rows: tuple[Row, ...]
    shown: Shown
    note: str = ""


class Lab:
    """Where an experiment works: its seeds, its scale, and a folder that remembers trials.

    Attributes:
        seeds: of the trials.
        scale: "quick" proves in seconds that the experiment runs; its figures mean nothing.
        out: the experiment's folder.
    """

    def __init__(self, name: str, out: Path, *, scale: Scale, seeds: Sequence[int]) -> None:
        self.out, self.scale, self.seeds = out / name, scale, tuple(seeds)
        self._bar = tqdm(desc=name, unit="trial", leave=False)
        self.out.mkdir(parents=True, exist_ok=True)

    def trial(self, key: str, function: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The numbers of `function`, from an earlier call where one finished it."""
        path = self.out / f"{self.scale}-{key}.json"
        self._bar.set_postfix_str(key)
        if not path.exists():
            write_json(path, function())
        self._bar.update()
        found: dict[str, float] = read_json(path)
        return found

    def close(self) -> None:
        self._bar.close()


Experiment = Callable[[Lab], Iterator[Claim]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An experiment and the paper whose claims it tries."""

    run: Experiment
    paper: str


EXPERIMENTS: dict[str, Entry] = {}


def experiment(name: str, *, paper: str) -> Callable[[Experiment], Experiment]:
    """Puts an experiment into the table under `name`."""

    def register(run: Experiment) -> Experiment:
        if name in EXPERIMENTS:
            raise ValueError(f"two experiments are called {name!r}")
        EXPERIMENTS[name] = Entry(run=run, paper=paper)
        return run

    return register


def row(setting: str, values: Mapping[int, float] | Sequence[float], unit: str = "") -> Row:
    """A row of the mean over seeds, with Student's t interval."""
    found = mean_interval(list(values.values()) if isinstance(values, Mapping) else list(values))
    return Row(setting=setting, mean=found.mean, low=found.low, high=found.high, unit=unit, count=found.count)


def compare(values: Mapping[int, float], reference: Mapping[int, float]) -> Mean:
    """The mean difference over the seeds that both have, with its paired 95 % interval.

    Raises:
        ValueError: they share no seed.
    """
    found = paired(values, reference)
    if found is None:
        raise ValueError("the two settings share no seed")
    return found


def difference(setting: str, values: Mapping[int, float], reference: Mapping[int, float], unit: str = "") -> Row:
    """A row of `compare`."""
    found = compare(values, reference)
    return Row(setting=setting, mean=found.mean, low=found.low, high=found.high, unit=unit, count=found.count)


def sign(found: Mean | Row, *, expected: Literal[1, -1] = 1) -> Shown:
    """What a difference says of a claim that it is positive (or negative): its interval decides."""
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return "not shown"
    return "shown" if (found.low > 0) == (expected > 0) else "opposite"


def text_of(name: str, paper: str, claims: Sequence[Claim]) -> str:
    """An experiment's claims as tables."""
    parts = [f"{name} ({paper})"]
    for claim in claims:
        rows = [
            [one.setting, _number(one.mean), f"{_number(one.low)} to {_number(one.high)}", one.unit, one.count]
            for one in claim.rows
        ]
        parts += ["", f"{claim.shown.upper()}: {claim.text}"]
        parts += [claim.note] * bool(claim.note)
        parts += [tabulate(rows, headers=["setting", "mean", "95 % interval", "unit", "n"], disable_numparse=True)]
    return "\n".join(parts)


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
