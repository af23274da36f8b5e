"""The public `plan`: from a network, a profile and budgets to a Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError, PlanError
from advisor.patterns.option import Option
from advisor.planning.budgets import Budget
from advisor.planning.constraints.asked import asked_of
from advisor.planning.problem import decide, pose
from advisor.planning.sensitivity import checked_rates
from advisor.planning.table import CostTable
from advisor.planning.table_plan import check_alone, plan_table

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.planning.sensitivity.trained_data import Responses
    from advisor.plans.plan import Plan


def plan(
    network: Network | CostTable,
    *,
    budgets: Mapping[str, str | float | Budget] | Sequence[str],
    profile: Profile | None = None,
    patterns: Sequence[str] | None = None,
    sensitivity: str | None = None,
    selection: str = "random",
    rounding: str = "ceil",
    seed: int = 0,
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    gap: float = 1e-3,
    time_limit: float = 60.0,
    pins: Mapping[str, str | float | Option] | None = None,
    allowed: Mapping[str, Sequence[str]] | None = None,
    forbidden: Mapping[str, Sequence[str]] | None = None,
    min_density: float | Mapping[str, float] | None = None,
    max_density: float | Mapping[str, float] | None = None,
    max_patterns: int | None = None,
    continuous: bool = False,
    data: Any = None,
    responses: str | Path | Responses | None = None,
) -> Plan:
    """One option per layer: least estimated loss within all budgets, to a proven gap.

    Args:
        network: from `advisor.analyze`; or a `CostTable` of your own, whose plan has nothing to be applied to. Then
            only `budgets`, `patterns`, the constraints and the solver's limits say something.
        budgets: cost → limit, {"latency": "50%", "params": "5M"}; see `planning.budgets`.
        profile: times of a device; needed for a budget on a time.
        patterns: what layers may become; channel, group and width where None.
        sensitivity: how the loss of an option is estimated; where None "trained" if there are `responses`, else "erk".
            By shapes ("erk", "er", "uniform"), by real weights
            ("magnitude", "lamp", "synflow", "synflow100"), or with data ("snip", "grasp", "fisher", "taylor1",
            "taylor2", "probe"), or learnt from short training runs ("trained", needs `responses`).
        selection: which connections stay: "random" (drawn from the seed), or those that are worth most by real weights
            ("magnitude") or by gradients on data ("taylor", "fisher").
        rounding: how width rounds channel counts, "ceil" or "multiple8".
        seed: of every draw.
        include_ends: whether the first (image) convolution and the classifier may be thinned out, too.
        exchange: pattern → factor on its losses, from a validation (`load_exchange`).
        gap: relative gap at which the solver stops.
        time_limit: seconds for the solver; the best plan by then is returned with its gap and status "time limit".
        pins: layer, or a glob of layers ("layer4.*") → its option: "dense", 0.25, "channel", "channel@0.25",
            "group@0.25,block=16". A layer's own name goes before globs, the last glob before others.
        allowed: layer or glob → patterns that it may take beside dense.
        forbidden: layer or glob → patterns that it may not take; "dense" can be one.
        min_density, max_density: of every layer that has a choice, or layer or glob → density.
        max_patterns: at most so many different patterns beside dense in one plan; any number where None.
        continuous: leaves the grid of densities: relaxes those of the exact plan, and rounds them to what the patterns
            can keep, within all budgets. The plan records what that gained.
        data: labelled examples for what needs them: a DataLoader or other batches of (inputs, targets), a Dataset, a
            pair of tensors, or what `advisor.examples.batches.calibration` makes of them with a loss of your own.
            256 examples are read. The network itself never runs: a copy does.
        responses: what training runs of this network's plans reached, for "trained": a file that `advisor validate`
            wrote, or its contents.

    Raises:
        BudgetError: a budget that cannot be read, needs a profile, or cannot be met: the smallest reachable is named.
        PatternError, ProfileError, PlanError: an unknown pattern, a profile of other settings, an unknown option.
    """
    asked = asked_of(pins=pins, allowed=allowed, forbidden=forbidden, min_density=min_density, max_density=max_density)
    if isinstance(network, CostTable):
        of_networks = {
            "profile": profile,
            "sensitivity": sensitivity,
            "selection": selection,
            "rounding": rounding,
            "seed": seed,
            "include_ends": include_ends,
            "exchange": exchange,
            "data": data,
            "responses": responses,
        }
        check_alone(of_networks, plan.__kwdefaults__)
        return plan_table(
            network,
            budgets=budgets,
            patterns=patterns,
            asked=asked,
            gap=gap,
            time_limit=time_limit,
            max_patterns=max_patterns,
            continuous=continuous,
        )
    return decide(
        pose(
            network,
            budgets=budgets,
            profile=profile,
            patterns=patterns,
            sensitivity=sensitivity,
            selection=selection,
            rounding=rounding,
            seed=seed,
            include_ends=include_ends,
            exchange=exchange,
            gap=gap,
            time_limit=time_limit,
            constraints=asked,
            max_patterns=max_patterns,
            data=data,
            responses=responses,
        ),
        continuous=continuous,
    )


def load_exchange(path: str | Path) -> dict[str, float]:
    """Exchange rates between patterns from a validation's report.json: pattern → factor on its loss.

    Raises:
        PlanError: the file is not readable, holds no exchange rates, or one that is not positive.
    """
    from advisor.files import read_json

    document = read_json(path, error=PlanError)
    rates = document.get("exchange") if isinstance(document, Mapping) else None
    if not isinstance(rates, Mapping) or not rates:
        raise PlanError(
            f"{path}: holds no exchange rates; give the report.json of a validation with plans of several patterns"
        )
    try:
        return checked_rates(rates)
    except AdvisorError as error:
        raise PlanError(f"{path}: {error}") from None
