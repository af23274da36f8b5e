"""The long steps behind the page, each from choices to a value of the library."""

from __future__ import annotations

import threading
from pathlib import Path

import advisor
from advisor.examples.batches import EXAMPLES, Calibration
from advisor.examples.named import named_data
from advisor.models import load_model
from advisor.network import Network
from advisor.planning.frontier import Frontier
from advisor.plans.plan import Plan
from validation.data.registry import DATA, image_shape, suited
from validation.page import asked
from validation.page.choices import Choices
from validation.page.jobs import Command, Desk, Job
from validation.page.offer import Offer
from validation.page.training import Training, words_of

FRONT_POINTS = 16
_TRACING = threading.Lock()  # torch.export keeps global state


def network_job(desk: Desk, choices: Choices) -> Job:
    """The analysis of the chosen network; starts by itself, since everything else needs it."""

    def work() -> Network:
        with _TRACING:
            loaded = load_model(
                choices.model,
                input_text=choices.input_text or None,
                device="cpu" if choices.own_weights else "meta",
            )
            return advisor.analyze(loaded.module, loaded.example_inputs, name=loaded.name)

    return desk.job(network_key(choices), work)


def network_key(choices: Choices) -> tuple[object, ...]:
    return ("network", choices.of_network)


def plan_key(choices: Choices, offer: Offer) -> tuple[object, ...]:
    return ("plan", choices.question, offer.stamp(choices.profile))


def plan_job(desk: Desk, choices: Choices, network: Network, offer: Offer) -> Job:
    """The plan for these choices; a failed one is tried again."""

    def work() -> Plan:
        return advisor.plan(
            network,
            profile=offer.profile(choices.profile),
            budgets=dict(choices.budgets),
            patterns=choices.patterns,
            sensitivity=choices.sensitivity,
            include_ends=choices.include_ends,
            data=_examples(choices, network),
            **asked.arguments(choices.pins, choices.forbidden),
        )

    return desk.again(plan_key(choices, offer), work)


def front_job(desk: Desk, choices: Choices, network: Network, offer: Offer, cost: str) -> Job:
    """The Pareto front of one cost, with all that the plan is asked but its budgets."""

    def work() -> Frontier:
        return advisor.frontier(
            network,
            profile=offer.profile(choices.profile),
            cost=cost,
            points=FRONT_POINTS,
            patterns=choices.patterns,
            sensitivity=choices.sensitivity,
            include_ends=choices.include_ends,
            data=_examples(choices, network),
            **asked.arguments(choices.pins, choices.forbidden),
        )

    return desk.job(("front", cost, offer.stamp(choices.profile), choices.of_front), work)


def _examples(choices: Choices, network: Network) -> Calibration | None:
    """What the sensitivity looks at: training images of the chosen data set; None where it needs none."""
    if not choices.reads_data:
        return None
    return named_data(choices.data, network.input_shapes, examples=EXAMPLES, seed=0, folder=None)


def measurement(
    desk: Desk, model: str, input_text: str, offer: Offer, *, seconds: int, training: bool, start: bool
) -> tuple[Command | None, Path]:
    """Measuring the chosen network on this machine, and the profile file that comes of it.

    A process of its own: the page's polling would disturb times that are taken beside it in the same interpreter.
    """
    question = (model, input_text, training)
    folder = offer.folder("measuring", *question)
    kind = "training" if training else "inference"
    title = "".join(c if c.isalnum() else "-" for c in model).strip("-")
    out = offer.measured / f"{title}-{kind}-{folder.name[:6]}.json"
    key = ("measure", question)
    if start:
        out.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["profile", model, "--device", "cpu", "--budget-seconds", str(seconds), "--out", str(out)]
        arguments += ["--input", input_text] if input_text else []
        arguments += ["--training"] if training else []
        return desk.command(key, arguments, folder), out
    return desk.find(key), out


def data_names(network: Network) -> tuple[str, ...]:
    """Data sets with as many channels as the network takes, the one that suits it best first.

    Raises:
        DataError: the network takes no single input of images, or no data set suits it.
    """
    channels, _, _ = shape = image_shape(network.name, network.input_shapes)
    best = suited(shape)
    rest = sorted(name for name, entry in DATA.items() if entry.channels == channels and name != best)
    return (best, *rest)


def is_local(data: str) -> bool:
    """Whether a data set came with the package's dependencies."""
    return DATA[data].local


def validation(
    desk: Desk,
    choices: Choices,
    plan: Plan,
    offer: Offer,
    *,
    data: str,
    epochs: int,
    seeds: int,
    baselines: tuple[str, ...],
    methods: tuple[str, ...],
    training: Training,
    download: bool,
    start: bool,
) -> tuple[Command | None, Path]:
    """Training the plan beside its alternatives, and the folder with the report."""
    question = (choices.question, offer.stamp(choices.profile), data, epochs, seeds, baselines, methods, training)
    folder = offer.folder("validations", *question)
    key = ("validate", question)
    if start:
        folder.mkdir(parents=True, exist_ok=True)
        plan.save(folder / "plan.json")
        arguments = ["validate", choices.model, "--plan", str(folder / "plan.json"), "--data", data]
        arguments += ["--epochs", str(epochs), "--seeds", str(seeds), "--out", str(folder)]
        arguments += ["--baselines", ",".join(baselines)]
        arguments += [word for name in methods for word in ("--method", name)]
        arguments += words_of(training)
        arguments += ["--download"] if download else []
        # Times of training steps do not predict the latency that a validation measures.
        profile = offer.profile(choices.profile)
        timed = profile is not None and profile.settings is not None and not profile.settings.training
        arguments += ["--profile", choices.profile] if timed else []
        return desk.command(key, arguments, folder), folder
    return desk.find(key), folder
