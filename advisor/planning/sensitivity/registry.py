"""The protocol of sensitivities, the table of them, and how one is asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from advisor.errors import AdvisorError, PlanError, unknown
from advisor.examples import NOTHING_GIVEN, Given
from advisor.patterns.option import Option
from advisor.planning.sensitivity.rates import rated, with_narrowing

if TYPE_CHECKING:
    from advisor.network import Network

Floats = NDArray[np.float64]
Options = Mapping[str, tuple[Option, ...]]
Losses = dict[str, Floats]  # layer → (K,)
# Each needs all that stands before it: gradients are those of a loss on data, at real weights.
Need = Literal["nothing", "weights", "data", "gradients"]
NEEDS: tuple[Need, ...] = get_args(Need)


class Estimate(Protocol):
    """Computes losses: per layer (K,), finite, at least 0, and 0 for dense. Deterministic for one `given`."""

    def __call__(self, network: Network, options: Options, given: Given) -> Losses: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """A way to estimate losses, and what it needs of the user.

    Attributes:
        needs: "nothing" but shapes, real "weights", labelled "data" beside them, or "gradients" of a loss on that data.
        trained: whether the weights must have been trained to mean anything; others are meant for fresh ones, too.
        chooses: whether its losses are those of the best legal connections, so that a random draw loses more.
        reads_runs: whether it learns from runs of the network's plans (`Given.responses`).
    """

    name: str
    needs: Need
    estimate: Estimate
    trained: bool = False
    chooses: bool = False
    reads_runs: bool = False

    @property
    def reads_weights(self) -> bool:
        return self.needs != "nothing"

    @property
    def reads_data(self) -> bool:
        return self.needs in ("data", "gradients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """Losses of every option, and what they cost."""

    losses: Losses
    seconds: float
    note: str


SENSITIVITIES: dict[str, Sensitivity] = {}


def register(
    name: str, *, needs: Need, trained: bool = False, chooses: bool = False, reads_runs: bool = False
) -> Callable[[Estimate], Estimate]:
    """Files an estimate under its name."""
    if needs not in NEEDS:
        raise AdvisorError(unknown("need", needs, NEEDS))

    def file(estimate: Estimate) -> Estimate:
        if name in SENSITIVITIES:
            raise AdvisorError(f"sensitivity {name!r} is registered twice")
        SENSITIVITIES[name] = Sensitivity(
            name=name, needs=needs, estimate=estimate, trained=trained, chooses=chooses, reads_runs=reads_runs
        )
        return estimate

    return file


def sensitivity_named(name: str) -> Sensitivity:
    """The sensitivity of that name.

    Raises:
        PlanError: there is none.
    """
    if name not in SENSITIVITIES:
        raise PlanError(unknown("sensitivity", str(name), SENSITIVITIES))
    return SENSITIVITIES[name]


def losses(
    network: Network,
    options: Options,
    name: str,
    exchange: Mapping[str, float] | None = None,
    given: Given = NOTHING_GIVEN,
) -> Losses:
    """Per layer (K,) the estimated loss of each option, 0 for dense. See `estimate`."""
    return estimate(network, options, name, exchange=exchange, given=given).losses


def estimate(
    network: Network,
    options: Options,
    name: str,
    *,
    exchange: Mapping[str, float] | None = None,
    given: Given = NOTHING_GIVEN,
) -> Estimated:
    """Asks one sensitivity.

    Args:
        network: analysed; its weights must be real where the sensitivity needs them.
        options: layer → options.
        name: of the sensitivity.
        exchange: pattern → factor on its losses, as measured by a validation; 1 where it is silent. A pattern within
            width is priced in two parts (`rates.rated`).
        given: data, for those that need it.

    Raises:
        PlanError: an unknown sensitivity, weights that were never allocated, missing data, an unknown pattern or a
            rate that is not positive.
    """
    chosen = sensitivity_named(name)
    rates = checked_rates(exchange or {})
    if chosen.reads_data and given.calibration is None:
        raise PlanError(
            f"sensitivity {name!r} needs labelled data; give batches of (inputs, targets) as data=, or --data NAME"
        )
    began = time.perf_counter()
    asked = with_narrowing(options) if rates else options
    found = chosen.estimate(network, asked, given)
    seconds = time.perf_counter() - began
    losses: Losses = {}
    for layer, choices in asked.items():
        column = np.asarray(found[layer], np.float64)
        if column.shape != (len(choices),) or not np.isfinite(column).all() or (column < 0).any():
            raise PlanError(
                f"sensitivity {name!r} gives layer {layer} losses that are no finite numbers from 0 on; its weights or "
                "data hold NaN, infinity or values too large for it: mend them or choose another --sensitivity"
            )
        losses[layer] = (rated(choices, column, rates) if rates else column)[: len(options[layer])]
    return Estimated(losses=losses, seconds=seconds, note=_note(chosen, given, seconds))


def _note(chosen: Sensitivity, given: Given, seconds: float) -> str:
    if chosen.needs == "nothing":
        return ""
    source = "the weights"
    if chosen.reads_data and given.calibration is not None:
        what = "gradients" if chosen.needs == "gradients" else "outputs"
        source = f"{what} on {given.calibration.examples:,} examples"
    return f"losses ({chosen.name}) come from {source}, in {seconds:.1f} s"


def checked_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """The exchange rates, or what is wrong with them."""
    from advisor.patterns.base import pattern_names
    from advisor.patterns.hierarchical import HIERARCHICAL

    known = (*pattern_names(), HIERARCHICAL)
    for name, rate in rates.items():
        if name not in known:
            raise PlanError("exchange: " + unknown("pattern", name, known))
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
            raise PlanError(f"exchange rate of pattern {name!r} is {rate!r}; expected a positive number")
    return {name: float(rate) for name, rate in rates.items()}
