"""`advisor frontier`: how much loss each saving costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from advisor.commands.evidence import SENSITIVITIES, calibration_of, data_options, open_for_planning
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


@click.command()
@model_argument
@click.option("--cost", default="latency", show_default=True, metavar="KEY", help="The cost to trade.")
@click.option("--points", default=20, show_default=True, type=click.IntRange(min=2, max=1000))
@profile_option
@patterns_option
@click.option("--sensitivity", default="erk", show_default=True, metavar=SENSITIVITIES)
@click.option("--weights", metavar="FILE", help="Trained weights, for what looks at them.")
@data_options
@click.option("--exchange", metavar="REPORT", help="A validation's report.json: its exchange rates between patterns.")
@click.option("--figure", metavar="FILE.html", help="Also draw the front, as one page that needs no network.")
@click.option("--plan", "plan_file", metavar="PLAN", help="A plan file to show on the figure.")
@ends_option
@input_option
@json_option
def frontier(
    model: str,
    cost: str,
    points: int,
    profile_name: str | None,
    patterns: str | None,
    sensitivity: str,
    weights: str | None,
    data: str | None,
    examples: int,
    data_dir: str | None,
    exchange: str | None,
    figure: str | None,
    plan_file: str | None,
    include_ends: bool,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Trade one cost of MODEL against the estimated loss: each point is an exact plan.

    \b
    Examples
      advisor frontier torchvision:resnet50 --cost latency --points 20 --profile r50.json
      advisor frontier torchvision:resnet50 --profile r50.json --plan plan.json --figure front.html
      advisor frontier torchvision:mobilenet_v2 --cost macs --points 10 --patterns channel
    """
    from advisor.devices.profile import load_profile
    from advisor.planning.budgets import cost_text
    from advisor.planning.frontier import frontier as trace_front
    from advisor.planning.make import load_exchange
    from advisor.plans.plan import load_plan

    plan = load_plan(plan_file) if plan_file else None
    network, notes = open_for_planning(model, input_text, weights, sensitivity=sensitivity)
    front = trace_front(
        network,
        profile=load_profile(profile_name) if profile_name else None,
        cost=cost,
        points=points,
        patterns=split_names(patterns),
        sensitivity=sensitivity,
        include_ends=include_ends,
        exchange=load_exchange(exchange) if exchange else None,
        data=calibration_of(data, network, examples=examples, seed=0, folder=data_dir),
    )
    front = replace(front, notes=(*front.notes, *notes))
    rows = [
        [
            cost_text(cost, point.cost),
            f"{100 * point.cost / front.dense:.1f} %",
            f"{point.loss:.5g}",
            f"{100 * point.gap:.3f} %",
            "knee" if point.knee else "",
        ]
        for point in front.points
    ]
    if figure:
        from advisor.figures.frontier import frontier_info, frontier_plot
        from advisor.files import write_bytes

        page = frontier_plot(frontier_info(front, plan)).to_html(include_plotlyjs=True, full_html=True)
        write_bytes(figure, page.encode())
    text = table([cost, "of dense", "loss", "gap", ""], rows, right=(0, 1, 2, 3))
    return front.to_json(), "\n".join([text, *(f"note: {note}" for note in front.notes)])
