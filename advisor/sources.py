"""A user's own model file on another machine: it travels with the Python files beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advisor.errors import ModelError

MAX_BYTES = 16 * 2**20  # of Python files that travel together


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model's name and, where that is a file, what a machine needs that does not have it.

    Attributes:
        path: of the file where it was packed; "" where the model is of a package.
        sha256: of the file.
        files: path below the file's folder → content; Python files alone, since those can be imported.
    """

    model: str
    path: str = ""
    sha256: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def here(self, folder: Path) -> str:
        """The model's name on this machine: the same file where it is here, too, its copy below `folder` elsewhere."""
        if not self.path:
            return self.model
        path, factory = Path(self.path), self.model.rpartition(":")[2]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            for name, content in self.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            path = folder / path.name
        return f"{path}:{factory}"


def source_of(model: str) -> Source:
    """Packs a model's file with its neighbours; hidden folders and installed packages stay.

    Raises:
        ModelError: there is no such file, or too much lies beside it.
    """
    place = model.rpartition(":")[0]
    if not place.endswith(".py"):
        return Source(model=model)
    path = Path(place).resolve()
    if not path.is_file():
        raise ModelError(f"model {model!r}: no file {place!r} here; check the path")
    files: dict[str, bytes] = {}
    total = 0
    for file in sorted(path.parent.rglob("*.py")):
        name = file.relative_to(path.parent)
        if not file.is_file() or any(part.startswith(".") or part == "site-packages" for part in name.parts):
            continue
        files[name.as_posix()] = file.read_bytes()
        total += len(files[name.as_posix()])
        if total > MAX_BYTES:
            raise ModelError(
                f"model {model!r}: more than {MAX_BYTES >> 20} MiB of Python files lie beside it, too many to send to "
                "other machines; put it into a folder of its own"
            )
    return Source(model=model, path=str(path), sha256=hashlib.sha256(files[path.name]).hexdigest(), files=files)
