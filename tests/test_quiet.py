"""Standard output stays clean while C libraries print."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

import pytest

from advisor.planning.solving.interrupt import interruptibly
from advisor.quiet import c_prints_to_stderr

LIBC = ctypes.CDLL(None)


def test_what_c_prints_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with c_prints_to_stderr():
        LIBC.puts(b"from C")
        os.write(1, b"raw\n")
    os.write(1, b"after\n")
    out, error = capfd.readouterr()
    assert out == "after\n"
    assert sorted(error.split("\n")) == ["", "from C", "raw"]


def test_a_solver_that_prints_leaves_stdout_clean(capfd: pytest.CaptureFixture[str]) -> None:
    assert interruptibly(lambda: LIBC.puts(b"tmpSolver.run();")) >= 0
    thread = threading.Thread(target=lambda: interruptibly(lambda: LIBC.puts(b"from a thread")))
    thread.start()
    thread.join()
    print("mine", flush=True)
    out, error = capfd.readouterr()
    assert out == "mine\n"
    assert "tmpSolver.run();" in error
    assert "from a thread" in error


def test_several_threads_at_once_put_things_back(capfd: pytest.CaptureFixture[str]) -> None:
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(20):
            with c_prints_to_stderr():
                LIBC.puts(b"noise")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"after\n")
    out, error = capfd.readouterr()
    assert out == "after\n"
    assert error.count("noise") == 80


def test_an_error_inside_puts_things_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), c_prints_to_stderr(), c_prints_to_stderr():
        raise ValueError("x")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_program_without_standard_output_or_error_runs(closed: str) -> None:
    code = (
        "import os, sys; os.close(int(sys.argv[1])); from advisor.quiet import c_prints_to_stderr as quiet\n"
        "with quiet(): pass\nsys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code, closed], capture_output=True, check=False).returncode == 7
