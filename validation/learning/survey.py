"""A designed set of plans, each trained for a short while, to learn what layers and patterns are worth."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError
from advisor.files import read_json, write_json
from advisor.models import load_model
from advisor.plans.plan import load_plan
from advisor.trace import analyze
from validation.contestants import Contestant
from validation.engines import Job
from validation.learning.designed import check_design, design
from validation.learning.responses import FILE, check_collection, keep, responses_of
from validation.opening import check_wish, open_study
from validation.reporting.exchange import way_of
from validation.reporting.receipts import count
from validation.running.folder import alone, discard, open_folder
from validation.running.logs import Logs
from validation.running.matrix import run_all, total_steps
from validation.running.progress import Monitor
from validation.running.trials import Study
from validation.training.rates import with_rate
from validation.wish import RunsWish

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.planning.sensitivity.trained import Learnt
    from advisor.plans.plan import Plan

SCHEMA = "sparsity-advisor/survey-1"
DESIGN = "plans/design.json"  # what the plans were drawn for


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyWish(RunsWish):
    """What the user asks of a survey.

    Attributes:
        plans: how many are drawn.
        budgets: sets of budgets, each as `advisor.plan` takes them; those on times need the profile.
    """

    plans: int
    budgets: tuple[tuple[str, ...], ...]
    patterns: tuple[str, ...] | None = None
    include_ends: bool = False
    rounding: str = "ceil"
    draw_seed: int = 0

    def design(self) -> dict[str, Any]:
        """What must be equal for the plans to be the same."""
        return {
            "plans": self.plans,
            "budgets": [list(one) for one in self.budgets],
            "patterns": list(self.patterns) if self.patterns is not None else None,
            "include_ends": self.include_ends,
            "rounding": self.rounding,
            "draw_seed": self.draw_seed,
            "profile": self.profile_name,
        }


def survey(wish: SurveyWish, *, shown: bool = True) -> dict[str, Any]:
    """Draws the plans, trains them and the dense network, and fits response curves to what they reached.

    What an earlier call finished in the same folder is kept. Ctrl-C leaves everything up to the last epoch.

    Returns:
        The contents of report.json: `runs[]` as in a validation's report, `plans` (label → costs and patterns),
        `learnt` (exchange rates, noise, notes; null where the runs allow no fit), `responses` (the file's path).

    Raises:
        AdvisorError: anything that the user can mend, before the first step of training where that can be known.
    """
    study, network, notes = _prepare(wish)
    with alone(wish.out):
        if wish.restart:
            discard(wish.out)
        study, _ = with_rate(study, wish.rate)
        open_folder(study)
        plans = _plans(wish, network)
        study = replace(study, contestants=(study.contestants[0], *_contestants(plans, network)))
        open_folder(study)
        dense = study.build(0)
        counts = {one.label: count(one, dense, network) for one in study.contestants}
        logs = Logs(wish.out) if wish.tensorboard else None
        monitor = Monitor(wish.out, total_steps(study), shown=shown, logs=logs)
        with monitor.until_done(len(study.contestants) * len(study.seeds), wish.out):
            plain = {label: {"params": found.params, "macs": found.macs} for label, found in counts.items()}
            runs = run_all(Job(study=study, counts=plain, monitor=monitor, options=wish.engine))
            known = keep(responses_of(network, study, runs), wish.out, wish.responses)
            learnt = _learnt(network, known)
            notes += tuple(
                f"{run['plan']}, seed {run['seed']} failed: {run['problem']}" for run in runs if run["problem"]
            )
            report = {
                "schema": SCHEMA,
                "model": wish.model,
                "input": [list(shape) for shape in network.input_shapes],
                "runs": runs,
                "plans": {label: _costs(plan) for label, plan in plans.items()},
                "learnt": learnt,
                "responses": str(wish.responses or wish.out / FILE),
                "settings": study.settings() | {"seeds": list(study.seeds)} | wish.design(),
                "notes": list(notes),
                "next": next_command(wish),
            }
            write_json(wish.out / "report.json", report)
    return report


def next_command(wish: SurveyWish) -> str:
    """How to plan with what was learnt, as a user would type it."""
    words = ["advisor", "plan", wish.model, "--sensitivity", "trained"]
    words += ["--responses", str(wish.responses or wish.out / FILE)]
    words += ["--profile", wish.profile_name] if wish.profile_name else []
    words += [word for one in wish.budgets[0] for word in ("--budget", one)]
    return shlex.join(words)


def _prepare(wish: SurveyWish) -> tuple[Study, Network, tuple[str, ...]]:
    check_design(wish.plans, wish.budgets)
    check_wish(wish)
    loaded = load_model(wish.model, device="cpu")
    network = analyze(loaded.module, loaded.example_inputs, name=loaded.name)
    check_collection(network, wish.responses)
    dense = Contestant(label="dense", plan=None)
    study, notes = open_study(wish, network, (dense,), shapes=network.input_shapes)
    return study, network, notes


def _plans(wish: SurveyWish, network: Network) -> dict[str, Plan]:
    """The designed plans by label, drawn once and then read from the folder.

    Raises:
        AdvisorError: the folder holds plans of another design.
    """
    path = wish.out / DESIGN
    wanted = wish.design()
    labels = [f"design-{number:03d}" for number in range(wish.plans)]
    places = {label: wish.out / "plans" / f"{label}.json" for label in labels}
    if path.exists():
        before = read_json(path)
        for key, value in wanted.items():
            old = before.get(key) if isinstance(before, dict) else None
            if old != value:
                raise AdvisorError(
                    f"{wish.out} holds a design with {key}={old}, got {value}; repeat the old one to go on, choose "
                    "another --out, or pass --restart to throw the old runs away"
                )
    if not path.exists() or not all(place.is_file() for place in places.values()):
        made = design(
            network,
            wish.plans,
            budgets=wish.budgets,
            patterns=wish.patterns,
            profile=wish.profile,
            include_ends=wish.include_ends,
            rounding=wish.rounding,
            seed=wish.draw_seed,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        for place, plan in zip(places.values(), made, strict=True):
            plan.save(place)
        write_json(path, wanted)
    return {label: load_plan(place) for label, place in places.items()}


def _contestants(plans: Mapping[str, Plan], network: Network) -> tuple[Contestant, ...]:
    return tuple(Contestant(label=label, plan=replace(plan, network=network)) for label, plan in plans.items())


def _costs(plan: Plan) -> dict[str, Any]:
    return {"way": way_of(plan), "costs": {key: line.plan for key, line in plan.costs.items()}}


def _learnt(network: Network, known: Any) -> dict[str, Any] | None:
    """The curves in short; None where the runs are too few for any."""
    from advisor.planning.sensitivity.trained import learn

    try:
        return summary(learn(network, known))
    except AdvisorError:
        return None


def summary(learnt: Learnt) -> dict[str, Any]:
    """What a report says of response curves: rates per pattern with their intervals, the noise of a run in nats."""
    return {
        "runs": learnt.runs,
        "plans": learnt.plans,
        "noise": learnt.curves.noise,
        "exchange": {
            name: {"rate": rate, "low": low, "high": high} for name, (rate, low, high) in learnt.exchange().items()
        },
        "notes": list(learnt.notes()),
    }


def text_of(report: Mapping[str, Any]) -> str:
    """The report for a terminal: plans from the least loss to the largest, and what they taught."""
    from advisor.commands.options import big, table

    reached: dict[str, list[Mapping[str, Any]]] = {}
    for run in report["runs"]:
        reached.setdefault(run["plan"], []).append(run)
    rows = []
    for label, runs in reached.items():
        finished = [run for run in runs if run["loss"] is not None]
        loss, accuracy = (
            sum(run[key] for run in finished) / len(finished) if finished else math.inf for key in ("loss", "accuracy")
        )
        way = report["plans"][label]["way"] if label in report["plans"] else "nothing goes"
        told = [f"{loss:.3f}", f"{accuracy:.3f}"] if finished else ["failed", ""]
        rows.append((loss, [label, way, big(runs[0]["macs"]), f"{runs[0]['params']:,}", *told]))
    lines = [
        table(
            ["plan", "what it does", "MACs", "params", "loss", "accuracy"],
            [row for _, row in sorted(rows, key=lambda pair: pair[0])],
            right=(2, 3, 4, 5),
        ),
        "",
    ]
    lines += report["learnt"]["notes"] if report["learnt"] else ["too few finished runs to learn from"]
    lines += [f"note: {note}" for note in report["notes"]]
    lines += [f"responses in {report['responses']}; plan with them:", f"  {report['next']}"]
    return "\n".join(lines)
