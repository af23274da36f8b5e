"""Two machines that never were: the second is faster at arithmetic than at memory, and slow at calling."""

import math
from collections.abc import Mapping

import numpy as np

from advisor.devices.measuring.timing import Sample, summarize
from advisor.devices.profile import Measurement
from advisor.runtime.execution import Execution


def other_ms(execution: Execution) -> float:
    """40 GMAC/s, 8 GB/s, 15 us a call; `synthetic.true_ms` is the first machine."""
    depthwise = 2.0 if execution.groups > 1 and execution.weight_shape[1] == 1 else 1.0
    sparse = {"dense": 1.0, "direct": 1.6, "gather": 1.4, "packed": 1.2}[execution.method]
    arithmetic = execution.macs / 40e9 * depthwise * sparse
    return 1e3 * (math.hypot(arithmetic, execution.bytes_moved / 8e9) + 15e-6)


def times(executions: list[Execution], noise: float = 0.02) -> dict[Execution, float | Measurement]:
    """What somebody took on the other machine."""
    generator = np.random.default_rng(0)
    return {e: other_ms(e) * math.exp(noise * float(generator.standard_normal())) for e in executions}


def timer(work: Mapping[str, Execution], seconds: float) -> dict[str, Sample | str]:
    """The other machine, which refuses gathering."""
    found: dict[str, Sample | str] = {}
    for key, execution in work.items():
        ms = other_ms(execution)
        found[key] = "no kernel" if execution.method == "gather" else summarize([ms * (1 + i / 1000) for i in range(9)])
    return found
