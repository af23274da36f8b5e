"""What torch's CUDA allocator handed out at the worst moment of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from advisor.devices.measuring.subject import as_it_runs, real_inputs, try_once, weighted_module
from advisor.devices.memory.receipt import MemoryReceipt
from advisor.devices.memory.steps import Step

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan


def measured_on_cuda(
    network: Network, plan: Plan | None, *, training: bool, optimizer: str | None, device: str
) -> MemoryReceipt:
    """Growth of allocated memory, not of reserved: what the allocator caches is free for the next tensor.

    cuDNN's and cuBLAS's workspaces are taken from the same allocator and count; the CUDA context does not.
    """
    place = torch.device(device)
    base = torch.cuda.memory_allocated(place)
    given = real_inputs(network, "cpu")  # plans are applied and tried where they were made
    module, _ = as_it_runs(network, weighted_module(network).to(place), plan, given, training=training)
    inputs = real_inputs(network, device)
    built = torch.cuda.memory_allocated(place)
    step = Step(module, inputs, training=training, optimizer=optimizer, device=device)

    def once() -> None:
        step()
        torch.cuda.synchronize(place)

    try_once(once, network, f"on {device}")
    if training:
        once()
        for parameter in module.parameters():
            parameter.grad = None
    before = torch.cuda.memory_allocated(place)
    torch.cuda.reset_peak_memory_stats(place)
    once()
    peak = torch.cuda.max_memory_allocated(place)
    return MemoryReceipt(
        measured_peak_bytes=peak - base,
        weights_bytes=built - base,
        kept_bytes=before - built,
        run_bytes=peak - before,
        method=f"CUDA's allocator on {torch.cuda.get_device_name(place)}",
    )
