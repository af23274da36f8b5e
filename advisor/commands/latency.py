"""`advisor latency`: what a network will take, and what it took."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import input_option, json_option, model_argument, profile_option, table, threads_option


@click.command()
@model_argument
@profile_option
@click.option("--plan", "plan_file", metavar="PLAN", help="A plan file; the dense network otherwise.")
@click.option("--verify", is_flag=True, help="Also time the real network here, beside the dense one.")
@threads_option
@input_option
@json_option
def latency(
    model: str,
    profile_name: str | None,
    plan_file: str | None,
    verify: bool,
    threads: int | None,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Predict the latency of MODEL, dense or under a plan, with an interval and its origin.

    \b
    Examples
      advisor latency torchvision:resnet50 --profile r50.json
      advisor latency torchvision:resnet50 --profile r50.json --plan plan.json --verify
    """
    from advisor.commands.network import open_network
    from advisor.devices.profile import load_profile
    from advisor.devices.verify import predict_latency, verify_latency
    from advisor.errors import ProfileError
    from advisor.plans.plan import load_plan

    if not profile_name:
        raise ProfileError("latency needs a profile: pass --profile NAME, or make one with 'advisor profile'")
    profile = load_profile(profile_name)
    plan = load_plan(plan_file) if plan_file else None
    network = open_network(model, input_text, device="cpu" if verify else "meta")
    predicted = predict_latency(network, profile, plan)
    document: dict[str, Any] = predicted.to_json()
    rows = [["predicted", f"{predicted.latency_ms:.3f}", f"{predicted.low_ms:.3f}", f"{predicted.high_ms:.3f}"]]
    if verify:
        receipt = verify_latency(network, profile, plan, threads=threads)
        document |= receipt.to_json()
        rows.append(["measured", f"{receipt.measured_ms:.3f}", f"{receipt.low_ms:.3f}", f"{receipt.high_ms:.3f}"])
        if plan:
            rows.append(["dense, same run", f"{receipt.dense_ms:.3f}", "", ""])
    text = [table(["", "ms", "low", "high"], rows, right=(1, 2, 3)), f"origin: {predicted.origin}"]
    text += [f"note: {note}" for note in predicted.notes]
    return document, "\n".join(text)
