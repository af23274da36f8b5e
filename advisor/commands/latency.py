"""`advisor latency`: what a network will take, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import input_option, json_option, model_argument, profile_option, table, threads_option

if TYPE_CHECKING:
    from advisor.devices.predicting.verify import Prediction, Receipt


@click.command()
@model_argument
@profile_option
@click.option("--plan", "plan_file", metavar="PLAN", help="A plan file; the dense network otherwise.")
@click.option("--verify", is_flag=True, help="Also time the real network here, beside the dense one.")
@click.option("--device", metavar="cpu|cuda[:i]", help="Where to verify; the profile's kind of device otherwise.")
@threads_option
@click.option("--batch", type=click.IntRange(min=1), help="Batch size; the example input's otherwise.")
@click.option("--training", is_flag=True, help="Forward and backward instead of inference.")
@click.option("--memory", is_flag=True, help="Also the peak of memory, with --verify in a fresh process beside it.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), metavar="S")
@input_option
@json_option
def latency(
    model: str,
    profile_name: str | None,
    plan_file: str | None,
    verify: bool,
    device: str | None,
    threads: int | None,
    batch: int | None,
    training: bool,
    memory: bool,
    seconds: float,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Predict the latency of MODEL, dense or under a plan, with an interval and its origin.

    By a profile of MODEL, or by a device profile (advisor profile --suite), which knows any network, batch size and
    number of threads between those that it was made with, and in training the whole step with its optimiser. A plan's
    layers are predicted by the methods that it recorded (sparse kernels, gathering, dense). --verify times the real
    network for about --seconds, the plan and the dense network in turn in one run, by whatever runs here; with a device
    profile also the layer that tells how fast the machine is at the time.

    \b
    Examples
      advisor latency torchvision:resnet50 --profile r50.json
      advisor latency torchvision:resnet50 --profile r50.json --plan plan.json --verify
      advisor latency timm:convnext_tiny --profile here.json --batch 8 --threads 2 --memory
    """
    from advisor.commands.network import open_network
    from advisor.devices.measuring.subject import batch_of, with_batch
    from advisor.devices.predicting.verify import predict_latency, verify_latency
    from advisor.devices.profile import load_profile
    from advisor.errors import ProfileError

    if not profile_name:
        raise ProfileError("latency needs a profile: pass --profile P, or make one with: advisor profile MODEL")
    profile = load_profile(profile_name).at(batch=batch, threads=threads, training=training)
    profile.check(device=device, batch=batch, threads=threads, training=training)
    plan = None
    if plan_file:
        from advisor.plans.plan import load_plan

        plan = load_plan(plan_file)
    network = with_batch(open_network(model, input_text, device="cpu" if verify else "meta"), batch)
    profile = profile.at(batch=batch_of(network))
    predicted = predict_latency(network, profile, plan, training=training)
    document = predicted.to_json()
    dense = predict_latency(network, profile, training=training) if plan else predicted
    receipt: Receipt | None = None
    if verify:
        click.echo(f"timing the real network for at most about {seconds:g} s", err=True)
        receipt = verify_latency(
            network, profile, plan, threads=threads, seconds=seconds, device=device, training=training
        )
        document |= receipt.to_json()
        if receipt.pace is not None:
            document["latency_at_pace_ms"] = predicted.latency_ms * receipt.pace
    if plan:
        document["predicted_dense_ms"] = dense.latency_ms
    lines: list[str] = []
    if memory:
        from advisor.devices.memory import memory_document

        document["memory"], lines = memory_document(
            network, plan, training=training, verify=verify, device=device or profile.device, threads=threads
        )
    return document, "\n".join([_text(predicted, dense if plan else None, receipt), *lines])


def _methods(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{method} {count}" for method, count in counted.items())


def _text(predicted: Prediction, dense: Prediction | None, receipt: Receipt | None) -> str:
    from advisor.devices.measuring.timing import NOTEWORTHY
    from advisor.devices.predicting.choice import count_methods

    rows = [_row("predicted", predicted.latency_ms, predicted.low_ms, predicted.high_ms)]
    if receipt and receipt.pace is not None:
        ends = (predicted.latency_ms, predicted.low_ms, predicted.high_ms)
        rows.append(_row("predicted, at this pace", *(receipt.pace * ms for ms in ends)))
    if receipt:
        rows.append(_row("measured", receipt.measured_ms, receipt.low_ms, receipt.high_ms))
    if dense:
        rows.append(_row("dense, predicted", dense.latency_ms, dense.low_ms, dense.high_ms))
    if dense and receipt:
        rows.append(["dense, measured in the same run", f"{receipt.dense_ms:.3f}", "", ""])
    text = [table(["", "ms", "low", "high"], rows, right=(1, 2, 3))]
    if dense:
        line = f"plan / dense: predicted {predicted.latency_ms / dense.latency_ms:.3f}"
        if receipt:
            line += f", measured {receipt.ratio:.3f} ({receipt.ratio_low:.3f} to {receipt.ratio_high:.3f})"
        text.append(line)
        text.append(f"layers run by: {_methods(count_methods({x.name: x.method for x in predicted.layers}))}")
        if receipt:
            text[-1] += f"; measured: {_methods(receipt.methods)}"
    if predicted.parts:
        largest = sorted(predicted.parts.items(), key=lambda item: -item[1])
        text.append("of that: " + ", ".join(f"{family} {ms:.3f}" for family, ms in largest if ms >= 0.0005))
    text.append(f"origin: {predicted.origin}; {predicted.settings}")
    text += [f"note: {note}" for note in predicted.notes]
    text += [f"note: {note}" for note in receipt.notes] if receipt else []
    if receipt and receipt.pace is not None:
        text.append(
            f"pace: {receipt.pace:.2f} times as long as in the quiet part of the profile's session, as its reference "
            "layer took that ran in the same rounds"
        )
    if receipt and receipt.waited > NOTEWORTHY:
        text.append(f"note: other processes had the core for {receipt.waited:.0%} of the time; that is taken out")
    return "\n".join(text)


def _row(name: str, middle: float, low: float, high: float) -> list[str]:
    return [name, f"{middle:.3f}", f"{low:.3f}", f"{high:.3f}"]
