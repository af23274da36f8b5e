"""A validation from beginning to end: line up, train, count, time, judge, report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.timing import NOTEWORTHY
from advisor.errors import AdvisorError, DeviceError, ProfileError
from advisor.examples import Given
from advisor.examples.batches import EXAMPLES, calibration
from advisor.models import load_model, load_weights
from advisor.planning.budgets import TIMES, cost_text
from advisor.planning.selections import DATA_SELECTIONS
from advisor.planning.sensitivity import sensitivity_named
from advisor.trace import analyze
from validation.contestants import Contestant, builder, check_kinds, check_network, line_up
from validation.data import DataSet, Request, load_data, suited
from validation.data.labelled import batches_of
from validation.data.registry import image_shape
from validation.engines import HERE, EngineOptions, Job, check_engine, threads_of
from validation.exchange import Exchange, exchange, losses_by_pattern, verdict
from validation.folder import alone, discard, open_folder
from validation.logs import Logs, check_tensorboard
from validation.matrix import run_all, total_steps
from validation.methods.at_work import as_found, try_methods
from validation.progress import Monitor
from validation.rates import check_training, with_rate
from validation.receipts import Counts, Timings, count, time_all
from validation.report import Findings, accuracies_of, write
from validation.responses import check_collection, keep, responses_of
from validation.training import FINETUNE_RATE, SCRATCH_RATE, Recipe
from validation.trials import Study

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import Plan
    from validation.methods.registry import Applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for."""

    model: str
    plan: Plan
    out: Path
    plan_path: str = "plan.json"
    data: str | None = None
    epochs: int = 4
    seeds: int = 2
    baselines: tuple[str, ...] = ("width", "uniform", "erk")
    checkpoint: Path | None = None
    profile: Profile | None = None
    profile_name: str | None = None
    train_size: int | None = None
    test_size: int | None = None
    folder: Path | None = None
    download: bool = False
    device: str = "cpu"
    threads: int | None = None
    restart: bool = False
    responses: Path | None = None  # a collection of runs that these are added to
    methods: tuple[Applied, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)  # how to train; epochs, device and rate are the wish's own
    rate: str = "fixed"  # the peak rate: see `validation.rates.with_rate`
    halving: int | None = None  # successive halving's factor
    tensorboard: bool = False
    engine: EngineOptions = HERE  # where runs happen

    @property
    def command(self) -> str:
        """The same again, as a user would type it."""
        words = ["advisor", "validate", self.model, "--plan", self.plan_path]
        for option, value in (
            ("--data", self.data),
            ("--epochs", self.epochs),
            ("--seeds", self.seeds),
            ("--baselines", ",".join(self.baselines)),
            ("--from", self.checkpoint),
            ("--profile", self.profile_name),
            ("--train-size", self.train_size),
            ("--test-size", self.test_size),
            ("--data-dir", self.folder),
            ("--responses", self.responses),
            ("--device", self.device if self.device != "cpu" else None),
            ("--threads", self.threads),
            *recipe_options(self.recipe),
            ("--rate", self.rate if self.rate != "fixed" else None),
            ("--halving", self.halving),
            *(("--method", one.text) for one in self.methods),
            ("--tensorboard", self.tensorboard or None),
            *self.engine.words(),
            ("--out", self.out),
        ):
            if value is not None:
                words += [option] if value is True else [option, str(value)]
        return shlex.join(words)


def recipe_options(recipe: Recipe) -> list[tuple[str, Any]]:
    """The options of the command line that ask for this recipe, where it is not the usual one."""
    usual = Recipe()
    found: list[tuple[str, Any]] = []
    for key in ("optimizer", "momentum", "l2", "weight_decay", "amp", "channels_last", "compile", "curves"):
        value, option = getattr(recipe, key), key.replace("_", "-")
        if value != getattr(usual, key):
            found.append((f"--no-{option}", True) if value is False else (f"--{option}", value))
    return found


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
            findings = _judge(wish, study, network, given, runs, counts, timings, missing, (*notes, *more))
            report = write(replace(findings, rate=found_rate), wish.out)
    return report


def _prepare(wish: Wish) -> tuple[Study, Network, tuple[str, ...]]:
    plan = wish.plan
    check_kinds(wish.baselines)
    check_engine(wish.engine)
    check_training(wish.recipe, wish.device, rate=wish.rate, halving=wish.halving)
    if wish.tensorboard:
        check_tensorboard()
    text = ",".join("x".join(map(str, shape)) for shape in plan.input_shapes)
    loaded = load_model(wish.model, device="cpu", input_text=text, seed=0)
    if wish.checkpoint is not None:
        load_weights(loaded.module, wish.checkpoint)  # what baselines choose their connections by
    plan.masks(loaded.module)  # the plan must belong to this network, before anything long begins
    network = analyze(loaded.module, loaded.example_inputs, name=loaded.name)
    check_collection(network, wish.responses)
    shape = image_shape(wish.model, network.input_shapes)
    request = Request(
        shape=shape,
        train_size=wish.train_size,
        test_size=wish.test_size,
        folder=wish.folder,
        download=wish.download,
    )
    data = load_data(wish.data or suited(shape), request)
    notes = [*data.notes]
    if plan.model != wish.model:
        notes.append(f"the plan was made for {plan.model!r}; layers and shapes are the same")
    build = builder(wish.model, plan.input_shapes)
    notes += check_network(wish.model, build(0), data)
    rate = FINETUNE_RATE if wish.checkpoint else SCRATCH_RATE
    study = Study(
        model=wish.model,
        contestants=(Contestant(label="dense", plan=None), Contestant(label="plan", plan=plan)),
        seeds=tuple(range(wish.seeds)),
        data=data,
        recipe=replace(wish.recipe, epochs=wish.epochs, peak_rate=rate, device=wish.device),
        out=wish.out,
        build=build,
        checkpoint=wish.checkpoint,
        network=network,
        threads=threads_of(wish.engine, wish.threads),
        input_shapes=plan.input_shapes,
        request=request,
        halving=wish.halving,
    )
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


def predicted_costs(one: Contestant, wish: Wish, network: Network) -> tuple[dict[str, Any], str]:
    """Cost key → what the plan promises, with `key_low`, `key_high`, `key_origin`; times from the profile given.

    Returns:
        The costs, and why a time is missing ("" where none is).
    """
    found: dict[str, Any] = {}
    for key, line in wish.plan.costs.items() if one.plan is None else one.plan.costs.items():
        found[key] = line.dense if one.plan is None else line.plan
        if one.plan is not None and line.low is not None and line.high is not None:
            found |= {f"{key}_low": line.low, f"{key}_high": line.high}
    if one.plan is None:
        found |= {"params": network.params, "macs": network.macs}
    if wish.profile is not None:
        from advisor.devices.predicting.verify import predict_latency

        try:
            told = predict_latency(network, wish.profile, one.plan)
        except ProfileError as error:
            return found, f"latency of {one.label} is not predicted: {error}"
        found |= {"latency": told.latency_ms, "latency_low": told.low_ms, "latency_high": told.high_ms}
        found["latency_origin"] = told.origin
    return found, ""


def _judge(
    wish: Wish,
    study: Study,
    network: Network,
    given: Given,
    runs: list[dict[str, Any]],
    counts: Mapping[str, Counts],
    timings: Timings | None,
    missing: Mapping[str, str],
    notes: tuple[str, ...],
) -> Findings:
    accuracies = accuracies_of(runs)
    thinned = {one.label: one.plan for one in study.contestants if one.plan is not None}
    ways = {one.label: one.way for one in study.contestants}
    try:
        losses = {  # a training method's gain is no pattern's
            one.label: losses_by_pattern(network, one.plan, given, sensitivity=wish.plan.sensitivity)
            for one in study.contestants
            if one.plan is not None and one.method is None
        }
        rates = exchange(losses, accuracies)
    except AdvisorError as error:  # a sensitivity that cannot be asked again here
        rates = Exchange(notes=(f"no exchange rates: {error}",))
    over = {label: found for label, plan in thinned.items() if (found := over_budget(plan, wish.plan))}
    fair = {label: ways[label] for label in thinned if label not in over}
    predicted = {}
    said = list(notes)
    if wish.profile is None and any(wish.plan.costs[key].budget is not None for key in TIMES if key in wish.plan.costs):
        said.append(
            "no profile: baselines are held to the plan's MACs, not to its time; give --profile to hold them to it"
        )
    for one in study.contestants:
        predicted[one.label], note = predicted_costs(one, wish, network)
        said += [note] if note else []
        said += [f"{one.label}: {text}" for text in counts[one.label].notes]
        said += [f"{one.label} does not keep the budgets: {text}" for text in over.get(one.label, ())]
    said += [f"{run['plan']}, seed {run['seed']} failed: {run['problem']}" for run in runs if run["problem"]]
    said += [f"{run['plan']} was stopped {run['stopped']}" for run in runs if run.get("stopped")]
    said += methods_notes(runs)
    said += machines_note(runs)
    settings = study.settings() | {
        "seeds": list(study.seeds),
        "schedule": "one-cycle rate, the same batches for every plan of a seed",
        "latency": timings.settings if timings else None,
    }
    return Findings(
        model=wish.model,
        network=network,
        contestants=study.contestants,
        runs=runs,
        counts=counts,
        timings=timings,
        predicted=predicted,
        exchange=rates,
        verdict=verdict(fair, accuracies, at=_size(wish, network)),
        settings=settings,
        command=wish.command,
        missing=missing,
        notes=tuple(dict.fromkeys(said)),
    )


def machines_note(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says where the runs did not all train on one kind of machine."""
    kinds = sorted({run["machine"] for run in runs if "machine" in run})
    if len(kinds) < 2:
        return []
    return [
        f"runs trained on {len(kinds)} kinds of machine ({', '.join(kinds)}), whose sums round differently: that noise "
        "is in the intervals, too"
    ]


def methods_notes(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What training methods said of their runs; with the seed where that is not what they say of every seed."""
    found: dict[tuple[str, str], list[int]] = {}
    seeds: dict[str, int] = {}
    for run in runs:
        seeds[run["plan"]] = seeds.get(run["plan"], 0) + 1
        for note in dict.fromkeys(run.get("method", {}).get("notes", ())):
            found.setdefault((run["plan"], note), []).append(run["seed"])
    return [
        f"{plan}: {note}" if len(where) == seeds[plan] else f"{plan}, seed {', '.join(map(str, where))}: {note}"
        for (plan, note), where in found.items()
    ]


def over_budget(plan: Plan, asked: Plan) -> tuple[str, ...]:
    """What keeps a plan out of the verdict, in words: limits of the plan asked for that it breaks or does not tell.

    A baseline of a slow pattern cannot meet a time, and a training method leaves what it leaves.
    """
    found = []
    for key, line in asked.costs.items():
        if line.budget is None:
            continue
        name = key.replace("_", " ")
        if key not in plan.costs:
            found.append(f"its {name} is not known, and {cost_text(key, line.budget)} are allowed; not in the verdict")
        elif plan.costs[key].plan > line.budget:
            found.append(
                f"{name} {cost_text(key, plan.costs[key].plan)} of {cost_text(key, line.budget)} allowed; "
                "it does not count in the verdict"
            )
    return tuple(found)


def _size(wish: Wish, network: Network) -> str:
    """ "At macs 20 %" of what the dense network takes, by the plan's budgets."""
    shares = [
        f"{key.replace('_', ' ')} {100 * line.budget / line.dense:.0f} %"
        for key, line in wish.plan.costs.items()
        if line.budget is not None and line.dense
    ]
    size = f"{network.params:,} parameters" if network.params < 1e6 else f"{network.params / 1e6:.1f} M parameters"
    return f"At {' and '.join(shares) or 'the plan'} of dense ({size}, {network.macs / 1e6:.1f} M MACs)"
