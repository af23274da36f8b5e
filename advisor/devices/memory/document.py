"""A network's memory as a command shows it: a document, and lines for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from advisor.devices.measuring.subject import weighted_module, with_batch
from advisor.devices.memory.deployed import module_for
from advisor.devices.memory.predict import predict_memory
from advisor.devices.memory.prediction import MemoryPrediction
from advisor.devices.memory.receipt import MemoryReceipt
from advisor.devices.memory.verify import verify_memory
from advisor.errors import ModelError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan


def memory_document(
    network: Network,
    plan: Plan | None = None,
    *,
    training: bool = False,
    verify: bool = False,
    batch: int | None = None,
    device: str = "cpu",
    optimizer: str | None = "sgd",
    threads: int | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Predicts a network's peak, measures it beside where asked, and says both.

    Args:
        network: with its module.
        plan: applied as it would run: folded and fused for inference, its own layers for training.

    Returns:
        (the keys of `MemoryPrediction.to_json` and, verified, of `MemoryReceipt.to_json` and `error`: predicted /
        measured - 1; the same as lines of text).

    Raises:
        ModelError, PlanError, ProfileError, DeviceError: one line each.
    """
    network = with_batch(network, batch)
    module = module_for(network, plan, training=training)
    predicted = predicted_memory(
        network, module, training=training, optimizer=optimizer, device=device, threads=threads
    )
    del module
    document = predicted.to_json()
    receipt = None
    if verify:
        receipt = verify_memory(network, plan, training=training, optimizer=optimizer, device=device, threads=threads)
        document |= receipt.to_json()
        document["error"] = predicted.peak_bytes / receipt.measured_peak_bytes - 1
    return document, _lines(predicted, receipt)


def predicted_memory(
    network: Network, module: nn.Module, *, training: bool, optimizer: str | None, device: str, threads: int | None
) -> MemoryPrediction:
    """`predict_memory` of `module` on the network's example inputs; of its real run where numbers decide its way."""
    options: dict[str, Any] = {"training": training, "optimizer": optimizer, "device": device, "threads": threads}
    try:
        return predict_memory(module, network.example_inputs, **options)
    except ModelError as error:
        if "real=True" not in str(error) or device != "cpu":
            raise
    from advisor.devices.measuring.subject import real_inputs

    with_memory = weighted_module(network) if any(p.is_meta for p in module.parameters()) else module
    found = predict_memory(with_memory, real_inputs(network, "cpu"), real=True, **options)
    return replace(found, notes=(*found.notes, "its numbers decide its way: followed on random ones"))


def _lines(predicted: MemoryPrediction, receipt: MemoryReceipt | None) -> list[str]:
    first = f"memory at the peak: predicted {_mb(predicted.peak_bytes)}"
    first += f" ({_mb(predicted.low_bytes)} to {_mb(predicted.high_bytes)})"
    if receipt is not None:
        first += f", measured {_mb(receipt.measured_peak_bytes)}"
        first += f" ({predicted.peak_bytes / receipt.measured_peak_bytes - 1:+.1%})"
    parts = {
        "weights": predicted.weights_bytes,
        "inputs": predicted.inputs_bytes,
        "activations": predicted.activations_bytes,
        "gradients": predicted.gradients_bytes,
        "optimiser": predicted.optimizer_bytes,
        "workspace": predicted.workspace_bytes,
    }
    lines = [first, "  " + ", ".join(f"{name} {_mb(size)}" for name, size in parts.items() if size)]
    lines.append(f"  at {predicted.peak_at}")
    if receipt is not None:
        lines.append(f"  measured: {receipt.method}; the process itself takes {_mb(receipt.process_bytes)} more")
    notes = (*predicted.notes, *(receipt.notes if receipt else ()))
    return lines + [f"note: {note}" for note in notes]


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
