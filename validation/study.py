"""A validation from beginning to end: line up, train, count, time, judge, report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.timing import NOTEWORTHY
from advisor.errors import DeviceError
from advisor.examples import Given
from advisor.examples.batches import EXAMPLES, calibration
from advisor.models import input_text, load_model, load_weights
from advisor.planning.selections import DATA_SELECTIONS
from advisor.planning.sensitivity import sensitivity_named
from advisor.trace import analyze
from validation.contestants import Contestant, check_kinds, line_up
from validation.data import DataSet
from validation.data.labelled import batches_of
from validation.engines import Job
from validation.learning.responses import check_collection, keep, responses_of
from validation.methods.at_work import as_found, try_methods
from validation.opening import check_wish, open_study
from validation.reporting.judging import judge
from validation.reporting.receipts import Timings, count, time_all
from validation.reporting.report import write
from validation.running.folder import alone, discard, open_folder
from validation.running.logs import Logs
from validation.running.matrix import run_all, total_steps
from validation.running.progress import Monitor
from validation.running.trials import Study
from validation.training.rates import with_rate
from validation.wish import Wish

__all__ = ["Wish", "validate"]

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan


def validate(wish: Wish, *, shown: bool = True) -> dict[str, Any]:
    """Trains the dense network, the plan and its baselines alike, times them, and writes the report.

    `responses.json` beside it holds what the runs teach the sensitivity "trained". What an earlier call finished in the
    same folder is kept. Ctrl-C leaves everything up to the last epoch.

    Returns:
        The contents of report.json.

    Raises:
        AdvisorError: anything that the user can mend, before the first step of training where that can be known.
    """
    study, network, notes = _prepare(wish)
    given = _given(wish.plan, study.data)
    with alone(wish.out):
        if wish.restart:
            discard(wish.out)
        study, found_rate = with_rate(study, wish.rate)
        open_folder(study)
        contestants, missing = line_up(
            network,
            wish.plan,
            wish.baselines,
            profile=wish.profile,
            folder=wish.out / "plans",
            given=given,
            methods=wish.methods,
        )
        study = replace(study, contestants=contestants)
        try_methods(study)
        open_folder(study)
        dense = study.build(0)
        counts = {one.label: count(one, dense, network) for one in contestants}
        logs = Logs(wish.out) if wish.tensorboard else None
        monitor = Monitor(wish.out, total_steps(study), shown=shown, logs=logs)
        with monitor.until_done(len(contestants) * len(study.seeds), wish.out):
            plain = {label: {"params": found.params, "macs": found.macs} for label, found in counts.items()}
            runs = run_all(Job(study=study, counts=plain, monitor=monitor, options=wish.engine))
            keep(responses_of(network, study, runs), wish.out, wish.responses)
            found = tuple(as_found(one, study) for one in contestants)
            counts |= {one.label: count(one, dense, network) for one in found if one not in contestants}
            study = replace(study, contestants=found)
            timings, more = _time(wish, network, found)
            findings = judge(wish, study, network, given, runs, counts, timings, missing, (*notes, *more))
            report = write(replace(findings, rate=found_rate), wish.out)
    return report


def _prepare(wish: Wish) -> tuple[Study, Network, tuple[str, ...]]:
    plan = wish.plan
    check_kinds(wish.baselines)
    check_wish(wish, halving=wish.halving)
    loaded = load_model(wish.model, device="cpu", input_text=input_text(plan.input_shapes), seed=0)
    if wish.checkpoint is not None:
        load_weights(loaded.module, wish.checkpoint)  # what baselines choose their connections by
    plan.masks(loaded.module)  # the plan must belong to this network, before anything long begins
    network = analyze(loaded.module, loaded.example_inputs, name=loaded.name)
    check_collection(network, wish.responses)
    contestants = (Contestant(label="dense", plan=None), Contestant(label="plan", plan=plan))
    study, found = open_study(wish, network, contestants, shapes=plan.input_shapes, halving=wish.halving)
    notes = list(found)
    if plan.model != wish.model:
        notes.append(f"the plan was made for {plan.model!r}; layers and shapes are the same")
    if wish.rate == "fixed" and wish.recipe.optimizer == "sgd":
        notes.append("the usual learning rate is adam's; sgd wants a higher one, which --rate auto finds")
    return study, network, tuple(notes)


def _given(plan: Plan, data: DataSet) -> Given:
    """Training images, where the plan's losses or connections came from data."""
    if not sensitivity_named(plan.sensitivity).reads_data and not any(
        layer.selection in DATA_SELECTIONS for layer in plan.layers
    ):
        return Given(seed=plan.seed)
    return Given(calibration=calibration(batches_of(data.train, EXAMPLES, plan.seed)), seed=plan.seed)


def _time(wish: Wish, network: Network, contestants: tuple[Contestant, ...]) -> tuple[Timings | None, tuple[str, ...]]:
    try:
        found = time_all(network, contestants, profile=wish.profile, threads=wish.threads)
    except DeviceError as error:  # the training stands, whatever device the profile is of
        return None, (f"latency was not measured: {error}",)
    if found.waited > NOTEWORTHY:
        return found, (f"other processes had the core for {found.waited:.0%} of the timing; that is taken out",)
    return found, ()
