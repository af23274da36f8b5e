"""Keeps other libraries from talking while their failures are expected and answered."""

from __future__ import annotations

import contextlib
import io
import logging
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
