"""What a network's memory was when it ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReceipt:
    """Bytes, measured.

    Attributes:
        measured_peak_bytes: from before the network was built to the worst moment of a run: CPU, growth of the resident
            set of a fresh process without pages of files; CUDA, what the allocator handed out.
        weights_bytes: growth by building and preparing the network.
        kept_bytes: growth by its first run, as far as it stays: the optimiser's state, code that libraries make,
            packed inputs that kernels keep.
        run_bytes: what a later run takes on top and gives back.
        process_bytes: the process before the network: torch, the libraries, threads, MKL's buffers; 0 on CUDA.
        method: how it was measured.
    """

    measured_peak_bytes: int
    weights_bytes: int
    kept_bytes: int
    run_bytes: int
    process_bytes: int = 0
    method: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; keys that do not collide with those of a MemoryPrediction."""
        return {
            "measured_peak_bytes": self.measured_peak_bytes,
            "measured_weights_bytes": self.weights_bytes,
            "measured_kept_bytes": self.kept_bytes,
            "measured_run_bytes": self.run_bytes,
            "process_bytes": self.process_bytes,
            "measured_method": self.method,
            "measured_notes": list(self.notes),
        }
