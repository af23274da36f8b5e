"""A device's profile, made on the machine that has it."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from advisor.devices.settings import this_machine
from advisor.devices.spread.request import ProfileRequest, make_profile
from advisor.errors import ProfileError
from advisor.sources import Source

PACKAGE = "sparsity-advisor"


def describe(device: str, versions: str) -> tuple[str, str]:
    """Name of the device and of its machine.

    Args:
        versions: of this package where the profiling was started.

    Raises:
        ProfileError: another version is here.
    """
    if (here := version(PACKAGE)) != versions:
        raise ProfileError(f"{PACKAGE} {here} is installed, profiling was started with {versions}; install that")
    return this_machine(device).name, platform.node()


def profile_here(request: ProfileRequest, source: Source, name: str) -> bytes:
    """Measures this device; the profile's file, called `name` in it."""
    with tempfile.TemporaryDirectory(prefix="advisor-profile-") as folder:
        if request.model is not None:
            request = replace(request, model=source.here(Path(folder) / "source"))
        out = Path(folder) / f"{name}.json"
        make_profile(request, out, shown=False)
        return out.read_bytes()
