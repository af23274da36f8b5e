"""Sparsity Advisor: a plan with a proof and a receipt. See README.md for the way through."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.devices.measuring.measure import measure
    from advisor.devices.profile import Profile, load_profile
    from advisor.errors import AdvisorError
    from advisor.network import Layer, Network
    from advisor.planning.frontier import frontier
    from advisor.planning.make import plan
    from advisor.plans.plan import Plan, load_plan
    from advisor.refining.loop import refine
    from advisor.refitting.rebuild import reconstruct
    from advisor.trace import analyze

# Loaded on first use: torch takes seconds to import, and `advisor --help` should not.
_HOMES = {
    "AdvisorError": "advisor.errors",
    "Layer": "advisor.network",
    "Network": "advisor.network",
    "Plan": "advisor.plans.plan",
    "Profile": "advisor.devices.profile",
    "analyze": "advisor.trace",
    "frontier": "advisor.planning.frontier",
    "load_plan": "advisor.plans.plan",
    "load_profile": "advisor.devices.profile",
    "measure": "advisor.devices.measuring.measure",
    "plan": "advisor.planning.make",
    "reconstruct": "advisor.refitting.rebuild",
    "refine": "advisor.refining.loop",
}

__all__ = [
    "AdvisorError",
    "Layer",
    "Network",
    "Plan",
    "Profile",
    "analyze",
    "frontier",
    "load_plan",
    "load_profile",
    "measure",
    "plan",
    "reconstruct",
    "refine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advisor' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
