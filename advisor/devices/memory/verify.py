"""The real network's memory: the resident set of a fresh process, or what CUDA's allocator handed out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.subject import batch_of, with_batch
from advisor.devices.memory.receipt import MemoryReceipt
from advisor.devices.memory.resident import ALLOCATOR
from advisor.devices.memory.steps import check_optimizer
from advisor.devices.settings import check_device, device_type
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

_TIMEOUT_SECONDS = 1800.0


def verify_memory(
    network: Network,
    plan: Plan | None = None,
    *,
    training: bool = False,
    optimizer: str | None = "sgd",
    batch: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    usual_allocator: bool = False,
) -> MemoryReceipt:
    """Runs the real network and measures its peak.

    On the CPU it runs in a process of its own, built there by its name, with C's allocator told to give back what is
    freed (`resident.ALLOCATOR`, environment variables that any process can be started with). Under its usual settings
    glibc keeps freed blocks and fills the gaps as it can, so that the resident set is that of the whole past: the peak
    of MobileNetV2's inference at batch 8 was then 1.20 times as large, of ResNet-18's training at batch 8 1.36 times.

    Args:
        network: by a name that the command line knows ("torchvision:resnet18", "net.py:build"); its weights' values do
            not matter and are random.
        plan: applied as `predict_memory` was told; the dense network without it.
        threads: CPU threads; torch's number here otherwise.
        usual_allocator: measure what a process takes that was started without those variables. Not predicted.

    Raises:
        ProfileError: it does not run, or the process was killed (too little memory).
        ModelError, PlanError, DeviceError: as elsewhere.
    """
    check_optimizer(optimizer)
    device = check_device(device)
    network = with_batch(network, batch)
    if device_type(device) == "cuda":
        from advisor.devices.memory.cuda import measured_on_cuda

        return measured_on_cuda(network, plan, training=training, optimizer=optimizer, device=device)
    import torch

    asked: dict[str, Any] = {
        "model": network.name,
        "batch": batch_of(network),
        "input_shapes": [list(shape) for shape in network.input_shapes],
        "training": training,
        "optimizer": optimizer,
        "threads": threads or torch.get_num_threads(),
        "plan": None,
    }
    with tempfile.TemporaryDirectory(prefix="advisor-memory-") as folder:
        if plan is not None:
            asked["plan"] = str(Path(folder) / "plan.json")
            plan.save(asked["plan"])
        found = _in_fresh_process(asked, Path(folder), network.name, {} if usual_allocator else ALLOCATOR)
    told = " under the allocator's usual settings" if usual_allocator else " that gives back what is freed"
    kept = () if found["peak_was_reset"] else ("the system's peak cannot be started anew: it may be an earlier one",)
    return MemoryReceipt(
        measured_peak_bytes=int(found["measured_peak_bytes"]),
        weights_bytes=int(found["measured_weights_bytes"]),
        kept_bytes=int(found["measured_kept_bytes"]),
        run_bytes=int(found["measured_run_bytes"]),
        process_bytes=int(found["process_bytes"]),
        method=f"resident set of a fresh process{told}, threads: {asked['threads']}",
        notes=kept,
    )


def _in_fresh_process(asked: dict[str, Any], folder: Path, name: str, settings: dict[str, str]) -> dict[str, Any]:
    from advisor.files import read_json, write_json

    request, answer = folder / "request.json", folder / "answer.json"
    write_json(request, asked)
    # Tilings by rule: what the tuner tries out on the way would count as the network's.
    environment = {**os.environ, **settings, "ADVISOR_TUNING": "off", "OMP_NUM_THREADS": str(asked["threads"])}
    command = [sys.executable, "-m", "advisor.devices.memory.child", str(request), str(answer)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProfileError(f"network {name!r}: its memory was not measured within {_TIMEOUT_SECONDS:.0f} s") from error
    if answer.is_file():
        found = read_json(answer, error=ProfileError)
        if isinstance(found, dict) and "error" in found:
            raise ProfileError(f"network {name!r} in a fresh process: {found['error']}")
        if isinstance(found, dict):
            return found
    reason = done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "no message"
    killed = f"killed by signal {-done.returncode}, likely for memory" if done.returncode < 0 else reason
    raise ProfileError(f"network {name!r} in a fresh process: {killed}")
