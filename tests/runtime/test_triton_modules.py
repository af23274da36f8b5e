"""Sparse modules on the Triton kernels, on any machine: `triton_modules.py` in a process that interprets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
def test_modules_run_on_the_kernels_of_the_gpu() -> None:
    pytest.importorskip("triton", reason="Triton is not installed: sparse modules were not tried on its kernels")
    words = [sys.executable, "-m", "pytest", str(HERE / "triton_modules.py"), "-q", "-p", "no:cacheprovider", "-x"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    # A worker of pytest-xdist says so to its children, who are none.
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=HERE.parents[1])
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
