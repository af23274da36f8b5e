"""Files are written whole or not at all, and only files are replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from advisor.errors import AdvisorError
from advisor.files import write_bytes


def test_a_file_is_replaced_in_one_piece(tmp_path: Path) -> None:
    place = tmp_path / "plan.json"
    write_bytes(place, b"old")
    write_bytes(place, b"new")
    assert place.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    place, link = tmp_path / "real.json", tmp_path / "link.json"
    place.write_bytes(b"old")
    link.symlink_to(place)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert place.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"data")
    reader.join(timeout=10)
    assert found == [b"data"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(AdvisorError, match="cannot write /dev/full: No space left on device; free space") as caught:
        write_bytes("/dev/full", b"data")
    assert "\n" not in str(caught.value)
    assert Path("/dev/full").is_char_device()
