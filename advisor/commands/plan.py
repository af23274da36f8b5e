"""`advisor plan`: one option per layer, under every budget at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import (
    big,
    ends_option,
    input_option,
    json_option,
    model_argument,
    patterns_option,
    profile_option,
    split_names,
    table,
)

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


@click.command()
@model_argument
@click.option(
    "--budget", "budgets", multiple=True, metavar="KEY=VALUE", help="latency=60%, params=5M, macs=1G; may be repeated."
)
@profile_option
@patterns_option
@click.option("--sensitivity", default="erk", show_default=True, metavar="S", help="What a missing connection costs.")
@click.option("--selection", default="random", show_default=True, metavar="random|magnitude", help="Which connections.")
@click.option("--weights", metavar="FILE", help="Trained weights, for magnitude and taylor.")
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
      advisor plan my_net.py:build --weights net.pt --selection magnitude --sensitivity taylor --budget params=20%
    """
    from advisor.commands.network import open_network
    from advisor.devices.profile import load_profile
    from advisor.planning.budgets import parse_budgets
    from advisor.planning.make import load_exchange
    from advisor.planning.make import plan as make

    wanted = parse_budgets(budgets)
    network = open_network(model, input_text, weights=weights)
    made = make(
        network,
        profile=load_profile(profile_name) if profile_name else None,
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


def plan_text(plan: Plan) -> str:
    """Costs against budgets, then the layers that are not dense, then how good the answer is."""
    rows = []
    for key, line in plan.costs.items():
        share = f"{100 * line.plan / line.dense:.1f} %" if line.dense else ""
        budget = f"{_cost(key, line.budget)}" if line.budget is not None else ""
        rows.append([key, _cost(key, line.dense), _cost(key, line.plan), share, budget])
    layers = [
        [layer.name, layer.pattern, f"{layer.density:.4g}", " ".join(f"{k}={v}" for k, v in layer.parameters.items())]
        for layer in plan.layers
        if layer.pattern != "dense"
    ]
    dense = len(plan.layers) - len(layers)
    parts = [
        table(["cost", "dense", "plan", "share", "budget"], rows, right=(1, 2, 3, 4)),
        "",
        table(["layer", "pattern", "density", ""], layers, right=(2,)) if layers else "every layer stays dense",
        f"{dense} of {len(plan.layers)} layers stay dense" if layers and dense else "",
        f"objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {100 * plan.gap:.3f} %, "
        f"{plan.status} in {plan.solve_seconds:.2f} s",
    ]
    parts += [f"note: {note}" for note in plan.notes]
    return "\n".join(part for part in parts if part is not None)


def _cost(key: str, value: float) -> str:
    if key in ("latency", "training_latency"):
        return f"{value:.3f} ms"
    if key in ("weight_memory", "peak_memory"):
        return f"{big(value)}B"
    if key == "energy":
        return f"{value:.4g} mJ"
    return big(value)
