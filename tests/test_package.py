"""The wheel carries everything: unpacked away from the checkout, every command works."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
        capture_output=True,
        cwd=folder,
        env=os.environ | {"ADVISOR_NATIVE": "0"},  # tests/native builds the compiled part
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def advisor_away(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import sys, advisor.cli, advisor; assert advisor.__file__.startswith(sys.argv.pop(1)); advisor.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", code, str(site), *arguments],
        capture_output=True,
        text=True,
        cwd=site.parent,
        env=environment,
        check=False,
    )


def test_wheel_holds_what_the_code_reads(unpacked: Path) -> None:
    held = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    page = "validation/reporting/report.html.jinja"
    for needed in ("app.py", "advisor/py.typed", "advisor/plans/plan.schema.json", page):
        assert needed in held
    for profile in (ROOT / "profiles").glob("*.json"):
        assert f"profiles/{profile.name}" in held
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in held)


def test_commands_work_away_from_the_checkout(unpacked: Path) -> None:
    done = advisor_away(unpacked, "devices", "--json")
    assert done.returncode == 0, done.stderr
    assert {profile["name"] for profile in json.loads(done.stdout)["profiles"]} >= {"energy-45nm"}
    done = advisor_away(unpacked, "analyze", "torchvision:alexnet", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["macs"] == 714_188_480
    for command in ("profile", "latency", "plan", "frontier", "validate", "app"):
        done = advisor_away(unpacked, command, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
