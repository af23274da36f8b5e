"""TensorBoard's logs, read back by TensorBoard itself."""

from pathlib import Path
from typing import Any

import pytest

from advisor.errors import AdvisorError
from validation.running.logs import Logs, check_tensorboard
from validation.training.recipe import EpochResult

pytest.importorskip("tensorboard")

EPOCHS = [
    EpochResult(loss=2.0, accuracy=0.25, seconds=1.0, test_loss=1.5, test_accuracy=0.5, step_ms=12.0, peak_bytes=2**30),
    EpochResult(loss=1.0, accuracy=0.5, seconds=1.0, numbers={"alive": 7.0}),
]


def read(place: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def result(accuracy: float | None = 0.75, **more: Any) -> dict[str, Any]:
    return {"plan": "erk", "seed": 1, "accuracy": accuracy, "epochs": [e.to_json() for e in EPOCHS], **more}


def test_epochs_are_steps_of_each_run(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.saved("erk-1", EPOCHS[:1])
    logs.saved("erk-1", EPOCHS)
    logs.finished(result(problem="", stopped=""))
    found = read(tmp_path / "tensorboard" / "erk-1")
    assert found["loss/training"] == [(1, 2.0), (2, 1.0)]
    assert found["accuracy/test"] == [(1, 0.5)]
    assert found["method/alive"] == [(2, 7.0)]
    assert found["cost/ms per step"] == [(1, 12.0)]
    assert found["result/test accuracy"] == [(2, 0.75)]


def test_a_run_that_goes_on_stands_there_once(tmp_path: Path) -> None:
    killed = Logs(tmp_path)
    killed.saved("erk-1", EPOCHS[:1])
    killed.close()
    again = Logs(tmp_path)
    again.saved("erk-1", EPOCHS[:1])  # its checkpoint
    again.saved("erk-1", EPOCHS)
    again.finished(result(None, problem="the loss became nan"))
    found = read(tmp_path / "tensorboard" / "erk-1")
    assert found["loss/training"] == [(1, 2.0), (2, 1.0)]
    assert "result/test accuracy" not in found
    assert len(list((tmp_path / "tensorboard" / "erk-1").iterdir())) == 1


def test_without_tensorboard_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.running.logs.find_spec", lambda name: None)
    with pytest.raises(AdvisorError, match=r"sparsity-advisor\[tensorboard\]"):
        check_tensorboard()
