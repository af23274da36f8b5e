"""The complete table of handlers: one per operator that multiplies."""

from __future__ import annotations

from advisor.counting import attention, convolutions, products, sparse
from advisor.counting.work import HANDLERS, Handler, Work

__all__ = ["HANDLERS", "Work", "attention", "convolutions", "handler_of", "products", "sparse"]


def handler_of(target: str) -> Handler | None:
    """The handler of "aten.conv2d.default", registered under that name or for all overloads as "aten.conv2d"."""
    return HANDLERS.get(target) or HANDLERS.get(target.rpartition(".")[0])
