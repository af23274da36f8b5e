"""A second process that burns a core in the middle of a profile changes little, or the profile says so."""

import os
import subprocess
import sys

import pytest

from advisor.devices.measuring.measure import measure
from advisor.network import Network
from advisor.patterns.option import DENSE, Option

OPTIONS = {"features.8": (DENSE, *(Option(pattern="group", density=d, parameters={"block": 16}) for d in (0.5, 0.25)))}


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="waiting for a core is known on Linux alone")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be told to share a core here")
def test_a_neighbour_is_told_of_or_does_no_harm(digits: Network) -> None:
    neighbour: list[subprocess.Popen[bytes]] = []

    def come(done: int, total: int, left: float | None, text: str) -> None:
        if not neighbour:
            neighbour.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the neighbour inherits it, so both share one core
    try:
        quiet = measure(digits, options=OPTIONS, threads=1, progress=False, budget_seconds=2)
        disturbed = measure(digits, options=OPTIONS, threads=1, progress=False, budget_seconds=3, callback=come)
    finally:
        os.sched_setaffinity(0, cores)
        for process in neighbour:
            process.kill()
            process.wait()
    assert neighbour
    shared = set(quiet.measurements) & set(disturbed.measurements)
    changes = [abs(disturbed.measurements[k].median_ms / quiet.measurements[k].median_ms - 1) for k in shared]
    said = any(note.startswith("noise: ") for note in disturbed.notes)
    assert said or max(changes) < 0.05, disturbed.notes
