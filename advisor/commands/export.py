"""`advisor export`: a plan for another training library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import input_option, json_option
from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.models import LoadedModel
    from advisor.plans.schedules import MaskSchedule

FORMATS = "masks|torch-prune|torch-pruning|modelopt|llm-compressor|onnx|schedule"


@click.command()
@click.argument("plan_file", metavar="PLAN", required=False)
@click.option("--to", metavar=FORMATS, help="For which library.")
@click.option("--model", metavar="MODEL", help="The network; the plan is compared with it, and onnx is made of it.")
@click.option("--weights", metavar="FILE", help="Its trained weights.")
@click.option("--out", metavar="FILE", help="Where to write; beside the plan by default.")
@click.option("--method", metavar="incremental|set|rigl", help="schedule: how masks change.")
@click.option("--every", type=int, metavar="STEPS", help="schedule: optimiser steps between changes.")
@click.option("--start", type=float, metavar="DENSITY", help="schedule, incremental: where it starts; 0.01 by default.")
@click.option("--drop", type=float, metavar="SHARE", help="schedule, set and rigl: what moves; 0.3 by default.")
@click.option("--end", type=int, metavar="STEP", help="schedule, set and rigl: from which step masks stay.")
@click.option("--schema", "schema_only", is_flag=True, help="Print the JSON Schema of plan files, and nothing else.")
@input_option
@json_option
def export(
    plan_file: str | None,
    to: str | None,
    model: str | None,
    weights: str | None,
    out: str | None,
    method: str | None,
    every: int | None,
    start: float | None,
    drop: float | None,
    end: int | None,
    schema_only: bool,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Write a plan for another training library.

    \b
    FORMAT is one of
      masks            a bool mask for each weight (safetensors), for any training loop
      torch-prune      the same for torch.nn.utils.prune
      torch-pruning    ratios per layer for Torch-Pruning; plans of the pattern width alone
      modelopt         rules and masks for NVIDIA ModelOpt
      llm-compressor   a recipe for LLM Compressor, and masks
      onnx             the network with the plan applied; needs --model
      schedule         how the masks change while training: incremental, set, rigl

    The plan file itself is documented, too (docs/plan-format.md): --schema prints its schema.

    \b
    Examples
      advisor export plan.json --to masks
      advisor export plan.json --to onnx --model my_net.py:build --weights net.pt --out net.onnx
      advisor export plan.json --to schedule --method incremental --start 0.01 --every 10000
      advisor export --schema > plan.schema.json
    """
    import json

    import advisor
    from advisor.plans import schema
    from advisor.plans.export import export_plan
    from advisor.plans.export.exporter import exporter

    if schema_only:
        document = schema()
        return document, json.dumps(document, indent=2)
    if plan_file is None or to is None:
        missing = "PLAN" if plan_file is None else "--to"
        raise PlanError(f"no {missing}; expected advisor export PLAN --to {FORMATS}")
    chosen = exporter(to)
    plan = advisor.load_plan(plan_file)
    loaded = _opened(model, weights, input_text, real=chosen.needs_module)
    receipt = export_plan(
        plan,
        to,
        out or _beside(plan_file, chosen.suffix),
        module=loaded.module if loaded else None,
        example_inputs=loaded.example_inputs if loaded else None,
        schedule=_schedule(to, chosen.scheduled, method, every, start=start, drop=drop, end=end),
    )
    numbers = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in receipt.numbers.items())
    notes = list(receipt.notes)
    if loaded and chosen.needs_module and weights is None:
        notes.append("the network's weights are those that it is built with (seed 0); trained ones: --weights FILE")
    lines = [numbers, *(f"note: {note}" for note in notes), *(f"wrote {path}" for path in receipt.files)]
    return receipt.to_json() | {"notes": notes}, "\n".join(lines)


def _opened(model: str | None, weights: str | None, input_text: str | None, *, real: bool) -> LoadedModel | None:
    from advisor.models import load_model, load_weights

    if model is None:
        if weights is not None:
            raise PlanError(f"--weights {weights}: of which network? name it (--model)")
        return None
    loaded = load_model(model, input_text=input_text, device="cpu" if real or weights else "meta", seed=0)
    if weights is not None:
        load_weights(loaded.module, weights)
    return loaded


def _schedule(
    to: str, scheduled: bool, method: str | None, every: int | None, **given: float | int | None
) -> MaskSchedule | None:
    from typing import cast

    from advisor.plans.schedules import MaskSchedule, ScheduleMethod

    told = {"method": method, "every": every, **given}
    if not scheduled:
        if extra := next((name for name, value in told.items() if value is not None), None):
            raise PlanError(f"--{extra} belongs to --to schedule; --to {to} says nothing of when masks change")
        return None
    if method is None or every is None:
        missing = "--method (incremental, set or rigl)" if method is None else "--every STEPS"
        raise PlanError(f"--to schedule needs {missing}; for example --method incremental --every 10000")
    wrong = {"incremental": ("drop",), "set": ("start",), "rigl": ("start",)}.get(method, ())
    if extra := next((name for name in wrong if given.get(name) is not None), None):
        raise PlanError(f"--{extra} has no say in --method {method}; leave it out")
    known: Any = {name: value for name, value in given.items() if value is not None}
    return MaskSchedule(method=cast(ScheduleMethod, method), every=every, **known)


def _beside(plan_file: str, suffix: str) -> str:
    from pathlib import Path

    place = Path(plan_file)
    return str(place.with_name(place.stem + suffix))
