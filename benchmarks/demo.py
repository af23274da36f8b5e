"""The main job on an embedded default: half the latency of a convolutional network on cluttered digits.

Runs the same commands that a user would type, prints each of them, and leaves profile, plan, front and report in one
folder. Started again, it keeps what is finished and goes on with the rest.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from advisor.cli import run
from advisor.errors import AdvisorError

MODEL = "zoo:digits_cnn"
# The plain narrower network narrows the first convolution, too, and here that holds the largest activations: the plan
# may do what its rival does.
ENDS = ("--include-ends",)


def step(title: str, *arguments: str, made: Path | None = None) -> None:
    """Prints and runs one command; a file that an earlier demo finished is kept."""
    print(f"\n\033[1m{title}\033[0m\n$ advisor {shlex.join(arguments)}", flush=True)
    if made is not None and made.exists():
        print(f"{made} is there already: kept", flush=True)
        return
    began = time.perf_counter()
    status = run(list(arguments))
    if status:
        sys.exit(status)
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="demo", type=Path, help="folder for everything that is made")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--latency", default="50%", help="the budget")
    parser.add_argument("--patterns", default="group,width,channel")
    # One thread: work of a millisecond gains nothing from more, and stays steady beside other processes.
    parser.add_argument("--threads", default=1, type=int, help="CPU threads of the network that is timed")
    parser.add_argument("--profile-seconds", default=60, type=float)
    parser.add_argument("--epochs", default=4, type=int)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--train-size", default=8000, type=int)
    parser.add_argument("--test-size", default=2000, type=int)
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    profile, plan, report = out / "profile.json", out / "plan.json", out / "validation"
    began = time.perf_counter()

    step("1. What does the network hold and do?", "analyze", given.model)
    step(
        "2. How long does every layer take here, under every pattern?",
        *("profile", given.model, "--device", "cpu", "--threads", str(given.threads)),
        *("--budget-seconds", f"{given.profile_seconds:g}"),
        *("--patterns", given.patterns, *ENDS, "--out", str(profile)),
        made=profile,
    )
    step(
        f"3. Which connections should go to reach {given.latency} of the latency?",
        *("plan", given.model, "--budget", f"latency={given.latency}", "--profile", str(profile)),
        *("--patterns", given.patterns, *ENDS, "--out", str(plan)),
        made=plan,
    )
    step(
        "4. Is it really that fast?",
        *("latency", given.model, "--profile", str(profile), "--plan", str(plan), "--verify"),
    )
    step(
        "5. What would other budgets cost?",
        *("frontier", given.model, "--cost", "latency", "--points", "20", "--profile", str(profile)),
        *("--patterns", given.patterns, *ENDS, "--plan", str(plan), "--figure", str(out / "frontier.html")),
    )
    step(
        "6. What does it cost in accuracy, beside the plain alternatives?",
        *("validate", given.model, "--plan", str(plan), "--profile", str(profile), "--data", "cluttered"),
        *("--epochs", str(given.epochs), "--seeds", str(given.seeds), "--baselines", "width,uniform,erk"),
        *("--train-size", str(given.train_size), "--test-size", str(given.test_size), "--out", str(report)),
    )
    print(f"\nDone in {time.perf_counter() - began:.0f} s. Open {report / 'report.html'} and {out / 'frontier.html'}.")


if __name__ == "__main__":
    try:
        main()
    except AdvisorError as error:
        sys.exit(f"demo: error: {error}")
