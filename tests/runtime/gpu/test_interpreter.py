"""The Triton kernels in Triton's interpreter, on any machine: `interpreted.py` in a process that interprets."""

from pathlib import Path

import pytest

from tests.runtime.interpreter import run_interpreted


@pytest.mark.timeout(900)
def test_the_kernels_compute_what_the_reference_does() -> None:
    pytest.importorskip("triton", reason="TRITON IS NOT INSTALLED: the GPU kernels were not checked in its interpreter")
    run_interpreted(Path(__file__).with_name("interpreted.py"))
