"""How well predicted losses rank plans that were really trained, and whether planning by them pays.

    python benchmarks/sensitivity.py --out FOLDER [--minutes 30] [--plans 36] [--seeds 2] [--cases plain,residual]
    python benchmarks/sensitivity.py --out FOLDER --latency [--minutes 30]

Draws random plans of small networks at equal budgets, trains each shortly on cluttered digits with several seeds, and
prints Spearman's correlation between the loss that each sensitivity predicts and the one that was measured, within each
budget. "trained" is held out: its curves are fitted to the other plans' runs. `--latency` then takes the plans that
sensitivities make and sets them beside uniform, ERK and width at equal measured latency, paired over seeds. Everything
is kept in the folder; started again, it goes on. What is not done yet is said. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from advisor.errors import AdvisorError
from validation.reporting.exchange import way_of

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.judging.predict import Prediction, known_responses, predictions  # noqa: E402
from benchmarks.judging.runs import CASES, Trained, prepare, train  # noqa: E402
from benchmarks.judging.scores import Correlation, ceiling, correlation  # noqa: E402


def measured(group: Trained) -> dict[str, dict[int, float]]:
    """Plan → seed → loss, over the seeds that most plans have finished; plans that lack one of them are left out."""
    found = {
        label: {
            seed: float(run["loss"])
            for seed in group.study.seeds
            if (run := group.result(label, seed)) is not None and run["loss"] is not None
        }
        for label in group.plans
    }
    counts = {seed: sum(seed in runs for runs in found.values()) for seed in group.study.seeds}
    seeds = [seed for seed, count in counts.items() if count and count >= 0.8 * max(counts.values())]
    return {label: {s: runs[s] for s in seeds} for label, runs in found.items() if seeds and set(seeds) <= set(runs)}


def judged(group: Trained) -> str:
    """The table of one case."""
    losses = measured(group)
    if len(losses) < 8:
        return f"{group.name}: {len(losses)} plans have finished; too few to judge"
    means = {label: float(np.mean(list(runs.values()))) for label, runs in losses.items()}
    budget = {label: label.partition("-")[0] for label in losses}
    style = {label: f"{budget[label]} {way_of(group.plans[label])}" for label in losses}
    found = predictions(group, known_responses(group, group.study.seeds))
    rows = []
    for name, one in sorted(found.items(), key=lambda item: -_rho(item[1], means, budget)):
        if one.problem:
            rows.append([name, one.problem[:60], "", ""])
            continue
        everything = correlation(one.losses, means, budget)
        alike = correlation(one.losses, means, style)
        rows.append([name, _text(everything), _text(alike), f"{one.seconds:.1f}"])
    seeds = len(next(iter(losses.values())))
    head = (
        f"{group.name}: {len(losses)} plans at {' and '.join(sorted(set(budget.values())))} of MACs, {seeds} seeds, "
        f"losses {min(means.values()):.3f} to {max(means.values()):.3f} nats; a perfect prediction would reach about "
        f"{ceiling(losses, budget):.2f} for the noise of the runs"
    )
    columns = ["sensitivity", "all plans", "plans of the same patterns", "seconds"]
    return head + "\n" + tabulate(rows, headers=columns, tablefmt="github", disable_numparse=True)


def _rho(one: Prediction, means: dict[str, float], strata: dict[str, str]) -> float:
    return -2.0 if one.problem else correlation(one.losses, means, strata).rho


def _text(found: Correlation) -> str:
    return f"{found.rho:.2f} ({found.low:.2f} to {found.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where plans and runs are kept")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training in this call; 0 only prints")
    parser.add_argument("--plans", type=int, default=36, help="at each budget")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES), help="plain, residual, plain-pretrained")
    parser.add_argument("--latency", action="store_true", help="compare plans at equal measured latency instead")
    parser.add_argument("--share", type=float, default=0.5, help="with --latency: of the dense network's")
    parser.add_argument("--rounds", type=int, default=1, help="with --latency: of trained, each learns from the last")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = [name for name in arguments.cases.split(",") if name]
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.threads} thread(s)")
    try:
        groups = [prepare(name, arguments.out, arguments.plans, arguments.seeds) for name in names]
        if arguments.latency:
            from benchmarks.judging.in_time import compared

            for group in groups:
                each = arguments.minutes / len(groups)
                print(
                    compared(group, each, arguments.seeds, share=arguments.share, rounds=arguments.rounds) + "\n",
                    flush=True,
                )
            return
        left = train(groups, arguments.minutes)
        for group in groups:
            print(judged(group) + "\n", flush=True)
        print(f"{left} runs are still to do; run it again to go on" if left else "all runs are done")
    except AdvisorError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
