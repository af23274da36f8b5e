"""`advisor plan`: one option per layer, under every budget at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.asked import asked_options
from advisor.commands.evidence import (
    SELECTIONS,
    SENSITIVITIES,
    calibration_of,
    data_options,
    open_for_planning,
    responses_option,
)
from advisor.commands.options import (
    ends_option,
    input_option,
    json_option,
    patterns_option,
    profile_option,
    split_names,
)
from advisor.commands.plan_text import plan_text
from advisor.commands.rounds import in_rounds, rounds_options
from advisor.commands.tables import open_table_alone, table_options
from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


@click.command()
@click.argument("model", required=False)
@click.option(
    "--budget", "budgets", multiple=True, metavar="KEY=VALUE", help="latency=60%, params=5M, macs=1G; may be repeated."
)
@profile_option
@patterns_option
@click.option(
    "--sensitivity",
    metavar=SENSITIVITIES,
    help="What a missing connection costs; by default trained with --responses, else erk.",
)
@click.option("--selection", default="random", show_default=True, metavar=SELECTIONS, help="Which connections.")
@click.option("--weights", metavar="FILE", help="Trained weights, for what looks at them.")
@data_options
@responses_option
@click.option("--exchange", metavar="REPORT", help="A validation's report.json: its exchange rates between patterns.")
@click.option("--rounding", default="ceil", show_default=True, metavar="ceil|multiple8", help="How width rounds.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--gap", default=0.001, show_default=True, type=click.FloatRange(min=0), help="Stop at this gap.")
@click.option("--time-limit", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@rounds_options
@click.option("--explain", is_flag=True, help="Say for every layer why it got its option.")
@click.option("--out", metavar="FILE", help="Where to write the plan.")
@ends_option
@input_option
@asked_options
@table_options
@json_option
def plan(
    model: str | None,
    budgets: tuple[str, ...],
    profile_name: str | None,
    patterns: str | None,
    sensitivity: str | None,
    selection: str,
    weights: str | None,
    data: str | None,
    examples: int,
    data_dir: str | None,
    responses: str | None,
    exchange: str | None,
    rounding: str,
    seed: int,
    gap: float,
    time_limit: float,
    explain: bool,
    out: str | None,
    include_ends: bool,
    input_text: str | None,
    rounds: dict[str, Any],
    asked: dict[str, Any],
    table_file: str | None,
    losses: str | None,
) -> tuple[dict[str, Any], str]:
    """Choose a pattern and density for every layer of MODEL: least loss within all budgets, to a proven gap.

    KEY is params, macs, latency, training_latency, weight_memory, peak_memory or energy. VALUE is a share of the
    dense network (50%) or absolute with its unit (5M, 12ms, 40MB, 3mJ). Times need a profile. --refine needs one that
    was measured on this machine, and comes after --validate-rounds; Ctrl-C ends either with the best plan so far.

    \b
    Examples
      advisor plan torchvision:resnet50 --budget macs=30% --out plan.json
      advisor plan torchvision:resnet50 --profile r50.json --budget latency=60% --budget params=50% --out plan.json
      advisor plan torchvision:resnet50 --profile r50.json --budget latency=50% --refine 4 --out plan.json
      advisor plan zoo:digits_cnn --budget macs=30% --validate-rounds 3 --validate-out runs/
      advisor plan my_net.py:build --weights net.pt --selection magnitude --budget params=20%
      advisor plan torchvision:resnet50 --budget macs=30% --pin layer4.2.conv3=dense --min-density layer1.*=0.25
      advisor plan --table costs.csv --budget latency=50% --continuous
      advisor plan zoo:digits_cnn --weights net.pt --data cluttered --sensitivity fisher --budget macs=30%
    """
    import advisor
    from advisor.devices.profile import load_profile
    from advisor.planning.budgets import parse_budgets
    from advisor.planning.make import load_exchange
    from advisor.planning.sensitivity.defaults import default_sensitivity

    if table_file is not None:
        alone = open_table_alone(table_file, losses)
        made = advisor.plan(
            alone, budgets=budgets, patterns=split_names(patterns), gap=gap, time_limit=time_limit, **asked
        )
        return shown(made, out, explain=explain)
    if model is None:
        raise PlanError("no MODEL; expected a network, for example torchvision:resnet50, or a table (--table FILE)")
    if losses is not None:
        raise PlanError(f"--losses {losses}: losses of a network are estimated (--sensitivity); it needs --table FILE")
    wanted = parse_budgets(budgets)
    profile = load_profile(profile_name) if profile_name else None
    sensitivity = sensitivity or default_sensitivity(has_runs=responses is not None)
    network, notes = open_for_planning(
        model, input_text, weights, sensitivity=sensitivity, selection=selection, timed=rounds["refine"] is not None
    )
    asked |= {
        "profile": profile,
        "budgets": wanted,
        "patterns": split_names(patterns),
        "sensitivity": sensitivity,
        "selection": selection,
        "rounding": rounding,
        "seed": seed,
        "include_ends": include_ends,
        "exchange": load_exchange(exchange) if exchange else None,
        "gap": gap,
        "time_limit": time_limit,
        "data": calibration_of(data, network, examples=examples, seed=seed, folder=data_dir),
        "responses": responses,
    }
    made = in_rounds(network, model, asked, profile_name=profile_name, **rounds)
    return shown(replace(made, notes=(*made.notes, *notes)), out, explain=explain)


def shown(made: Plan, out: str | None, *, explain: bool = False) -> tuple[dict[str, Any], str]:
    """The plan as a document and as text, with its explanation if asked, and written to `out` where that is given."""
    if out:
        made.save(out)
    document, text = made.to_json(), plan_text(made)
    if explain:
        found = made.explain()
        document["explanation"] = found.to_json()
        text += f"\n\n{found.text}"
    return document, text + (f"\nwrote {out}" if out else "")
