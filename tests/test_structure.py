"""The house rules that a reader relies on: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yields (module, at import time?) for every import statement; those under TYPE_CHECKING are left out."""
    tree = ast.parse(path.read_text())
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            hidden.update(child for statement in node.body for child in ast.walk(statement))
    inner = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in inner
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node not in inner


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", files("advisor"), ids=str)
def test_advisor_never_looks_upstairs(path: Path) -> None:
    for module, _ in imports(path):
        assert module.split(".")[0] not in {"streamlit", "validation", "app"}, f"{path} imports {module}"


def test_plotly_stays_with_the_figures() -> None:
    users = {path for path in files("advisor") for module, _ in imports(path) if module.split(".")[0] == "plotly"}
    assert users
    assert all("figures" in path.relative_to(ROOT).as_posix() for path in users), users


@pytest.mark.parametrize("path", files("advisor/planning"), ids=str)
def test_the_planner_sees_numpy_not_torch(path: Path) -> None:
    loaded = {module.split(".")[0] for module, at_import in imports(path) if at_import}
    assert "torch" not in loaded


@pytest.mark.parametrize("path", files("advisor") + files("validation") + [ROOT / "app.py"], ids=str)
def test_no_pickle(path: Path) -> None:
    assert not {module for module, _ in imports(path)} & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    text = path.read_text()
    if "torch.load(" in text:
        assert text.count("torch.load(") == text.count("weights_only=True"), f"{path}: torch.load without weights_only"


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, advisor.cli as c; c.run(['--help']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'streamlit', 'plotly', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_public_names_resolve() -> None:
    import advisor

    for name in advisor.__all__:
        assert getattr(advisor, name) is not None
    with pytest.raises(AttributeError):
        advisor.no_such_name  # noqa: B018
