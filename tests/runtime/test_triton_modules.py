"""Sparse modules on the Triton kernels, on any machine: `triton_modules.py` in a process that interprets."""

from pathlib import Path

import pytest

from tests.runtime.interpreter import run_interpreted


@pytest.mark.timeout(600)
def test_modules_run_on_the_kernels_of_the_gpu() -> None:
    pytest.importorskip("triton", reason="Triton is not installed: sparse modules were not tried on its kernels")
    run_interpreted(Path(__file__).with_name("triton_modules.py"))
