"""Who wants to see each call of our own kernels: whoever times or records a run operator by operator.

Torch's dispatch modes see torch's operators, and while one is on, our kernels take a slower way through torch (and
pooling leaves it to torch altogether). A watcher sees the call itself, and may run it as it runs when nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# (name, function, positional arguments) → what the function returns.
Watcher = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]
_watcher: Watcher | None = None


def watcher() -> Watcher | None:
    """Who watches now; a watcher that calls the function again must be gone by then (`unwatched`)."""
    return _watcher


@contextmanager
def watched_by(new: Watcher | None) -> Iterator[None]:
    """Every call of our kernels goes to `new` inside; nobody watches where None."""
    global _watcher
    before, _watcher = _watcher, new
    try:
        yield
    finally:
        _watcher = before
