"""TensorBoard's logs of a validation: a folder per run, from the epochs that its results file holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError
from validation.running.results import run_name

if TYPE_CHECKING:
    from validation.training.recipe import EpochResult

FOLDER = "tensorboard"
_SCALARS = {  # of an epoch → the name under which TensorBoard groups it
    "loss": "loss/training",
    "accuracy": "accuracy/training",
    "test_loss": "loss/test",
    "test_accuracy": "accuracy/test",
    "step_ms": "cost/ms per step",
    "peak_bytes": "cost/peak bytes",
}


def check_tensorboard() -> None:
    """Raises AdvisorError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise AdvisorError(
            "--tensorboard needs TensorBoard, which is not installed; "
            'install it with pip install "sparsity-advisor[tensorboard]", or leave --tensorboard out'
        )


class Logs:
    """Writes each run's epochs as they come. A run that goes on in a new process is written anew, so none stands twice.

    Only the process that drives a validation writes here, wherever its runs happen.
    """

    def __init__(self, out: Path) -> None:
        """Logs go to `out`/tensorboard/RUN.

        Raises:
            AdvisorError: TensorBoard is not installed.
        """
        check_tensorboard()
        self._folder = out / FOLDER
        self._writers: dict[str, Any] = {}
        self._written: dict[str, int] = {}

    def saved(self, run: str, history: Sequence[EpochResult]) -> None:
        """The run "erk-1" stands after these epochs."""
        self._write(run, [epoch.to_json() for epoch in history])

    def finished(self, result: Mapping[str, Any]) -> None:
        """A run has its result, from this process or an earlier one; its files are closed."""
        run = run_name(result["plan"], result["seed"])
        self._write(run, result["epochs"])
        if result["accuracy"] is not None:
            self._writer(run).add_scalar("result/test accuracy", result["accuracy"], len(result["epochs"]))
        for key in ("problem", "stopped"):
            if result.get(key):
                self._writer(run).add_text(key, str(result[key]), len(result["epochs"]))
        self._writers.pop(run).close()

    def close(self) -> None:
        """Writes out what is left of runs that are not finished."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, run: str, epochs: Sequence[Mapping[str, Any]]) -> None:
        writer = self._writer(run)
        for number in range(self._written[run], len(epochs)):
            epoch = epochs[number]
            for key, name in _SCALARS.items():
                if epoch.get(key) is not None:
                    writer.add_scalar(name, epoch[key], number + 1)
            for name, value in (epoch.get("numbers") or {}).items():
                writer.add_scalar(f"method/{name}", value, number + 1)
        self._written[run] = max(self._written[run], len(epochs))
        writer.flush()

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what TensorBoard's own imports say
                from torch.utils.tensorboard import SummaryWriter

            place = self._folder / run
            for old in place.glob("events.out.tfevents.*"):
                with suppress(FileNotFoundError):
                    old.unlink()
            self._writers[run] = SummaryWriter(str(place))
            self._written[run] = 0
        return self._writers[run]
