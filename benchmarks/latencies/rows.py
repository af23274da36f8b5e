"""One network at one batch size: timed, predicted, and what the plain ways say of it."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

import torch

import advisor
from advisor.commands.network import open_network
from advisor.devices.measuring.in_turn import time_in_turn
from advisor.devices.measuring.subject import forward_call, inference_ready, real_inputs, real_module, with_batch
from advisor.devices.measuring.timing import clock_for, time_interleaved
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.settings import cpu_threads
from advisor.devices.suite.reference import reference_call
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network

LEAF_ROUNDS = 5
FEWEST_ROUNDS = 3  # of a network that takes seconds


def row_of(name: str, batch: int, profile: Profile, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one network: dense, and planned where a plan was asked for.

    Raises:
        AdvisorError: it cannot be analysed, planned or run.
    """
    network = with_batch(open_network(name, None, device="cpu"), batch)
    at = profile.at(batch=batch, threads=arguments.threads, training=arguments.training)
    plans: dict[str, advisor.Plan | None] = {"dense": None}
    for budget in filter(None, arguments.plans.split(",") if not arguments.training else ()):
        key, _, value = budget.partition("=")
        # A network whose every layer is too small, or that cannot become so fast, has none.
        with contextlib.suppress(advisor.AdvisorError):
            plans[budget] = advisor.plan(network, profile=at, budgets={key: value}, patterns=["group", "channel"])
    predicted = {kind: predict_latency(network, at, plan, training=arguments.training) for kind, plan in plans.items()}
    taken = time_in_turn(
        network,
        plans,
        threads=arguments.threads,
        training=arguments.training,
        optimizer=arguments.training,
        seconds=arguments.seconds,
        beside={"reference": reference_call(training=arguments.training)},
        fewest=FEWEST_ROUNDS,
    )
    if at.pace is None:
        raise ProfileError(f"profile {profile.name!r} is no device profile; make one with: advisor profile --suite")
    pace = at.pace.slower(taken.samples["reference"].median_ms)
    alone = None
    if not arguments.no_isolated and not arguments.training:
        rounds = int(1e3 * arguments.seconds / taken.samples["dense"].median_ms)
        alone = isolated_ms(network, arguments.threads, rounds=min(max(rounds, 1), LEAF_ROUNDS))
    rows = []
    for kind in plans:
        said, found = predicted[kind], taken.samples[kind]
        rows.append(
            {
                "network": name,
                "batch": batch,
                "threads": arguments.threads,
                "training": arguments.training,
                "kind": kind,
                "measured_ms": found.median_ms,
                "measured_low_ms": found.low_ms,
                "measured_high_ms": found.high_ms,
                "predicted_ms": said.latency_ms,
                "low_ms": said.low_ms,
                "high_ms": said.high_ms,
                "pace": pace,
                "origin": said.origin,
                "macs": network.macs if kind == "dense" else None,
                "isolated_ms": alone if kind == "dense" else None,
                "waited": taken.waited,
            }
        )
    return rows


def isolated_ms(network: Network, threads: int, *, rounds: int = LEAF_ROUNDS) -> float:
    """Σ over the network's leaf modules, each timed alone on its own recorded input, again and again."""
    module, inputs = real_module(network, "cpu"), real_inputs(network, "cpu")
    ready = inference_ready(network, module)
    seen: list[tuple[torch.nn.Module, tuple[Any, ...]]] = []
    handles = [
        child.register_forward_pre_hook(
            lambda leaf, given: seen.append(
                (leaf, tuple(x.clone() if isinstance(x, torch.Tensor) else x for x in given))
            )
        )
        for child in ready.modules()
        if not list(child.children())
    ]
    try:
        forward_call(ready, inputs)()
    finally:
        for handle in handles:
            handle.remove()
    total = 0.0
    with cpu_threads(threads):
        clock = clock_for("cpu")
        for leaf, given in seen:
            if not all(isinstance(x, torch.Tensor) for x in given):
                continue
            call = forward_call(leaf, given)
            try:
                found = time_interleaved({"leaf": call}, clock=clock, warmup=1, min_repeats=rounds, max_seconds=0.0)
            except (RuntimeError, TypeError):
                continue  # takes more than its inputs by position
            total += found["leaf"].median_ms
    return total
