"""Keeps other libraries from talking while their failures are expected and answered."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

_LOGGERS = (
    "torch",
    "torch._subclasses.fake_tensor",
    "torch.export",
    "torch._export",
    "fvcore",
    "fvcore.nn.jit_analysis",
)
_lock = threading.RLock()
_redirecting = threading.Lock()
_redirected: list[int] = []  # the descriptor to go back to, then an entry for each thread that is inside


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no prints and no log lines inside; one thread at a time, since all of these are global."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            # torch.export prints the whole graph on a data-dependent guard.
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def c_prints_to_stderr() -> Iterator[None]:
    """What C code prints to standard output inside goes to standard error, whichever thread runs it.

    For libraries that print from C, whatever their options say: a program's own output may be read by another one. File
    descriptor 1 is the whole process's, so what other threads print meanwhile goes to standard error, too; nothing is
    lost. May be entered by several threads at once: the last one to leave puts things back.
    """
    with _redirecting:
        if not _redirected and (saved := _one_to_two()) is not None:
            _redirected.append(saved)
        inside = bool(_redirected)
        if inside:
            _redirected.append(0)
    try:
        yield
    finally:
        if inside:
            with _redirecting:
                _redirected.pop()
                if len(_redirected) == 1:
                    _flush_c()  # what C still holds belongs to standard error, too
                    saved = _redirected.pop()
                    os.dup2(saved, 1)
                    os.close(saved)


def _one_to_two() -> int | None:
    """Leads descriptor 1 to 2. Returns a descriptor of where it led; None without standard output or error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.__stdout__.flush()  # type: ignore[union-attr]
    _flush_c()
    try:
        saved = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(saved)
        return None
    return saved


def _flush_c() -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)
