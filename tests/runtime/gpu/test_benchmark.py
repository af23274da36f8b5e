"""The GPU's benchmark says what it lacks, and its table fills on a device that is here."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advisor.runtime import native

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.py"


def run(*words: str) -> str:
    told = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=True)
    return told.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so_and_is_content() -> None:
    told = run()
    assert told.startswith("no GPU here: ")
    assert len(told.splitlines()) == 1


@pytest.mark.skipif(not native.available(), reason=native.why_not() or "available")
@pytest.mark.parametrize("way", [[], pytest.param(["--training"], marks=pytest.mark.slow)], ids=["forward", "training"])
def test_the_table_on_the_cpu(way: list[str]) -> None:
    words = "--device cpu --types fp32 --batch 1 --rounds 1 --layers 1 --no-compile --densities 0.25 --blocks 16"
    line = run(*words.split(), *way).splitlines()[2].split()
    assert line[:4] == ["64>64", "3x3", "@56", "fp32"]
    numbers = [float(value) for value in line[4:]]
    assert numbers[2:4] == [0.25, 16]
    dense, gains = min(numbers[:2]), numbers[5::2]
    # Each gain is the best dense time over its own, as printed.
    assert gains == pytest.approx([dense / ms for ms in numbers[4::2]], abs=0.02)
