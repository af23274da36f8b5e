"""What is said about a network's memory before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleMemory:
    """One module's own share at the peak, its children left out: weights and the activations that it made."""

    name: str
    weights_bytes: int
    activations_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPrediction:
    """Bytes at the peak of one run. The parts add up to `peak_bytes`.

    Attributes:
        parameters_bytes, buffers_bytes: the network's own, each storage once.
        gradients_bytes, optimizer_bytes: of the parameters; the optimiser's as from the second step on.
        inputs_bytes: the example inputs.
        activations_bytes: everything else that tensors hold at the peak, gradients of activations included.
        workspace_bytes: what the operator at the peak takes inside, and what the process keeps for the network beside
            its tensors: packed inputs of sparse layers, machine code made for each shape.
        low_bytes: the tensors alone, whose lifetimes are exact.
        high_bytes: with twice the workspace, whose rules are read off one CPU, and what an allocator and Python's
            objects take beside the tensors (1 % and a megabyte).
        peak_at: operator and module, "aten.convolution.default in layer1.0.conv1".
        modules: the modules that hold the most at the peak, largest first.
        notes: what is not counted, and why.
    """

    peak_bytes: int
    low_bytes: int
    high_bytes: int
    parameters_bytes: int
    buffers_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    inputs_bytes: int
    activations_bytes: int
    workspace_bytes: int
    peak_at: str
    modules: tuple[ModuleMemory, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def weights_bytes(self) -> int:
        """Parameters and buffers."""
        return self.parameters_bytes + self.buffers_bytes

    def to_json(self) -> dict[str, Any]:
        """Plain data; keys that do not collide with those of a MemoryReceipt."""
        return {
            "peak_bytes": self.peak_bytes,
            "low_bytes": self.low_bytes,
            "high_bytes": self.high_bytes,
            "weights_bytes": self.weights_bytes,
            "parameters_bytes": self.parameters_bytes,
            "buffers_bytes": self.buffers_bytes,
            "inputs_bytes": self.inputs_bytes,
            "activations_bytes": self.activations_bytes,
            "gradients_bytes": self.gradients_bytes,
            "optimizer_bytes": self.optimizer_bytes,
            "workspace_bytes": self.workspace_bytes,
            "peak_at": self.peak_at,
            "modules": [
                {"name": m.name, "weights_bytes": m.weights_bytes, "activations_bytes": m.activations_bytes}
                for m in self.modules
            ],
            "notes": list(self.notes),
        }
