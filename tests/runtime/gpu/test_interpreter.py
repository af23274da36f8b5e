"""The Triton kernels in Triton's interpreter, on any machine: `interpreted.py` in a process that interprets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(900)
def test_the_kernels_compute_what_the_reference_does() -> None:
    pytest.importorskip("triton", reason="TRITON IS NOT INSTALLED: the GPU kernels were not checked in its interpreter")
    words = [sys.executable, "-m", "pytest", str(HERE / "interpreted.py"), "-q", "-p", "no:cacheprovider", "-x"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    # A worker of pytest-xdist says so to its children, who are none.
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=HERE.parents[2])
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
