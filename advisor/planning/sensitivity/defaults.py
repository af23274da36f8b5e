"""Which sensitivity estimates the losses where the user names none."""

from __future__ import annotations

FROM_SHAPES = "erk"  # what nothing but runs of the network itself beat (benchmarks/sensitivity.py)


def default_sensitivity(*, has_runs: bool) -> str:
    """ "trained" where there are runs of the network's plans to learn from, else "erk", which needs nothing."""
    return "trained" if has_runs else FROM_SHAPES
