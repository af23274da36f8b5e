"""Finding the compiled kernels, and saying in words why they are not there."""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from advisor.errors import KernelError, unknown

Isa = Literal["avx512", "avx2", "portable"]
_ENTRIES = ("forward", "grad_input", "grad_weight", "pool", "isa")
ISAS: tuple[Isa, ...] = ("portable", "avx2", "avx512")  # by the number that the compiled part knows them by


@cache
def _load() -> tuple[Any, str]:
    try:
        found = importlib.import_module("advisor.runtime.native._kernels")
        if all(hasattr(found, name) for name in _ENTRIES):
            return found, ""
        return None, "built from other sources than these; install the package again"
    except ModuleNotFoundError:
        return None, f"not built ({_reason()}); install a C++ compiler (g++ or clang++), then the package again"
    except ImportError as error:
        return None, f"built, but not loadable here: {' '.join(str(error).split())[:200]}"


def _reason() -> str:
    """What the package's build left beside this file where it could not compile the kernels."""
    try:
        return Path(__file__).with_name("not_built.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return "the package was installed without compiling them"


def kernels() -> Any:
    """The compiled module; only where `available()`."""
    return _load()[0]


def available() -> bool:
    """Whether sparse layers can run on compiled kernels here."""
    return not why_not()


def why_not() -> str:
    """Why they cannot, in one line; "" where they can."""
    return _why_not()


@cache
def _why_not() -> str:
    if os.environ.get("ADVISOR_NATIVE") == "0":
        return "switched off by ADVISOR_NATIVE=0"
    return _load()[1]


def forget() -> None:
    """The environment is read again at the next question."""
    _why_not.cache_clear()


@cache
def _lowered(wanted: str | None) -> int:
    best = int(kernels().isa())
    if not wanted:
        return best
    if wanted not in ISAS:
        raise KernelError(f"ADVISOR_ISA: {unknown('instruction set', wanted, ISAS)}")
    return min(best, ISAS.index(wanted))


def isa_number() -> int:
    """0 portable, 1 AVX2, 2 AVX-512: the newest that this CPU has, or what ADVISOR_ISA lowers it to."""
    return _lowered(os.environ.get("ADVISOR_ISA"))


def isa() -> Isa | Literal[""]:
    """The instruction set that the kernels use here; "" where there are none."""
    return ISAS[isa_number()] if available() else ""
