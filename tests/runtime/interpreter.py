"""Tests of the Triton kernels, run where Triton interprets: it has to be told before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_interpreted(file: Path) -> None:
    """Runs the tests of a file in a process that interprets; fails unless all of them pass and none is skipped."""
    words = [sys.executable, "-m", "pytest", str(file), "-q", "-p", "no:cacheprovider", "-x"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    # A worker of pytest-xdist says so to its children, who are none.
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
