"""Kills a validation of 12 trials at random moments and compares its report with an undisturbed one.

    python benchmarks/survive.py --kills 20 --out survive/

Driver (SIGKILL, then started again), worker (SIGKILL) and memory (a worker meets a limit on its address space, as in a
container that is too small). When a validation is done before all kills are, the next begins in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from tabulate import tabulate

MODEL, BUDGET = "zoo:digits_cnn", "macs=30%"
KINDS = ("driver", "worker", "memory")
WORKER = "validation.engines.worker"
RECIPE = ["--epochs", "4", "--seeds", "3", "--baselines", "width,uniform", "--test-size", "200"]
PATIENCE = 20.0  # seconds for a worker to meet its limit; another one is chosen after that
SPARE = 2**20  # bytes of address space that a worker may still take when its limit falls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=768, help="training images")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds to wait for a kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--out", type=Path, default=Path("survive"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    plan = asked.out / "plan.json"
    if not plan.exists():
        call(["plan", MODEL, "--budget", BUDGET, "--patterns", "channel", "--out", str(plan)])
    whole = asked.out / "undisturbed"
    if not (whole / "report.json").exists():
        call([*validation(plan, whole, asked.images), "--workers", "1"])
    expected = facts(whole)
    draw = random.Random(asked.seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(asked.kills)]
    draw.shuffle(kinds)
    rows, rounds = [], []
    while kinds:
        out = asked.out / f"disturbed-{len(rounds)}"
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        # A run may be hit again and again before it gets further: every one of these deaths is ours.
        command = [*validation(plan, out, asked.images), "--workers", str(asked.workers), "--retries", str(asked.kills)]
        done = survive(command, out, kinds, draw, longest=asked.longest)
        rows += [[len(rows) + index + 1, f"{len(rounds)}", *row] for index, row in enumerate(done)]
        rounds.append([len(rounds), len(done), f"{time.monotonic() - began:.0f} s", differences(expected, facts(out))])
    print(tabulate(rows, ["kill", "round", "whom", "moment", "after", "results then", "runs at work then"]))
    print()
    print(tabulate(rounds, ["round", "kills", "took", "report beside the undisturbed one"]))


def validation(plan: Path, out: Path, images: int) -> list[str]:
    sizes = ["--train-size", str(images), "--threads", "1"]
    return ["validate", MODEL, "--plan", str(plan), *RECIPE, *sizes, "--out", str(out)]


def call(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "advisor.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def survive(command: list[str], out: Path, kinds: list[str], draw: random.Random, *, longest: float) -> list[list[Any]]:
    """One validation, killed until it is done or nobody is left to kill; takes from `kinds`."""
    rows: list[list[Any]] = []
    log = (out.parent / f"{out.name}.log").open("w")
    driver = start(command, log)
    while True:
        # Every other kill falls at any moment, be it while processes start; the rest fall while runs train.
        when = "any" if len(kinds) % 2 else "training"
        began = time.monotonic()
        if when == "training" and kinds:
            wait_for_steps(out, driver)
        try:
            status = driver.wait(timeout=draw.uniform(0.0, longest) if kinds else None)
        except subprocess.TimeoutExpired:
            status = None
        if status == 0:
            log.close()
            return rows
        if status is not None and status != -signal.SIGKILL:
            raise SystemExit(f"the driver ended with status {status}; see {log.name}")
        seen = at_work(out)
        if kill(kinds[-1], driver):
            results = len(list(out.glob("runs/*.json")))
            rows.append([kinds.pop(), when, f"{time.monotonic() - began:.0f} s", results, seen])
            print("killed:", *rows[-1], file=sys.stderr)
        if driver.poll() is not None:
            driver = start(command, log)


def wait_for_steps(out: Path, driver: subprocess.Popen[bytes]) -> None:
    """Until some run has taken steps since now, or the driver has ended."""
    before = progress_of(out).get("done")
    while driver.poll() is None:
        now = progress_of(out)
        if now.get("pid") == driver.pid and now.get("done") != before and now.get("running"):
            return
        if now.get("pid") == driver.pid and before is None:
            before = now.get("done")
        time.sleep(0.1)


def start(command: list[str], log: Any) -> subprocess.Popen[bytes]:
    whole = [sys.executable, "-m", "advisor.cli", *command]
    return subprocess.Popen(whole, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill(whom: str, driver: subprocess.Popen[bytes]) -> bool:
    """Whether someone died of it."""
    if whom == "driver":
        driver.kill()
        driver.wait()
        return True
    found = [child for child in psutil.Process(driver.pid).children() if WORKER in " ".join(child.cmdline())]
    if not found:
        return False
    victim = max(found, key=lambda child: child.cpu_times().user)
    if whom == "worker":
        victim.kill()
        return True
    used = victim.memory_info().vms
    victim.rlimit(psutil.RLIMIT_AS, (used + SPARE, used + SPARE))
    gone, _ = psutil.wait_procs([victim], timeout=PATIENCE)  # it may have all that it needs
    return bool(gone)


def progress_of(out: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((out / "progress.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def at_work(out: Path) -> str:
    progress = progress_of(out)
    if not progress:
        return "not begun"
    return ", ".join(f"{one['run']} {one['epoch']}/{one['epochs']}" for one in progress["running"]) or progress["state"]


def facts(out: Path) -> dict[str, Any]:
    """What a report says, but for times and memory."""
    report = json.loads((out / "report.json").read_text())
    runs = [
        {key: one[key] for key in ("plan", "seed", "accuracy", "loss", "params", "macs", "problem")}
        | {"curve": [(epoch["loss"], epoch["accuracy"], epoch["test_loss"]) for epoch in one["epochs"]]}
        for one in report["runs"]
    ]
    summary = [{key: one[key] for key in ("plan", "mean", "confidence_interval")} for one in report["summary"]]
    return {"runs": runs, "summary": summary, "verdict": report["verdict"]["text"]}


def differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    wrong = [key for key in expected if expected[key] != found[key]]
    return "the same: 12 runs, summary, verdict" if not wrong else f"DIFFERENT in {', '.join(wrong)}"


if __name__ == "__main__":
    main()
