"""A validation's folder: whose runs lie there, who may work there, and how it is emptied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError
from advisor.files import read_json, take_lock, write_json
from validation.methods.at_work import FOUND
from validation.running.results import RUNS
from validation.running.trials import contestant_digest

if TYPE_CHECKING:
    from validation.running.trials import Study

SETTINGS = "settings.json"


def open_folder(study: Study) -> None:
    """Makes the folder, or checks that what lies there belongs to this study.

    Raises:
        AdvisorError: it holds runs under other settings; the first difference is named.
    """
    (study.out / RUNS).mkdir(parents=True, exist_ok=True)
    wanted = study.settings()
    plans = {one.label: contestant_digest(one) for one in study.contestants}
    path = study.out / SETTINGS
    before: Mapping[str, Any] = {}
    if path.exists():
        before = read_json(path)
        if not isinstance(before, dict) or not isinstance(before.get("plans"), dict):
            raise AdvisorError(f"{path} is no validation's settings; choose another --out")
        differences = [(key, before.get(key), value) for key, value in wanted.items() if before.get(key) != value]
        differences += [
            (f"plan {label!r}", before["plans"][label], value)
            for label, value in plans.items()
            if before["plans"].get(label, value) != value
        ]
        if differences:
            key, old, new = differences[0]
            raise AdvisorError(
                f"{study.out} holds runs with {key}={old}, got {new}; repeat the old settings to go on, "
                "or choose another --out, or pass --restart to throw the old runs away"
            )
    write_json(path, wanted | {"plans": dict(before.get("plans", {})) | plans})


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keeps a second validation out of the folder; the lock ends with the process, however it ends.

    Raises:
        AdvisorError: another process works there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("wb") as stream:
        if not take_lock(stream):
            raise AdvisorError(f"another validation runs in {out}; wait for it, or choose another --out")
        _sweep(out)
        try:
            yield
        finally:
            _sweep(out)


def _sweep(out: Path) -> None:
    """Removes what writers that were killed left half-written; see `advisor.files.write_bytes`."""
    for place in (".settings.json.*", ".progress.json.*", ".report.*", f"{RUNS}/.*", "plans/.*", f"{FOUND}/*/.*"):
        for left in out.glob(f"{place}.tmp"):
            left.unlink(missing_ok=True)


def discard(out: Path) -> None:
    """Throws a validation's runs away: only files that one writes."""
    for pattern in (
        SETTINGS,
        "report.*",
        "progress.json",
        "halving.json",
        "rates.json",
        "tensorboard/*/events.out.tfevents.*",
        f"{RUNS}/*-*.json",
        f"{RUNS}/*-*.pt",
        "plans/*",
        f"{FOUND}/*/*",
    ):
        for path in out.glob(pattern):
            if path.is_file():
                path.unlink()
