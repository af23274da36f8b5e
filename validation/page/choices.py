"""What the user chose, to the address of the page and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from advisor.devices.profile import Profile
from advisor.errors import AdvisorError
from advisor.models import parse_input
from advisor.patterns.base import combined_names, pattern_names
from advisor.planning.budgets import COSTS, TIMES, parse_budgets
from advisor.planning.menu.options import DEFAULT_PATTERNS
from advisor.planning.sensitivity import SENSITIVITIES
from validation.data.registry import DATA
from validation.page import asked
from validation.page.offer import NO_PROFILE, OWN, Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One question to the planner. Equal choices have equal answers, so they name them, too."""

    model: str
    input_text: str = ""  # "" is the network's own
    profile: str = NO_PROFILE
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    budgets: Mapping[str, str] = field(default_factory=dict)  # key → as typed; only those that were typed
    sensitivity: str = "erk"
    data: str = ""  # what a sensitivity that needs labelled images looks at
    include_ends: bool = False
    pins: tuple[str, ...] = ()  # "LAYER=OPTION", as typed
    forbidden: tuple[str, ...] = ()  # "LAYER=PATTERN"

    @property
    def question(self) -> tuple[object, ...]:
        """What the plan depends on; hashable."""
        budgets = tuple(sorted(self.budgets.items()))
        return (*self.of_front, budgets)

    @property
    def of_front(self) -> tuple[object, ...]:
        """What the front of a cost depends on."""
        data = self.data if self.reads_data else ""
        asked = (self.include_ends, self.pins, self.forbidden)
        return (*self.of_network, self.profile, self.patterns, self.sensitivity, data, *asked)

    @property
    def of_network(self) -> tuple[object, ...]:
        """What the analysis depends on."""
        return (self.model, self.input_text, self.own_weights)

    @property
    def own_weights(self) -> bool:
        """Whether the network's own weights matter, so that it must be built with them."""
        return SENSITIVITIES[self.sensitivity].reads_weights

    @property
    def reads_data(self) -> bool:
        """Whether losses are estimated on labelled images."""
        return SENSITIVITIES[self.sensitivity].reads_data


def default_choices(offer: Offer) -> Choices:
    """One click away from a plan."""
    return Choices(model=offer.default_model, budgets={"macs": "50%"})


def to_query(choices: Choices) -> dict[str, str | list[str]]:
    """The query part of the address; what has its default value is left out, but for the model."""
    query: dict[str, str | list[str]] = {"model": choices.model}
    if choices.input_text:
        query["input"] = choices.input_text
    if choices.profile:
        query["profile"] = choices.profile
    if choices.patterns != DEFAULT_PATTERNS:
        query["patterns"] = ",".join(choices.patterns) or "none"
    query["budget"] = [f"{key}={value}" for key, value in choices.budgets.items()]
    if choices.sensitivity != "erk":
        query["sensitivity"] = choices.sensitivity
    if choices.data and choices.reads_data:
        query["data"] = choices.data
    if choices.include_ends:
        query["ends"] = "1"
    query |= {key: list(texts) for key, texts in (("pin", choices.pins), ("forbid", choices.forbidden)) if texts}
    return query


def from_query(query: Mapping[str, Sequence[str]], offer: Offer) -> tuple[Choices, tuple[str, ...]]:
    """The choices behind an address that anyone may have written, and what of it could not be followed."""
    choices, complaints = default_choices(offer), []

    def one(key: str) -> str:
        return query[key][-1].strip() if query.get(key) else ""

    if one("model"):
        try:
            offer.split(one("model"))
            choices = replace(choices, model=one("model"), budgets={})
        except AdvisorError as error:
            complaints.append(str(error))
    if one("input"):
        choices = replace(choices, input_text=one("input"))
    if one("profile"):
        if one("profile") in offer.profile_names():
            choices = replace(choices, profile=one("profile"))
        else:
            complaints.append(f"profile {one('profile')!r} is none of this page's")
    if one("patterns"):
        names = tuple(name for name in one("patterns").split(",") if name and name != "none")
        wrong = [name for name in names if name not in selectable_patterns()]
        complaints += [f"pattern {name!r} is unknown" for name in wrong]
        choices = replace(choices, patterns=tuple(name for name in names if name not in wrong))
    typed = dict(item.partition("=")[::2] for item in query.get("budget", ()))
    complaints += [f"budget {key!r} is unknown" for key in typed if key not in COSTS]
    if typed:
        choices = replace(choices, budgets={key: value for key, value in typed.items() if key in COSTS})
    if one("sensitivity"):
        if one("sensitivity") in selectable_sensitivities(choices.model, offer):
            choices = replace(choices, sensitivity=one("sensitivity"))
        else:
            complaints.append(
                f"sensitivity {one('sensitivity')!r} is unknown, or needs trained weights of your own network or runs"
            )
    if one("data"):
        if one("data") in selectable_data():
            choices = replace(choices, data=one("data"))
        else:
            complaints.append(f"data {one('data')!r} is unknown")
    kept: dict[str, list[str]] = {"pin": [], "forbid": []}
    for kind, texts in kept.items():
        for text in dict.fromkeys(query.get(kind, ())):
            told = asked.problem(text, kind)
            (complaints if told else texts).append(told or text)
    ends = one("ends") == "1"
    choices = replace(choices, include_ends=ends, pins=tuple(kept["pin"]), forbidden=tuple(kept["forbid"]))
    return choices, tuple(complaints)


def selectable_patterns() -> tuple[str, ...]:
    """Every pattern that can be asked for; dense is always allowed."""
    return tuple(name for name in (*pattern_names(), *combined_names()) if name != "dense")


def selectable_sensitivities(model: str, offer: Offer) -> tuple[str, ...]:
    """How losses can be estimated. What is meant for trained weights needs a network of the user's own: the others'
    are random here. The page has no runs to give."""
    own = model in offer.models
    return tuple(name for name, kind in SENSITIVITIES.items() if not kind.reads_runs and (own or not kind.trained))


def selectable_data() -> tuple[str, ...]:
    """Data sets that losses can be estimated on, without a download those that came with the package first."""
    return tuple(sorted(DATA, key=lambda name: (not DATA[name].local, name)))


def input_problem(text: str) -> str:
    """What is wrong with an input shape as typed; "" when nothing is."""
    try:
        if text:
            parse_input(text)
    except AdvisorError as error:
        return str(error)
    return ""


def budget_problem(key: str, text: str, profile: Profile | None) -> str:
    """What is wrong with one budget as typed; "" when nothing is."""
    if not text:
        return ""
    try:
        parse_budgets({key: text})
    except AdvisorError as error:
        return str(error)
    return cost_needs(key, profile)


def cost_needs(key: str, profile: Profile | None) -> str:
    """What a cost needs before it can be limited; "" when nothing is missing."""
    if key in TIMES:
        training = key == "training_latency"
        kind = "training" if training else "inference"
        if profile is None or profile.settings is None or profile.settings.training is not training:
            return f"{key} needs a profile of {kind} times: choose or measure one"
    return ""


def problems(choices: Choices, profile: Profile | None) -> tuple[str, ...]:
    """Everything that stands between the choices and a plan."""
    found = [input_problem(choices.input_text)]
    found += [budget_problem(key, text, profile) for key, text in choices.budgets.items()]
    if not choices.budgets:
        found.append("no budget yet: give at least one, such as 50% of the MACs")
    found += [asked.problem(text, "pin") for text in choices.pins]
    found += [asked.problem(text, "forbid") for text in choices.forbidden]
    if choices.reads_data and not choices.data:
        found.append(f"sensitivity {choices.sensitivity} looks at labelled images: choose its data")
    if not choices.patterns:
        found.append("no pattern yet: allow at least one")
    return tuple(problem for problem in found if problem)


__all__ = [
    "OWN",
    "Choices",
    "budget_problem",
    "cost_needs",
    "default_choices",
    "from_query",
    "input_problem",
    "problems",
    "selectable_data",
    "selectable_patterns",
    "selectable_sensitivities",
    "to_query",
]
