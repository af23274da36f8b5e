"""Sparse group lasso: accuracy against density, penalty by penalty, and the groups and the network that are left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial

import torch
from torch import nn

import advisor
from advisor.models import load_model
from advisor.network import Network
from experiments.common import Claim, Lab, Shown, compare, difference, experiment, row, sign
from validation.data import DataSet, Request, load_data
from validation.methods.group_lasso.groups import GroupedWeight, grouped_weights
from validation.methods.group_lasso.method import SparseGroupLasso
from validation.methods.group_lasso.penalties import PENALTIES, make_penalty
from validation.training.evaluation import evaluate
from validation.training.recipe import Recipe
from validation.training.trainer import Trainer

FREE = "no penalty"
DENSITIES = (0.2, 0.1, 0.05, 0.03, 0.02)
AT = 0.03  # where penalties are compared: the free network has lost a third of its accuracy there
STRENGTH, BETA = 0.2, 500.0  # one lambda and one beta for all penalties; l0's threshold is 0.028


@experiment("group-lasso", paper="Bui et al. 2021 (nonconvex sparse group lasso)")
def run(lab: Lab) -> Iterator[Claim]:
    found = {
        name: {
            seed: lab.trial(f"{name.replace(' ', '-')}-{seed}", partial(_trial, lab, name, seed)) for seed in lab.seeds
        }
        for name in (FREE, *PENALTIES)
    }

    def values(name: str, what: str) -> dict[int, float]:
        return {seed: numbers[what] for seed, numbers in found[name].items()}

    at = f"accuracy at {AT:g}"
    yield Claim(
        text=f"at {AT:.0%} of the weights l0 group lasso keeps more accuracy than a free network",
        rows=(
            *(
                row(f"{name}: accuracy at density {d:g}", values(name, f"accuracy at {d:g}"))
                for name in (FREE, *PENALTIES)
                for d in (1.0, *DENSITIES)
            ),
            difference(f"l0 less {FREE}, at {AT:g}", values("l0", at), values(FREE, at)),
        ),
        shown=sign(compare(values("l0", at), values(FREE, at))),
        note="LeNet-5; the same lambda and beta for all penalties; weights of least magnitude go, nothing trains after",
    )
    others = [name for name in PENALTIES if name != "l1"]
    against = {name: difference(f"{name} less l1, at {AT:g}", values(name, at), values("l1", at)) for name in others}
    yield Claim(
        text=f"every nonconvex penalty keeps more accuracy than l1 at {AT:.0%} of the weights",
        rows=tuple(against.values()),
        shown=_all([sign(one) for one in against.values()]),
        note="shown by itself: " + (", ".join(n for n, one in against.items() if sign(one) == "shown") or "none"),
    )
    alive = f"groups at {AT:g}"
    yield Claim(
        text=f"with group lasso fewer of the 1,370 groups live at {AT:.0%} of the weights",
        rows=(
            *(row(name, values(name, alive), "groups") for name in (FREE, *PENALTIES)),
            difference(f"l0 less {FREE}", values("l0", alive), values(FREE, alive)),
            difference(f"l1 less {FREE}", values("l1", alive), values(FREE, alive)),
        ),
        shown=_all([sign(compare(values(n, alive), values(FREE, alive)), expected=-1) for n in ("l0", "l1")]),
    )
    exact = max(numbers["change"] for numbers in found["l0"].values())
    yield Claim(
        text="l0: what is dead leaves the network, which costs less than two points of accuracy in all",
        rows=(
            row("accuracy as trained", values("l0", "accuracy at 1")),
            row("accuracy on V's support", values("l0", "deployed")),
            difference(f"the latter less {FREE}, trained", values("l0", "deployed"), values(FREE, "accuracy at 1")),
            row("weights left, of the dense ones", values("l0", "density")),
            row("parameters left", values("l0", "params")),
            row("of the narrowed tensors", values("l0", "narrow params")),
            row("multiply-adds left, of dense", values("l0", "macs")),
            row("filters left, of 70", values("l0", "filters")),
        ),
        shown=_within(values("l0", "deployed"), values(FREE, "accuracy at 1"), 0.02),
        note=f"logits of the narrowed network differ by {exact:.1g} at most from those of the thresholded one",
    )


def _all(found: Sequence[Shown]) -> Shown:
    return found[0] if len(set(found)) == 1 else "not shown"


def _within(values: Mapping[int, float], reference: Mapping[int, float], lost: float) -> Shown:
    """Whether no more than `lost` is lost."""
    found = compare(values, reference)
    if found.low is None or found.high is None or found.low <= -lost <= found.high:
        return "not shown"
    return "shown" if found.low > -lost else "opposite"


@cache
def _analysed() -> Network:
    return advisor.analyze(load_model("zoo:lenet5").module, torch.zeros(1, 1, 28, 28, device="meta"), name="zoo:lenet5")


def _trial(lab: Lab, name: str, seed: int) -> dict[str, float]:
    quick = lab.scale == "quick"
    train, test = (128, 100) if quick else (4000, 1000)
    data = load_data("mnist5k", Request(shape=(1, 28, 28), train_size=train, test_size=test))
    module = load_model("zoo:lenet5", device="cpu", seed=seed).module
    recipe = Recipe(epochs=2 if quick else 4, batch=64, peak_rate=3e-3)
    trainer = Trainer(module, recipe, data.train, seed=seed)
    weights = grouped_weights(module)
    method = None
    if name != FREE:
        method = SparseGroupLasso(
            weights,
            make_penalty(name),
            strength=STRENGTH,
            beta=BETA,
            every=1,
            train_size=train,
            network=_analysed(),
            module=module,
        )
        trainer.methods = (method,)
    for _ in range(recipe.epochs):
        trainer.run_epoch()
    found = _curve(weights, module, data)
    return found if method is None else found | _deployed(method, module, data)


def _curve(weights: Sequence[GroupedWeight], module: nn.Module, data: DataSet) -> dict[str, float]:
    """Accuracy and living groups once only the largest weights of all layers together are left."""
    trained = [one.parameter.detach().clone() for one in weights]
    sizes = torch.cat([values.abs().flatten() for values in trained])
    found = {"accuracy at 1": evaluate(module, data.test).accuracy}
    with torch.no_grad():
        for density in DENSITIES:
            least = sizes.kthvalue(round(sizes.numel() * (1 - density))).values
            for one, values in zip(weights, trained, strict=True):
                one.parameter.copy_(values.where(values.abs() > least, 0.0))
            found[f"accuracy at {density:g}"] = evaluate(module, data.test).accuracy
            found[f"groups at {density:g}"] = sum(int(one.norms(one.parameter).count_nonzero()) for one in weights)
        for one, values in zip(weights, trained, strict=True):
            one.parameter.copy_(values)
    return found


def _deployed(method: SparseGroupLasso, module: nn.Module, data: DataSet) -> dict[str, float]:
    """What the method itself leaves, really narrowed."""
    outcome = method.finish()
    assert outcome.plan is not None
    assert method.removed is not None
    costs = outcome.plan.costs
    return {
        "deployed": evaluate(module, data.test).accuracy,
        "density": outcome.numbers["weight_density"],
        "filters": outcome.numbers["alive_filters"],
        "params": costs["params"].plan,
        "narrow params": sum(p.numel() for p in method.removed.module.parameters()),
        "macs": costs["macs"].plan / costs["macs"].dense,
        "change": method.removed.difference,
    }
