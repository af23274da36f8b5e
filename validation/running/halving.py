"""Successive halving: every plan starts, and after each rung of epochs only the better share of them goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError
from advisor.files import read_json, write_json
from validation.engines.engine import Engine, Job, Result, Task
from validation.running.results import checkpoint_file, run_name

if TYPE_CHECKING:
    from validation.reporting.exchange import Accuracies

FILE = "halving.json"
ALWAYS = ("dense", "plan")  # the yardstick and the question: both always run to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Who competes, and after how many epochs the worse of them stop.

    Attributes:
        factor: at each rung one plan of `factor` goes on, rounded up.
        rungs: epochs after which plans are compared, rising; the last is the whole length, where nothing is decided.
        plans: those that can be stopped, in their order.
        seeds: runs of each plan; all of a plan's runs go on or none.
    """

    factor: int
    rungs: tuple[int, ...]
    plans: tuple[str, ...]
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a rung decided: `kept` from the best on, `stopped` with the reason of each."""

    epoch: int
    kept: tuple[str, ...]
    stopped: Mapping[str, str]


def schedule(labels: Sequence[str], seeds: Sequence[int], *, epochs: int, factor: int) -> Halving:
    """The rungs of successive halving (Jamieson and Talwalkar 2016, the geometry of Li et al. 2018).

    With C competing plans and R epochs a run: rungs at R / factor^k, k = K … 0, rounded down; K is as large as it takes
    to come down from C plans to one, and as R allows (no rung before the first epoch). Fewer plans therefore decide
    later, when a decision is worth more. The dense network and the plan itself never stop: everything is measured
    beside the one, and the other is what was asked about. The plan does not count among the C, either.

    Every run has the schedule of its full length, so that at a rung its rate is still high and ranks are less sure than
    those of runs that end there: after 4 of 16 epochs Spearman's rho with the end was 0.37 (-0.26 to 0.78) on the way
    and 0.87 (0.48 to 0.99) in runs of 4 epochs, after 8 it was 0.89 and 0.97 (benchmarks/how_long.py, 12 plans).

    Raises:
        AdvisorError: a factor below 2.
    """
    if factor < 2:
        raise AdvisorError(f"halving got {factor}; expected 2 or more: one plan of so many goes on at each rung")
    plans = tuple(label for label in labels if label not in ALWAYS)
    rounds, left = 0, len(plans)
    while left > 1 and factor ** (rounds + 1) <= epochs:
        rounds, left = rounds + 1, math.ceil(left / factor)
    rungs = tuple(epochs // factor**k for k in range(rounds, -1, -1))
    return Halving(factor=factor, rungs=rungs, plans=plans, seeds=tuple(seeds))


def cut(halving: Halving, rung: int, competing: Sequence[str], accuracies: Accuracies) -> Cut:
    """Decides rung number `rung`.

    Plans are ranked by their mean test accuracy over the seeds that all competing plans finished up to here, so that
    every plan is judged by the same luck. A plan that no seed finished is behind all others. Equal plans keep their
    order.

    Args:
        competing: plans that have come this far, among `halving.plans`.
        accuracies: plan → seed → test accuracy after the rung's epoch.
    """
    epoch = halving.rungs[rung]
    alive = [plan for plan in competing if accuracies.get(plan)]
    shared = sorted(set.intersection(*(set(accuracies[plan]) for plan in alive))) if alive else []
    means = {
        plan: math.fsum(runs[seed] for seed in seeds) / len(seeds)
        for plan in alive
        for runs in (accuracies[plan],)
        for seeds in (shared or sorted(runs),)
    }
    order = sorted(competing, key=lambda plan: -means.get(plan, -math.inf))
    going = math.ceil(len(competing) / halving.factor)
    last = order[going - 1]
    stopped = {}
    for place, plan in enumerate(order[going:], going + 1):
        reached = f"test accuracy {means[plan]:.4f}" if plan in means else "no accuracy"
        bar = f", {last} had {means[last]:.4f}" if last in means else ""
        stopped[plan] = (
            f"after epoch {epoch} of {halving.rungs[-1]}: {reached}, place {place} of {len(order)}; "
            f"the best {going} went on{bar}"
        )
    return Cut(epoch=epoch, kept=tuple(order[:going]), stopped=stopped)


def run_halved(job: Job, engine: Engine, factor: int) -> Iterator[Result]:
    """Every plan's runs up to the first rung, those that go on up to the next, and so on; then all that are left.

    A decision is a function of the results at its rung, which stay in the folder: a validation that was killed decides
    the same again.

    Yields:
        The results. Those of a stopped plan have no `accuracy` and no `loss`, so that nobody averages them in with runs
        of full length; `stopped` says why, `epochs[]` what they had reached.
    """
    study = job.study
    labels = [one.label for one in study.contestants]
    halving = schedule(labels, study.seeds, epochs=study.recipe.epochs, factor=factor)
    fix(halving, study.out)
    going = halving.plans
    for rung, epoch in enumerate(halving.rungs[:-1]):
        tasks = [Task(label=label, seed=seed, until=epoch) for seed in study.seeds for label in going]
        results = list(engine.run(tasks))
        accuracies: dict[str, dict[int, float]] = {label: {} for label in going}
        for result in results:
            name = run_name(result["plan"], result["seed"])
            job.monitor.pause(name)
            if result.get("lost"):  # deciding without it would not be decided the same next time
                raise AdvisorError(f"{name} is needed to halve the plans: {result['problem']}")
            if result["accuracy"] is not None:
                accuracies[result["plan"]][result["seed"]] = result["accuracy"]
        decided = cut(halving, rung, going, accuracies)
        for result in results:
            reason = decided.stopped.get(result["plan"])
            if reason is not None:
                checkpoint_file(study, run_name(result["plan"], result["seed"])).unlink(missing_ok=True)
                yield result | {"accuracy": None, "loss": None, "stopped": "" if result["problem"] else reason}
        going = tuple(label for label in halving.plans if label in decided.kept)
    left = [label for label in labels if label not in halving.plans or label in going]
    yield from engine.run([Task(label=label, seed=seed) for seed in study.seeds for label in left])


def fix(halving: Halving, out: Path) -> None:
    """Writes the schedule into `out`, or checks that the one there is the same: a decision leans on who took part.

    Raises:
        AdvisorError: the folder's runs were stopped under another schedule; the first difference is named.
    """
    path, wanted = out / FILE, halving.to_json()
    if path.exists():
        before = read_json(path)
        old = before if isinstance(before, dict) else {}
        for key, value in wanted.items():
            if old.get(key) != value:
                raise AdvisorError(
                    f"{out} holds runs that were halved with {key}={old.get(key)}, got {value}; plans and seeds "
                    "cannot join later: repeat the old ones, choose another --out, or pass --restart"
                )
        return
    write_json(path, wanted)
