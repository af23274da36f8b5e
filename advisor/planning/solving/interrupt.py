"""Ctrl-C while a C function runs, and no word from it on standard output."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from advisor.quiet import c_prints_to_stderr

_TURN_SECONDS = 0.2


def interruptibly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a long C function so that Ctrl-C is heard at once: Python handles signals in its main thread alone.

    HiGHS prints a line to standard output in some searches, whatever it is told; that goes to standard error.
    """
    with c_prints_to_stderr():
        if threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        return _in_another_thread(function, *args, **kwargs)


def _in_another_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    outcome: Future[Any] = Future()

    def call() -> None:
        try:
            outcome.set_result(function(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, so that an interrupted process ends without waiting for the solver.
    threading.Thread(target=call, daemon=True).start()
    while True:
        # In turns, since a signal that another thread receives does not end a wait without a limit.
        with contextlib.suppress(TimeoutError):
            return outcome.result(timeout=_TURN_SECONDS)
        if outcome.done():  # the function itself ended with a TimeoutError
            return outcome.result()
