"""What a process has in memory, as the system counts it."""

from __future__ import annotations

import ctypes
import gc
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
# Blocks of 64 KiB and more are mapped, and leave the process as soon as they are freed; what lies below stays few
# hundred KB. Otherwise glibc keeps what was freed (up to 32 MiB a block) for the next time, and the resident set is
# that of the whole past.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_MMAP_MAX_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX_": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Bytes. `anonymous` leaves out pages of files (the code of libraries), which processes share."""

    now: int
    peak: int
    anonymous: int


def resident() -> Resident:
    """Now; where there is no /proc, the peak so far for all three."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return _by_usage()
    found = {label: value for label, _, value in (line.partition(":") for line in lines)}
    try:
        now, peak, own = (int(found[key].split()[0]) << 10 for key in ("VmRSS", "VmHWM", "RssAnon"))
    except (KeyError, ValueError, IndexError):
        return _by_usage()
    return Resident(now=now, peak=peak, anonymous=own)


def _by_usage() -> Resident:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Resident(now=peak, peak=peak, anonymous=peak)


def settle() -> None:
    """Frees what is free: Python's cycles, and what C's allocator keeps."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def forget_sources() -> None:
    """Frees the text of code that torch.fx made while a network was looked at: a megabyte that nothing runs on."""
    linecache.clearcache()
    loader = getattr(sys.modules.get("torch.fx.graph_module"), "_loader", None)
    cache = getattr(loader, "eval_cache", None)
    if isinstance(cache, dict):
        cache.clear()


def forget_peak() -> bool:
    """Starts the peak anew at what is resident now; False where the system does not allow that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
