"""Measuring in a fresh process: what is asked, what comes back, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import advisor
from advisor.commands.network import open_network
from advisor.devices.memory import memory_document, verify_memory
from advisor.devices.memory.resident import forget_peak, resident, settle
from advisor.errors import ProfileError
from advisor.network import Network

from .networks import Chooses

ANSWER = {
    "measured_peak_bytes": 5_000_000,
    "measured_weights_bytes": 4_000_000,
    "measured_kept_bytes": 500_000,
    "measured_run_bytes": 500_000,
    "process_bytes": 700_000_000,
    "peak_was_reset": True,
}


@pytest.fixture
def digits() -> Network:
    return open_network("zoo:digits_cnn", None)


def _child(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | None, **result: Any) -> list[dict[str, Any]]:
    """Replaces the fresh process by one that answers at once; what was asked of it."""
    asked: list[dict[str, Any]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> SimpleNamespace:
        asked.append({**json.loads(Path(command[-2]).read_text()), "environment": env})
        if answer is not None:
            Path(command[-1]).write_text(json.dumps(answer))
        return SimpleNamespace(returncode=0, stderr="", **{"stdout": "", **result})

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_fresh_process_builds_the_network_by_name(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _child(monkeypatch, ANSWER)
    found = verify_memory(digits, training=True, optimizer="adam", batch=4, threads=1)
    assert found.measured_peak_bytes == 5_000_000
    assert found.to_json()["process_bytes"] == 700_000_000
    (request,) = asked
    assert (request["model"], request["batch"], request["training"]) == ("zoo:digits_cnn", 4, True)
    assert request["input_shapes"][0][0] == 4
    assert request["environment"]["MALLOC_MMAP_THRESHOLD_"] == "65536"


def test_the_usual_allocator_can_be_asked_for(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    asked = _child(monkeypatch, ANSWER)
    assert "usual settings" in verify_memory(digits, usual_allocator=True).method
    assert "MALLOC_MMAP_THRESHOLD_" not in asked[0]["environment"]


def test_a_peak_that_cannot_be_restarted_is_said(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    _child(monkeypatch, {**ANSWER, "peak_was_reset": False})
    assert any("cannot be started anew" in note for note in verify_memory(digits).notes)


def test_what_goes_wrong_in_there_is_one_line(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    _child(monkeypatch, {"error": "no such thing"})
    with pytest.raises(ProfileError, match="in a fresh process: no such thing"):
        verify_memory(digits)

    def killed(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(returncode=-9, stderr="", stdout="")

    monkeypatch.setattr(subprocess, "run", killed)
    with pytest.raises(ProfileError, match="killed by signal 9, likely for memory"):
        verify_memory(digits)


def test_document_says_both(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    _child(monkeypatch, ANSWER)
    document, lines = memory_document(digits, verify=True, threads=1)
    assert document["error"] == document["peak_bytes"] / 5_000_000 - 1
    assert "predicted" in lines[0]
    assert "measured 5.0 MB" in lines[0]
    assert lines[2].startswith("  at aten.")
    alone, short = memory_document(digits)
    assert "measured_peak_bytes" not in alone
    assert "measured" not in short[0]


def test_what_needs_numbers_is_followed_on_random_ones() -> None:
    network = advisor.analyze(Chooses(), torch.ones(2, 8), name="chooses")
    document, lines = memory_document(network)
    assert document["inputs_bytes"] == 64
    assert lines[-1] == "note: its numbers decide its way: followed on random ones"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_resident_set_follows_what_is_written() -> None:
    settle()
    before = resident()
    block = torch.ones(64 << 20, dtype=torch.uint8)
    full = resident()
    assert full.anonymous - before.anonymous > 60 << 20
    del block
    settle()
    if not forget_peak():
        pytest.skip("this system does not restart a process's peak")
    after = resident()
    assert full.now - after.peak > 60 << 20


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_predicted_is_within_ten_percent_of_a_fresh_process(training: bool) -> None:
    network = open_network("torchvision:resnet18", "1x3x128x128")
    document, _ = memory_document(network, training=training, verify=True, threads=1, optimizer="sgd_momentum")
    assert abs(document["error"]) < 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("training", [False, True])
def test_predicted_is_what_cudas_allocator_gave(training: bool) -> None:
    network = open_network("torchvision:resnet18", None)
    document, _ = memory_document(network, training=training, verify=True, batch=8, device="cuda")
    assert document["low_bytes"] <= document["measured_peak_bytes"] * 1.02
    assert document["measured_peak_bytes"] <= document["high_bytes"] * 1.5  # cuDNN's workspaces are not predicted
