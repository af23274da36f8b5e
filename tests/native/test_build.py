"""The package's own build: with a compiler, without one, and with one that must not be missed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.native.building import ROOT, find_compiler, setup_module

pytestmark = pytest.mark.timeout(900)  # the kernels may have to be compiled first


def wheel(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Builds the package's wheel into a folder, as `make wheel` does."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("ADVISOR_")} | environment,
    )


def unpacked(folder: Path) -> tuple[str, Path]:
    """The wheel's tags, and what it holds."""
    (found,) = folder.glob("*.whl")
    with zipfile.ZipFile(found) as archive:
        archive.extractall(folder / "site")
    return "-".join(found.stem.split("-")[2:]), folder / "site"


def kernels(site: Path) -> dict[str, object]:
    """What `advisor devices` says of the kernels where the package lies in `site`."""
    code = "import sys, advisor; assert advisor.__file__.startswith(sys.argv[1]); from advisor.cli import run; "
    done = subprocess.run(
        [sys.executable, "-c", code + "run(['devices', '--json'])", str(site)],
        capture_output=True,
        text=True,
        check=True,
        cwd=site.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("ADVISOR_")}
        | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    found: dict[str, object] = json.loads(done.stdout)["kernels"]
    return found


def test_one_wheel_serves_every_later_python(tmp_path: Path) -> None:
    find_compiler()
    done = wheel(tmp_path, ADVISOR_REQUIRE_NATIVE="1")
    assert done.returncode == 0, done.stderr
    tags, site = unpacked(tmp_path)
    assert tags.startswith("cp311-abi3-")
    held = {path.name for path in (site / "advisor/runtime/native").rglob("*") if path.suffix != ".py"}
    assert held == {"_kernels.abi3.so"}  # and no sources
    assert kernels(site)["available"] is True


def test_without_a_compiler_it_installs_works_and_says_so(tmp_path: Path) -> None:
    done = wheel(tmp_path, CXX="no-such-compiler")
    assert done.returncode == 0, done.stderr
    found = kernels(unpacked(tmp_path)[1])
    assert found["available"] is False
    assert "CXX=no-such-compiler is not a program" in str(found["why_not"])
    assert "gathering" in str(found["instead"])


def test_a_compiler_that_fails_is_no_error_either(tmp_path: Path) -> None:
    done = wheel(tmp_path, CXX="false")
    assert done.returncode == 0, done.stderr
    site = unpacked(tmp_path)[1]
    assert not list(site.rglob("*.so"))
    assert "false" in (site / "advisor/runtime/native/not_built.txt").read_text()


def test_built_in_place_without_a_compiler(tmp_path: Path) -> None:
    """As an editable install does: an extension from before does not stay beside newer Python."""
    copy = tmp_path / "copy"
    native = copy / "advisor/runtime/native"
    shutil.copytree(ROOT / "advisor/runtime/native/src", native / "src")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (native / "__init__.py").touch()
    (copy / "advisor/__init__.py").touch()
    (copy / "app.py").touch()
    old = native / "_kernels.abi3.so"
    old.write_bytes(b"")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = os.environ | {"CXX": "no-such-compiler", "ADVISOR_REQUIRE_NATIVE": "0", "ADVISOR_NATIVE": "1"}
    subprocess.run(command, check=True, capture_output=True, cwd=copy, env=environment)
    assert not old.exists()
    assert "CXX=no-such-compiler" in (native / "not_built.txt").read_text()


def test_kernels_may_be_required(tmp_path: Path) -> None:
    done = wheel(tmp_path, CXX="no-such-compiler", ADVISOR_REQUIRE_NATIVE="1")
    assert done.returncode != 0
    assert "CXX=no-such-compiler is not a program" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_a_pure_wheel_on_request(tmp_path: Path) -> None:
    done = wheel(tmp_path, ADVISOR_NATIVE="0")
    assert done.returncode == 0, done.stderr
    tags, site = unpacked(tmp_path)
    assert tags == "py3-none-any"
    assert not list(site.rglob("*.so"))


def test_the_source_archive_can_be_compiled(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {Path(name).name for name in file.getnames() if "/native/src/" in name}
    assert held == {path.name for path in setup_module().SOURCES.iterdir()}


def test_code_for_a_newer_cpu_may_not_be_shared(tmp_path: Path) -> None:
    """What the linker merges by name would otherwise bring AVX2 into what older CPUs run."""
    cxx, setup = find_compiler(), setup_module()
    if not setup.X86:
        pytest.skip("only x86 compiles for several instruction sets")
    source = tmp_path / "isa_avx2.cpp"
    own = "#define ADVISOR_ISA avx2\nnamespace advisor { namespace avx2 { int own(int x) { return x; } } }\n"
    source.write_text(own)
    assert setup.compile_one(cxx, "", source, tmp_path).exists()
    source.write_text(own + "template <class T> __attribute__((noinline)) T shared(T x) { return x + x; }\n"
                      "template float shared<float>(float);\n")  # fmt: skip
    with pytest.raises(RuntimeError, match=r"isa_avx2.cpp: .*shared.* could replace everyone's"):
        setup.compile_one(cxx, "", source, tmp_path)
