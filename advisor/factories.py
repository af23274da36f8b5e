"""Functions of the user's own, by file or package: of models, of data."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from advisor.errors import AdvisorError, ModelError, unknown


def load_factory(
    spec: str, forms: str, *, what: str = "model", error: type[AdvisorError] = ModelError
) -> Callable[[], Any]:
    """The function that `spec` names, "path/to/file.py:NAME" or "package.module:NAME".

    Args:
        spec: as the user wrote it.
        forms: all that he could have written, for errors.
        what: what the function makes.
        error: the class of errors.
    """
    source, _, name = spec.rpartition(":")
    if source.endswith(".py"):
        module = _file(spec, Path(source), what, error)
    else:
        if not all(part.isidentifier() for part in source.split(".")):
            raise error(f"{what} {spec!r} has an unknown source {source!r}; write {forms}")
        if importlib.util.find_spec(source.partition(".")[0]) is None:
            raise error(f"{what} {spec!r}: no package {source.partition('.')[0]!r} is installed; write {forms}")
        with users_mistakes(spec, what, error):
            module = importlib.import_module(source)
    if not callable(getattr(module, name, None)):
        own = [
            key
            for key, item in vars(module).items()
            if callable(item) and getattr(item, "__module__", "") == module.__name__
        ]
        raise error(unknown(f"factory in {source}", name, own))
    factory: Callable[[], Any] = getattr(module, name)
    return factory


def _file(spec: str, path: Path, what: str, error: type[AdvisorError]) -> ModuleType:
    if not path.is_file():
        raise error(f"{what} {spec!r}: no file {str(path)!r} here; check the path")
    title = f"advisor_user_{abs(hash(path.resolve()))}"
    found = importlib.util.spec_from_file_location(title, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[title] = module  # dataclasses and the like look their module up
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # as for a script: its neighbours can be imported
    try:
        with users_mistakes(spec, what, error):
            found.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


@contextmanager
def users_mistakes(spec: str, what: str = "model", error: type[AdvisorError] = ModelError) -> Iterator[None]:
    """Turns whatever a user's code raises into one line with the place in that code."""
    try:
        yield
    except AdvisorError:
        raise
    except (Exception, SystemExit) as problem:
        if isinstance(problem, SyntaxError) and problem.filename:
            place = f"{problem.filename}:{problem.lineno}"
        else:
            ours = {str(Path(__file__)), str(Path(__file__).with_name("models.py")), importlib.__file__}
            frames = [
                frame
                for frame in traceback.extract_tb(problem.__traceback__)
                if frame.filename not in ours and not frame.filename.startswith("<frozen")
            ]
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else spec
        reason = " ".join(str(problem).split()) or "no message"
        raise error(
            f"{what} {spec!r} failed at {place}: {type(problem).__name__}: {reason}; mend it there"
        ) from problem
