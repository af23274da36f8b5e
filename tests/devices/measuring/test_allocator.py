"""Memory that a network's activations take again and again costs page faults once, not at every run."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from advisor.devices.measuring.clocks import settle_allocator
torch.set_num_threads(1)
settle_allocator()
layer, image = torch.nn.Conv2d(3, 64, 3, padding=1), torch.zeros(4, 3, 224, 224)  # VGG-16's first: 51 MB come out
with torch.inference_mode():
    for _ in range(10):
        layer(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layer(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the rule is glibc's")
def test_large_pieces_are_taken_again_without_faults() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    pages = 4 * 64 * 224 * 224 * 4 // 4096
    assert int(done.stdout) < 10 * pages // 4, "ten runs together take less than a quarter of their pages anew"
