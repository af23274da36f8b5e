"""The fresh process: builds one network, runs it, and writes down how its resident set grew.

    python -m advisor.devices.memory.child REQUEST.json ANSWER.json

The order of things matters. Names are resolved and everything is imported before the baseline; so is a tiny network
run. Then weights, the preparation, one run (training: two, for the optimiser's state), all settled; then the peak of
one more run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from advisor.devices.memory.resident import forget_peak, forget_sources, resident, settle
from advisor.errors import AdvisorError
from advisor.files import read_json, write_json


def main(request: str, answer: str) -> int:
    """Writes the measurement, or `{"error": line}` for a user's mistake; returns the exit status."""
    asked = read_json(request, error=AdvisorError)
    try:
        measured = measure(asked)
    except AdvisorError as error:
        write_json(Path(answer), {"error": str(error)})
        return 2
    write_json(Path(answer), measured)
    return 0


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Bytes; see `MemoryReceipt` for the keys."""
    import torch

    from advisor.devices.measuring.subject import as_it_runs, real_inputs, try_once
    from advisor.devices.memory.steps import Step
    from advisor.devices.memory.warmup import cushion, warm_up
    from advisor.models import load_model

    torch.set_num_threads(int(asked["threads"]))
    training, optimizer = bool(asked["training"]), asked["optimizer"]
    network, plan = _opened(asked)
    if plan is not None or not training:
        _imported(network, plan, training)
    warm_up(training=training, optimizer=optimizer)
    room = cushion()
    forget_sources()
    settle()
    base = resident()
    module = load_model(network.name, device="cpu", seed=0).module
    inputs = real_inputs(network, "cpu")
    module, _ = as_it_runs(network, module, plan, inputs, training=training)
    forget_sources()
    settle()
    built = resident()
    step = Step(module, inputs, training=training, optimizer=optimizer, device="cpu")
    try_once(step, network, "on its example input")
    if training:
        step()
        for parameter in module.parameters():
            parameter.grad = None
    settle()
    before = resident()
    exact = forget_peak()
    step()
    after = resident()
    del room
    return {
        "measured_peak_bytes": before.anonymous - base.anonymous + after.peak - before.now,
        "measured_weights_bytes": built.anonymous - base.anonymous,
        "measured_kept_bytes": before.anonymous - built.anonymous,
        "measured_run_bytes": after.peak - before.now,
        "process_bytes": base.now,
        "peak_was_reset": exact,
    }


def _opened(asked: dict[str, Any]) -> tuple[Any, Any]:
    from advisor.commands.network import open_network
    from advisor.devices.measuring.subject import with_batch
    from advisor.models import input_text
    from advisor.plans.plan import load_plan

    shapes = [tuple(shape) for shape in asked["input_shapes"]]
    network = with_batch(open_network(asked["model"], None), asked["batch"])
    if list(network.input_shapes) != shapes:
        network = open_network(asked["model"], input_text(shapes))
    return network, load_plan(asked["plan"]) if asked["plan"] else None


def _imported(network: Any, plan: Any, training: bool) -> None:
    """Prepares the network once without memory, so that what that imports is there before the baseline."""
    from advisor.devices.measuring.subject import as_it_runs, module_of, real_inputs

    try:
        as_it_runs(network, module_of(network), plan, real_inputs(network, "cpu"), training=training)
    except Exception:  # not possible without memory; the real preparation says what is wrong
        return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
