"""A long C function in a thread of its own."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from advisor.planning.solving.interrupt import interruptibly


def test_results_and_errors_come_through() -> None:
    assert interruptibly(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        interruptibly(divmod, 1, 0)


def test_an_interrupt_is_heard_at_once() -> None:
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        interruptibly(threading.Event().wait, 20)
    assert time.perf_counter() - began < 10


def test_other_threads_call_directly() -> None:
    seen: list[threading.Thread] = []
    thread = threading.Thread(target=lambda: interruptibly(lambda: seen.append(threading.current_thread())))
    thread.start()
    thread.join()
    assert seen == [thread]
