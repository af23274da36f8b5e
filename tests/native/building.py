"""The C++ driver `check.cpp` beside the kernels, compiled as the package's own build does but with a sanitizer in."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
CHECK = Path(__file__).with_name("check.cpp")


def setup_module() -> ModuleType:
    """`setup.py`, whose functions compile the extension."""
    spec = importlib.util.spec_from_file_location("advisor_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_compiler() -> list[str]:
    """The command of the compiler; skips the test, loudly, where there is none."""
    if sys.platform != "linux":
        pytest.skip(f"the sanitizers are tried on Linux alone, this is {sys.platform}")
    try:
        found: list[str] = setup_module().compiler()
    except RuntimeError as error:
        if os.environ.get("ADVISOR_REQUIRE_NATIVE") == "1":
            raise
        pytest.skip(f"SANITIZERS NOT RUN: {error}")
    return found


def driver(monkeypatch: pytest.MonkeyPatch, out: Path, flags: str, only: tuple[str, ...] = ()) -> Path:
    """Compiles the kernels and the driver with more flags; `only`: these files of the kernels instead of all.

    Object files are kept in build/kernels, as the build's own are.
    """
    cxx = find_compiler()
    setup = setup_module()
    monkeypatch.setenv("ADVISOR_CXXFLAGS", flags)
    version = setup.call([*cxx, "--version"])
    folder = ROOT / "build" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    kernels = [path for path in setup.sources() if path.name != "module.cpp" and (not only or path.name in only)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(lambda path: setup.compile_one(cxx, version, path, folder), [*kernels, CHECK]))
    program = out / "check"
    setup.call([*cxx, *flags.split(), *map(str, objects), "-ldl", "-pthread", "-o", str(program)])
    return program


def check(program: Path, seconds: float, seed: int, **options: str) -> str:
    """Runs the driver; what it printed. A difference or a sanitizer's report fails the test with its words."""
    done = subprocess.run(
        [program, str(seconds), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | options,
        timeout=60 + 20 * seconds,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout
