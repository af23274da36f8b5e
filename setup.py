"""Builds the optional sparse kernels; everything else about the package stands in pyproject.toml.

Without a C++ compiler the package installs all the same, runs its layers through torch alone, and keeps the reason in
a file that `advisor devices` quotes. Read here:

    ADVISOR_REQUIRE_NATIVE=1  a build that fails is an error
    ADVISOR_NATIVE=0          nothing is compiled; the wheel is a pure one
    ADVISOR_CXXFLAGS          flags added to ours (sanitizers, another -O)
    CXX, CXXFLAGS, LDFLAGS    as everywhere

Compiled files are kept in build/kernels under a digest of their sources, compiler and flags, so that an editable
install, a wheel and the tests share them.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "advisor" / "runtime" / "native" / "src"
NOT_BUILT = "not_built.txt"  # beside the extension: why there is none
X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"]
# One copy of the kernels for each instruction set; which one runs is decided on the user's machine. The slowest to
# compile come first.
SETS = {"avx512": AVX512, "avx512vl": AVX512, "avx2": ["-mavx2", "-mfma"], "portable": []}
# No -ffast-math: NaN and infinity are numbers like others here.
FLAGS = ["-std=c++17", "-O3", "-g0", "-fPIC", "-fno-math-errno", "-fvisibility=hidden"]
QUIET = ["-Wno-psabi", "-Wno-ignored-attributes"]


def instruction_set(source: Path) -> str:
    """ "avx2" for isa_avx2.cpp, "" for what runs on every CPU."""
    return source.stem.removeprefix("isa_") if source.stem.startswith("isa_") else ""


def sources(x86: bool = X86) -> list[Path]:
    """What is compiled on such a machine, the slowest first."""
    order = [*SETS, ""]
    found = [path for path in SOURCES.glob("*.cpp") if x86 or not SETS.get(instruction_set(path))]
    return sorted(found, key=lambda path: (order.index(instruction_set(path)), path.name))


def compiler() -> list[str]:
    """$CXX, or the first of the usual names that is there. GCC first: the kernels were tuned with it.

    Raises:
        RuntimeError: there is none.
    """
    if given := os.environ.get("CXX"):
        words = shlex.split(given)
        if shutil.which(words[0]):
            return words
        raise RuntimeError(f"CXX={given} is not a program")
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise RuntimeError("no C++ compiler was found (g++, clang++ or c++; CXX names another)")


def compile_flags(source: Path, x86: bool = X86) -> list[str]:
    """Every flag that one of `sources` is compiled with."""
    added = [*shlex.split(os.environ.get("CXXFLAGS", "")), *shlex.split(os.environ.get("ADVISOR_CXXFLAGS", ""))]
    machine = [*(["-DADVISOR_X86"] if x86 else []), *SETS.get(instruction_set(source), [])]
    apple = shlex.split(os.environ.get("ARCHFLAGS", "")) if sys.platform == "darwin" else []
    python = sysconfig.get_paths()["include"]
    return [*FLAGS, *QUIET, *machine, *apple, *added, f"-I{SOURCES}", f"-I{python}"]


def call(command: list[str]) -> str:
    """Runs a command; a failure carries its last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        words = next((line for line in said if "error" in line), said[-1]).strip()[:300]
        raise RuntimeError(f"{Path(command[0]).name} {Path(command[-1]).name}: status {done.returncode}, {words}")
    return done.stdout


def compile_one(cxx: list[str], version: str, source: Path, folder: Path) -> Path:
    """The object file of one source, from an earlier build where nothing has changed since."""
    flags = compile_flags(source)
    digest = sha256("\0".join([*cxx, version, *flags]).encode())
    for path in [source, *sorted({*SOURCES.glob("*.h"), *SOURCES.glob("*.inl")})]:
        digest.update(path.read_bytes())
    built = folder / f"{source.stem}-{digest.hexdigest()[:16]}.o"
    if not built.exists():
        half = built.with_suffix(f".{os.getpid()}.part")
        call([*cxx, *flags, "-o", str(half), "-c", str(source)])
        try:
            check_symbols(half, source)
        except RuntimeError:
            half.unlink()
            raise
        half.replace(built)
    return built


def check_symbols(built: Path, source: Path) -> None:
    """Refuses an object for a newer instruction set that offers code to the others.

    The linker keeps one copy of a function that several objects define (templates, inline functions). Were it the copy
    with AVX-512 in it, every older CPU would die of it; so what such an object defines must bear its own namespace.

    Raises:
        RuntimeError: it defines something else.
    """
    named = re.search(r"#define ADVISOR_ISA (\w+)", source.read_text(encoding="utf-8"))
    if not SETS.get(instruction_set(source)) or named is None or not (nm := shutil.which("nm")):
        return
    own = f"7advisor{len(named[1])}{named[1]}"  # as the ABI spells advisor::avx2
    for line in call([nm, "--defined-only", str(built)]).splitlines():
        kind, symbol = line.split()[-2:]
        if kind in "tdbr" or own in symbol or symbol.startswith(("DW.ref.", "__odr_asan", "___asan")):
            continue  # local, its own, or data of the compiler's
        raise RuntimeError(f"{source.name}: {symbol} ({kind}) could replace everyone's; make it static there")


def build(target: Path, folder: Path) -> None:
    """Compiles and links the extension."""
    if sys.platform == "win32":
        raise RuntimeError("on Windows the kernels have not been built yet")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise RuntimeError("Python without a global lock has no stable interface yet")
    cxx = compiler()
    version = call([*cxx, "--version"])
    folder.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        objects = list(pool.map(lambda source: compile_one(cxx, version, source, folder), sources()))
    kind = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    libraries = [] if sys.platform == "darwin" else ["-ldl", "-pthread"]
    added = shlex.split(os.environ.get("ADVISOR_CXXFLAGS", "")) + shlex.split(os.environ.get("LDFLAGS", ""))
    target.parent.mkdir(parents=True, exist_ok=True)
    call([*cxx, *kind, *map(str, objects), *libraries, *added, "-o", str(target)])


class BuildKernels(build_ext):
    """The extension, or a note that says why there is none."""

    def build_extension(self, extension: Extension) -> None:
        target = Path(self.get_ext_fullpath(extension.name))
        note = target.parent / NOT_BUILT
        target.unlink(missing_ok=True)  # never an older one beside newer Python
        note.unlink(missing_ok=True)
        try:
            build(target, ROOT / "build" / "kernels")
        except (RuntimeError, OSError) as error:
            if os.environ.get("ADVISOR_REQUIRE_NATIVE") == "1":
                raise
            print(f"sparse kernels not built ({error}); the package works without them, slower", file=sys.stderr)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{error}\n", encoding="utf-8")

    def copy_extensions_to_source(self) -> None:
        super().copy_extensions_to_source()
        for extension in self.extensions:
            built = Path(self.build_lib, self.get_ext_filename(extension.name))
            source = ROOT.joinpath(*extension.name.split(".")[:-1])
            if built.exists():
                (source / NOT_BUILT).unlink(missing_ok=True)
            else:
                (source / built.name).unlink(missing_ok=True)
                shutil.copyfile(built.with_name(NOT_BUILT), source / NOT_BUILT)


if __name__ == "__main__":
    wanted = os.environ.get("ADVISOR_NATIVE") != "0"
    kernels = Extension(
        "advisor.runtime.native._kernels",
        sources=[str(path.relative_to(ROOT)) for path in sorted(SOURCES.glob("*.cpp"))],
        py_limited_api=True,
        optional=True,
    )
    limited = wanted and not sysconfig.get_config_var("Py_GIL_DISABLED")
    setup(
        ext_modules=[kernels] if wanted else [],
        cmdclass={"build_ext": BuildKernels},
        options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
    )
