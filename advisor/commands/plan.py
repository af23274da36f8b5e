"""`advisor plan`: one option per layer, under every budget at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import (
    ends_option,
    input_option,
    json_option,
    model_argument,
    patterns_option,
    profile_option,
    split_names,
    table,
)
from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

_UNTRAINED = ("torchvision", "timm", "zoo")  # built without downloads, so with random weights


@click.command()
@model_argument
@click.option(
    "--budget", "budgets", multiple=True, metavar="KEY=VALUE", help="latency=60%, params=5M, macs=1G; may be repeated."
)
@profile_option
@patterns_option
@click.option(
    "--sensitivity",
    default="erk",
    show_default=True,
    metavar="erk|uniform|magnitude",
    help="What a missing connection costs.",
)
@click.option("--selection", default="random", show_default=True, metavar="random|magnitude", help="Which connections.")
@click.option("--weights", metavar="FILE", help="Trained weights, for magnitude.")
@click.option("--exchange", metavar="REPORT", help="A validation's report.json: its exchange rates between patterns.")
@click.option("--rounding", default="ceil", show_default=True, metavar="ceil|multiple8", help="How width rounds.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--gap", default=0.001, show_default=True, type=click.FloatRange(min=0), help="Stop at this gap.")
@click.option("--time-limit", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--out", metavar="FILE", help="Where to write the plan.")
@ends_option
@input_option
@json_option
def plan(
    model: str,
    budgets: tuple[str, ...],
    profile_name: str | None,
    patterns: str | None,
    sensitivity: str,
    selection: str,
    weights: str | None,
    exchange: str | None,
    rounding: str,
    seed: int,
    gap: float,
    time_limit: float,
    out: str | None,
    include_ends: bool,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Choose a pattern and density for every layer of MODEL: least loss within all budgets, to a proven gap.

    KEY is params, macs, latency, training_latency, weight_memory, peak_memory or energy. VALUE is a share of the
    dense network (50%) or absolute with its unit (5M, 12ms, 40MB, 3mJ). Times need a profile.

    \b
    Examples
      advisor plan torchvision:resnet50 --budget macs=30% --out plan.json
      advisor plan torchvision:resnet50 --profile r50.json --budget latency=60% --budget params=50% --out plan.json
      advisor plan my_net.py:build --weights net.pt --selection magnitude --budget params=20%
    """
    from advisor.devices.profile import load_profile
    from advisor.planning.budgets import parse_budgets
    from advisor.planning.make import load_exchange
    from advisor.planning.make import plan as make

    wanted = parse_budgets(budgets)
    profile = load_profile(profile_name) if profile_name else None
    made = make(
        open_for_planning(model, input_text, weights, needed="magnitude" in (sensitivity, selection)),
        profile=profile,
        budgets=wanted,
        patterns=split_names(patterns),
        sensitivity=sensitivity,
        selection=selection,
        rounding=rounding,
        seed=seed,
        include_ends=include_ends,
        exchange=load_exchange(exchange) if exchange else None,
        gap=gap,
        time_limit=time_limit,
    )
    if out:
        made.save(out)
    text = plan_text(made)
    return made.to_json(), text + (f"\nwrote {out}" if out else "")


def open_for_planning(model: str, input_text: str | None, weights: str | None, *, needed: bool) -> Network:
    """The network, with real weights where they are `needed`: the user's file's, or those that the factory gives.

    Raises:
        PlanError: weights are needed, none were given, and the model comes with random ones.
    """
    from advisor.commands.network import open_network

    if needed and weights is None and model.partition(":")[0] in _UNTRAINED:
        raise PlanError(
            f"{model} comes without trained weights, and magnitude ranks weights; give --weights FILE, or leave "
            "--sensitivity and --selection at erk and random"
        )
    return open_network(model, input_text, weights=weights, device="cpu" if needed else "meta")


def plan_text(plan: Plan) -> str:
    """Costs against budgets, then the layers that are not dense, then how good the answer is."""
    from advisor.planning.budgets import cost_text

    rows = []
    for key, line in plan.costs.items():
        share = f"{100 * line.plan / line.dense:.1f} %" if line.dense else ""
        budget = cost_text(key, line.budget) if line.budget is not None else ""
        spread = f"{line.low:.4g} to {line.high:.4g}" if line.low is not None and line.high is not None else ""
        rows.append([key, cost_text(key, line.dense), cost_text(key, line.plan), share, budget, spread])
    if not any(row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    layers = [
        [
            layer.name,
            layer.pattern,
            f"{layer.density:.4g}",
            " ".join(f"{k}={v}" for k, v in layer.parameters.items()),
            layer.method or "",
        ]
        for layer in plan.layers
        if layer.pattern != "dense"
    ]
    columns = ["layer", "pattern", "density", "", "runs by"]
    if not any(row[-1] for row in layers):
        layers, columns = [row[:-1] for row in layers], columns[:-1]
    dense = len(plan.layers) - len(layers)
    parts = [
        table(["cost", "dense", "plan", "share", "budget", "interval"][: len(rows[0])], rows, right=(1, 2, 3, 4)),
        "",
        table(columns, layers, right=(2,)) if layers else "every layer stays dense",
        f"{dense} of {len(plan.layers)} layers stay dense" if layers and dense else "",
        f"objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {100 * plan.gap:.3f} %, "
        f"{plan.status} in {plan.solve_seconds:.2f} s",
    ]
    parts += [f"note: {note}" for note in plan.notes]
    return "\n".join(part for part in parts if part is not None)
