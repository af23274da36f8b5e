"""Tables that decorators fill, in the file that owns the concept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def registered(table: dict[str, T], names: tuple[str, ...], what: str) -> Callable[[T], T]:
    """A decorator that enters its object into `table` under every name.

    Raises:
        ValueError: when applied, a name is taken; `what` says of which kind: "two handlers for aten.mm".
    """

    def register(entry: T) -> T:
        for name in names:
            if name in table:
                raise ValueError(f"two {what} for {name}")
            table[name] = entry
        return entry

    return register
