"""The files that hold what runs found out: where they lie, and reading them back."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError
from advisor.files import read_json

if TYPE_CHECKING:
    from validation.running.trials import Study

RUNS = "runs"
RESULT = {  # what a run's file holds beside `plan` and `seed`
    "accuracy": (float, int, NoneType),
    "loss": (float, int, NoneType),
    "seconds": (float, int),
    "params": (int,),
    "macs": (int,),
    "epochs": (list,),
    "problem": (str,),
}


def run_name(label: str, seed: int) -> str:
    """Of a run, of its files and of what is told of it: "erk-1"."""
    return f"{label}-{seed}"


def checkpoint_file(study: Study, name: str) -> Path:
    """Where a run's last epoch lies while it has no result."""
    return study.out / RUNS / f"{name}.pt"


def result_file(study: Study, name: str, until: int | None = None) -> Path:
    """Where a run's result lies, or what it had reached after `until` epochs."""
    whole = until is None or until >= study.recipe.epochs
    return study.out / RUNS / (f"{name}.json" if whole else f"{name}@{until}.json")


def known_result(study: Study, label: str, seed: int, *, until: int | None = None) -> dict[str, Any] | None:
    """What an earlier call found out about a run; None where it did not get there."""
    name = run_name(label, seed)
    path = result_file(study, name, until)
    if not path.exists():
        return None
    if path == result_file(study, name):  # a checkpoint was left by a process that was killed between the two
        checkpoint_file(study, name).unlink(missing_ok=True)
    return _read_result(path, label, seed)


def _read_result(path: Path, label: str, seed: int) -> dict[str, Any]:
    """A result that an earlier call wrote.

    Raises:
        AdvisorError: someone else wrote it.
    """
    found = read_json(path)
    wrong = "no object" if not isinstance(found, dict) else ""
    if not wrong and (found.get("plan"), found.get("seed")) != (label, seed):
        wrong = f"of plan {str(found.get('plan'))[:40]!r}, seed {str(found.get('seed'))[:20]}"
    for key, kinds in RESULT.items() if not wrong else ():
        if type(found.get(key)) not in kinds:
            wrong = f"with {key}={str(found.get(key))[:40]}"
            break
    if wrong:
        raise AdvisorError(f"{path} is no result of {run_name(label, seed)} ({wrong}); delete it to run it anew")
    result: dict[str, Any] = found
    return result
