"""Losses learnt from short training runs of this network's own plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PlanError
from advisor.examples import Given
from advisor.patterns.narrowed import is_narrowed, thinned, width_option
from advisor.patterns.option import Option
from advisor.planning.allocation import erk_scores
from advisor.planning.sensitivity.registry import Floats, Losses, Options, register
from advisor.planning.sensitivity.shapes import kept_share
from advisor.planning.sensitivity.trained_curves import Curves, Prior, Runs, curve
from advisor.planning.sensitivity.trained_data import Responses, check_same
from advisor.planning.sensitivity.trained_fit import best_fit

if TYPE_CHECKING:
    from advisor.network import Layer, Network

FEWEST_RUNS = 4  # fewer say nothing that the prior does not
DRAWS = 400  # of the posterior, for intervals
CONFIDENCE = 0.95
Family = str  # "channel", "group block=16", "width"


def family(option: Option) -> Family:
    """What prices an option beside its density: the pattern and its form ("group block=16", "n:m m=4")."""
    own = () if option.pattern == "width" else sorted(option.parameters.items())
    return " ".join([option.pattern, *(f"{key}={value}" for key, value in own if key != "n")])


def parts(layer: Layer, option: Option) -> dict[Family, float]:
    """Family → the share that it keeps: of the layer, and for what is masked within a narrowed one, of what is left."""
    found: dict[Family, float] = {}
    if is_narrowed(option):
        narrow = width_option(option)
        found["width"] = kept_share(layer, narrow)
    smaller, inner = thinned(layer, option)
    if inner.pattern != "dense":
        found[family(inner)] = kept_share(smaller, inner)
    return found


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """Response curves of one network.

    Attributes:
        families: axis P of the curves.
        layers: axis L.
        runs: how many runs they come from, of how many `plans`.
    """

    curves: Curves
    layers: tuple[str, ...]
    families: tuple[Family, ...]
    runs: int
    plans: int

    def losses(self, network: Network, options: Options) -> Losses:
        """Per layer (K,) the rise of the loss at the posterior's mode, in nats; a family that no run had at the prior.

        A family that no run had takes the nearest one's price: another form of its pattern, else the average family.
        """
        rates = self.curves.coefficients()
        rows = {name: row for row, name in enumerate(self.layers)}
        layers = {layer.name: layer for layer in network.sparsifiable}
        found = {}
        for name, choices in options.items():
            found[name] = np.array(
                [
                    sum(
                        float(self._rate(rates, rows[name], one) * curve(np.array(share), self.curves.prior.exponent))
                        for one, share in parts(layers[name], option).items()
                    )
                    for option in choices
                ],
                np.float64,
            )
        return found

    def _rate(self, rates: Floats, row: int, wanted: Family) -> float:
        if wanted in self.families:
            return float(rates[row, self.families.index(wanted)])
        alike = [k for k, one in enumerate(self.families) if one.split()[0] == wanted.split()[0]]
        columns = alike or list(range(len(self.families)))
        return float(np.exp(np.log(rates[row, columns]).mean()))

    def exchange(self) -> dict[Family, tuple[float, float, float]]:
        """Family → what a unit of it costs as a multiple of the reference's, with a 95 % interval.

        The geometric mean over the layers. The reference is the first family that is not width.
        """
        draws = np.array([self._logs(theta) for theta in self.curves.draws(DRAWS)])
        mode = self._logs(self.curves.mean)
        base = next((k for k, one in enumerate(self.families) if one != "width"), 0)
        tails = 100 * np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        low, high = np.percentile(draws - draws[:, [base]], tails, axis=0)
        return {
            one: (float(np.exp(mode[k] - mode[base])), float(np.exp(low[k])), float(np.exp(high[k])))
            for k, one in enumerate(self.families)
        }

    def _logs(self, theta: Floats) -> Floats:
        found: Floats = np.log(self.curves.coefficients(theta)).mean(axis=0)
        return found

    def rise(self, network: Network, options: Mapping[str, Option]) -> tuple[float, float, float]:
        """The rise of the loss over dense that a plan is expected to show, with a 95 % interval, in nats."""
        shares = shares_of(network, [options], self.families)
        mode = float(self.curves.predict(shares)[0])
        drawn = [float(self.curves.predict(shares, theta)[0]) for theta in self.curves.draws(DRAWS)]
        low, high = np.percentile(drawn, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
        return mode, min(float(low), mode), max(float(high), mode)

    def notes(self) -> tuple[str, ...]:
        """What a reader of a plan has to know."""
        rates = ", ".join(
            f"{name} {rate:.2f} ({low:.2f} to {high:.2f})" for name, (rate, low, high) in self.exchange().items()
        )
        text = (
            f"losses (trained) are curves fitted to {self.runs} runs of {self.plans} plans, in nats; a run scatters by "
            f"{self.curves.noise:.3f} around them; train the plan, too, and add its runs, since the best of many "
            "by few runs looks better than it is"
        )
        return (text, f"learnt exchange rates at equal kept shares, with 95 % intervals: {rates}")


def shares_of(network: Network, plans: Sequence[Mapping[str, Option]], families: Sequence[Family]) -> Floats:
    """(N, L, P) kept shares of N plans (layer → option; dense where missing), 1 where a family is not used."""
    layers = network.sparsifiable
    columns = {name: k for k, name in enumerate(families)}
    found = np.ones((len(plans), len(layers), len(families)))
    for n, plan in enumerate(plans):
        for row, layer in enumerate(layers):
            for one, share in parts(layer, plan[layer.name]).items() if layer.name in plan else ():
                if one in columns:
                    found[n, row, columns[one]] = share
    return found


def families_of(network: Network, plans: Sequence[Mapping[str, Option]]) -> tuple[Family, ...]:
    """Every family that a plan uses, sorted; "channel" where none uses any."""
    layers = {layer.name: layer for layer in network.sparsifiable}
    used = {one for plan in plans for name, option in plan.items() for one in parts(layers[name], option)}
    return tuple(sorted(used)) or ("channel",)


def prior_of(network: Network) -> Prior:
    """What is believed of a network without runs: ERK-shaped curves."""
    scores = np.log(erk_scores([layer.weight_shape for layer in network.sparsifiable]))
    return Prior(scores=scores - scores.mean())


def learn(network: Network, responses: Responses) -> Learnt:
    """Fits the curves to all runs of the file.

    Raises:
        PlanError: of another network, too few runs, or an option that is not legal for its layer.
    """
    check_same(responses, network)
    plans = {key: plan for key, plan in responses.plans.items() if any(run.plan == key for run in responses.runs)}
    if len(responses.runs) < FEWEST_RUNS or len(plans) < 2:
        raise PlanError(
            f"responses hold {len(responses.runs)} runs of {len(plans)} plans, expected at least {FEWEST_RUNS} runs of "
            "2; make more with advisor validate --design N"
        )
    families = families_of(network, list(plans.values()))
    at = {key: n for n, key in enumerate(plans)}
    shares = shares_of(network, list(plans.values()), families)
    settings = _numbered(run.settings for run in responses.runs)
    blocks = _numbered((run.settings, run.seed) for run in responses.runs)
    runs = Runs(
        shares=shares[[at[run.plan] for run in responses.runs]],
        loss=np.array([run.loss for run in responses.runs]),
        setting=settings,
        block=blocks,
    )
    return Learnt(
        curves=best_fit(runs, prior_of(network)),
        layers=tuple(layer.name for layer in network.sparsifiable),
        families=families,
        runs=len(responses.runs),
        plans=len(plans),
    )


def _numbered(keys: Iterable[object]) -> NDArray[np.int64]:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def learnt_from(network: Network, given: Given) -> Learnt:
    """The curves of the responses that the user gave, fitted once per question.

    Raises:
        PlanError: none were given, or see `learn`.
    """
    if given.responses is None:
        raise PlanError(
            "sensitivity 'trained' needs runs to learn from; make them with advisor validate MODEL --design N, then "
            "give --responses FILE (responses=)"
        )
    if "trained" not in given.memo:
        given.memo["trained"] = learn(network, given.responses)
    found: Learnt = given.memo["trained"]
    return found


@register("trained", needs="nothing", reads_runs=True)
def trained(network: Network, options: Options, given: Given) -> Losses:
    """The rise of the loss after short training, by curves fitted to runs of other plans of the same network."""
    return learnt_from(network, given).losses(network, options)
