"""Background work: results, failures, stopping, and finding it again."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from advisor.errors import BudgetError
from validation.page.jobs import Command, Desk


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def fail(error: Exception) -> None:
    raise error


def test_a_job_keeps_its_result() -> None:
    desk = Desk()
    job = desk.job("a", lambda: 41 + 1)
    until(lambda: job.state == "done")
    assert job.result == 42
    assert desk.find("a") is job
    assert desk.job("a", lambda: 0) is job
    spent = job.seconds
    time.sleep(0.02)
    assert job.seconds == spent


def test_a_users_mistake_is_one_line_and_can_be_tried_again() -> None:
    desk = Desk()
    job = desk.job("a", lambda: fail(BudgetError("too\nsmall")))
    until(lambda: job.state == "failed")
    assert job.error == "too small"
    assert desk.job("a", lambda: 1) is job
    again = desk.again("a", lambda: 1)
    until(lambda: again.state == "done")
    assert desk.again("a", lambda: 2) is again


def test_a_bug_is_told_without_a_traceback() -> None:
    job = Desk().job("a", lambda: fail(KeyError("lost")))
    until(lambda: job.state == "failed")
    assert job.error.startswith("unexpected KeyError: 'lost'")


def test_only_so_many_work_at_once() -> None:
    desk, gate = Desk(at_once=1), threading.Event()
    first = desk.job(1, gate.wait)
    until(lambda: first.state == "running")
    second = desk.job(2, lambda: None)
    time.sleep(0.05)
    assert second.state == "waiting"
    gate.set()
    until(lambda: second.state == "done")


def test_the_oldest_answers_are_forgotten_but_never_running_work() -> None:
    desk, gate = Desk(kept=2), threading.Event()
    running = desk.job("running", gate.wait)
    jobs = [desk.job(i, lambda: None) for i in range(4)]
    until(lambda: all(job.state == "done" for job in jobs))
    desk.job("last", lambda: None)
    assert desk.find("running") is running
    assert desk.find(0) is None
    gate.set()


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    run = Command(["plan", "zoo:no_such", "--budget", "macs=50%"], tmp_path / "run")
    until(lambda: run.state != "running")
    assert run.state == "failed"
    assert "no_such" in run.error
    assert "\n" not in run.error
    assert run.seconds > 0


def test_a_command_can_be_stopped_at_any_time(tmp_path: Path) -> None:
    run = Command(["profile", "zoo:digits_cnn", "--out", str(tmp_path / "p.json")], tmp_path)
    run.stop()
    until(lambda: run.state != "running")
    assert run.state == "stopped"
    run.stop()  # once more does no harm
    assert not (tmp_path / "p.json").exists()


@pytest.mark.slow
def test_a_command_is_stopped_in_order(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    desk = Desk()
    arguments = ["profile", "zoo:digits_cnn", "--device", "cpu", "--budget-seconds", "600", "--out", str(out)]
    run = desk.command("m", arguments, tmp_path)
    assert desk.command("m", arguments, tmp_path) is run
    until(lambda: (run.progress().share or 0) > 0, 90)
    assert run.state == "running"
    run.stop()
    until(lambda: run.state != "running")
    assert run.state == "stopped"
    assert not out.exists()
    assert Path(f"{out}.partial").exists()  # the next run goes on from there


def test_progress_is_read_from_the_bar(tmp_path: Path) -> None:
    run = Command(["--version"], tmp_path)
    until(lambda: run.state == "done")
    bar = "hello\rmeasuring 5/41 |##      | 00:13, 2 min 49 s left, conv2d in=1x64x10x10, and more   \r\n"
    (tmp_path / "log.txt").write_text(bar)
    progress = run.progress()
    assert (progress.share, progress.left, progress.text) == (5 / 41, "2 min 49 s", "measuring 5 of 41")
    (tmp_path / "log.txt").write_text("")
    assert run.progress().text == "starting"
