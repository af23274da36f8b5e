"""`advisor frontier`: how much loss each saving costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.asked import layer_options
from advisor.commands.evidence import SENSITIVITIES, calibration_of, data_options, open_for_planning, responses_option
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
from advisor.errors import AdvisorError

if TYPE_CHECKING:
    from advisor.planning.frontier import Frontier
    from advisor.plans.plan import Plan


@click.command()
@model_argument
@click.option(
    "--cost",
    "costs",
    multiple=True,
    default=("latency",),
    show_default=True,
    metavar="KEY",
    help="The cost to trade; given twice, a front over two.",
)
@click.option("--points", default=20, show_default=True, type=click.IntRange(min=2, max=1000))
@profile_option
@patterns_option
@click.option("--sensitivity", metavar=SENSITIVITIES, help="By default trained with --responses, else erk.")
@click.option("--weights", metavar="FILE", help="Trained weights, for what looks at them.")
@data_options
@responses_option
@click.option("--exchange", metavar="REPORT", help="A validation's report.json: its exchange rates between patterns.")
@click.option("--figure", metavar="FILE.html", help="Also draw the front, as one page that needs no network.")
@click.option("--plan", "plan_file", metavar="PLAN", help="A plan file to show on the figure.")
@click.option(
    "--max-patterns",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many different patterns in each plan, dense not counted.",
)
@click.option("--out", metavar="FOLDER", help="Write each point's plan there: point-00.json is the largest.")
@ends_option
@input_option
@layer_options
@json_option
def frontier(
    model: str,
    costs: tuple[str, ...],
    points: int,
    profile_name: str | None,
    patterns: str | None,
    sensitivity: str | None,
    weights: str | None,
    data: str | None,
    examples: int,
    data_dir: str | None,
    responses: str | None,
    exchange: str | None,
    figure: str | None,
    plan_file: str | None,
    max_patterns: int | None,
    out: str | None,
    include_ends: bool,
    input_text: str | None,
    layers: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """Trade one or two costs of MODEL against the estimated loss: each point is an exact plan.

    \b
    Examples
      advisor frontier torchvision:resnet50 --cost latency --points 20 --profile r50.json
      advisor frontier torchvision:resnet50 --profile r50.json --plan plan.json --figure front.html
      advisor frontier torchvision:mobilenet_v2 --cost macs --points 10 --patterns channel
      advisor frontier torchvision:resnet18 --cost macs --cost params --points 30 --out plans
      advisor frontier torchvision:resnet18 --cost macs --pin layer4.*=dense --min-density 0.25
    """
    from advisor.devices.profile import load_profile
    from advisor.planning.frontier import frontier as trace_front
    from advisor.planning.make import load_exchange
    from advisor.planning.sensitivity.defaults import default_sensitivity
    from advisor.plans.plan import load_plan

    plan = load_plan(plan_file) if plan_file else None
    sensitivity = sensitivity or default_sensitivity(has_runs=responses is not None)
    network, notes = open_for_planning(model, input_text, weights, sensitivity=sensitivity)
    front = trace_front(
        network,
        profile=load_profile(profile_name) if profile_name else None,
        cost=costs,
        points=points,
        patterns=split_names(patterns),
        sensitivity=sensitivity,
        include_ends=include_ends,
        exchange=load_exchange(exchange) if exchange else None,
        max_patterns=max_patterns,
        data=calibration_of(data, network, examples=examples, seed=0, folder=data_dir),
        responses=responses,
        **layers,
    )
    front = replace(front, notes=(*front.notes, *notes))
    if figure:
        _draw(front, plan, figure)
    if out:
        _write_plans(front, out)
    text = front_text(front) + (f"\nwrote {len(front.points)} plans to {out}" if out else "")
    return front.to_json(), "\n".join([text, *(f"note: {note}" for note in front.notes)])


def front_text(front: Frontier) -> str:
    """One line per point: its costs, their shares of dense, its loss, and how exact it is."""
    from advisor.planning.budgets import cost_text

    rows = []
    for point in front.points:
        parts = []
        for key in front.keys:
            dense = front.dense_costs[key]
            parts += [cost_text(key, point.costs[key]), f"{100 * point.costs[key] / dense:.1f} %" if dense else ""]
        rows.append([*parts, f"{point.loss:.5g}", f"{100 * point.gap:.3f} %", "knee" if point.knee else ""])
    heads = [word for key in front.keys for word in (key, "of dense")]
    return table([*heads, "loss", "gap", ""], rows, right=range(len(heads) + 2))


def _draw(front: Frontier, plan: Plan | None, figure: str) -> None:
    from advisor.figures import frontier_info, frontier_map_info, frontier_map_plot, frontier_plot
    from advisor.files import write_bytes

    drawn = (
        frontier_plot(frontier_info(front, plan))
        if len(front.keys) == 1
        else frontier_map_plot(frontier_map_info(front, plan))
    )
    write_bytes(figure, drawn.to_html(include_plotlyjs=True, full_html=True).encode())


def _write_plans(front: Frontier, out: str) -> None:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdvisorError(f"--out {out}: no folder can be made there ({error.strerror}); give another one") from None
    for index in range(len(front.points)):
        front.plan(index).save(folder / f"point-{index:02d}.json")
