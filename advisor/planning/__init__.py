"""From costs to plans. `CostTable` is the whole of what the solver knows, also for tables of one's own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.planning.table import CostTable

__all__ = ["CostTable"]


def __getattr__(name: str) -> Any:
    if name != "CostTable":
        raise AttributeError(f"module 'advisor.planning' has no attribute {name!r}")
    return import_module("advisor.planning.table").CostTable
