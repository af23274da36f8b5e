"""Builds the optional sparse kernels; everything else about the package stands in pyproject.toml.

Without a C++ compiler the package installs all the same and runs its layers through torch alone.
Set ADVISOR_REQUIRE_NATIVE=1 to make a failed build an error, ADVISOR_CXXFLAGS to add flags (sanitizers, -march).
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("advisor/runtime/native/src")
X86 = platform.machine().lower() in ("x86_64", "amd64")
# One copy of the kernels for each instruction set; which one runs is decided on the user's machine.
SETS = {
    "isa_avx512.cpp": "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma -mprefer-vector-width=512".split(),
    "isa_avx2.cpp": "-mavx2 -mfma".split(),
    "isa_portable.cpp": [],
}
COMMON = ["module.cpp", "transposed.cpp", "support.cpp", "pool.cpp"]
# No -ffast-math: NaN and infinity are numbers like others here.
FLAGS = "-std=c++17 -O3 -g0 -fno-math-errno -fvisibility=hidden -Wno-psabi -Wno-ignored-attributes".split()


class BuildKernels(build_ext):
    """Compiles each file with its own flags, which setuptools alone cannot, and several at a time."""

    def build_extension(self, extension: Extension) -> None:
        try:
            self._build(extension)
        except Exception as error:
            if os.environ.get("ADVISOR_REQUIRE_NATIVE") == "1":
                raise
            print(f"sparse kernels not built ({error}); the package works without them, slower", file=sys.stderr)

    def _build(self, extension: Extension) -> None:
        from concurrent.futures import ThreadPoolExecutor

        if self.compiler.compiler_type != "unix":
            raise RuntimeError(f"compiler {self.compiler.compiler_type}; GCC or Clang is needed")
        names = [*COMMON, *(name for name in SETS if X86 or name == "isa_portable.cpp")]
        extra = [*FLAGS, *(["-DADVISOR_X86"] if X86 else []), *os.environ.get("ADVISOR_CXXFLAGS", "").split()]

        def compile_one(name: str) -> str:
            [built] = self.compiler.compile(
                [str(SOURCES / name)],
                output_dir=self.build_temp,
                include_dirs=[str(SOURCES), *self.compiler.include_dirs],
                extra_postargs=[*extra, *SETS.get(name, [])],
                depends=[str(path) for path in SOURCES.iterdir()],
            )
            return built

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_one, names))
        path = Path(self.get_ext_fullpath(extension.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.environ.get("ADVISOR_CXXFLAGS", "").split()
        libraries = [] if sys.platform == "darwin" else ["dl", "pthread"]
        self.compiler.link_shared_object(
            objects, str(path), libraries=libraries, extra_postargs=flags, target_lang="c++"
        )


setup(
    ext_modules=[
        Extension(
            "advisor.runtime.native._kernels",
            sources=[str(SOURCES / name) for name in [*COMMON, *SETS]],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
