"""What there is to choose from, fixed when the page starts.

The address of a page is something that anyone can send to anyone. It may name networks of the installed libraries, but
never a file or a package of Python: those are run only where they were given on the command line at start.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from advisor.devices.profile import Profile, list_profiles, load_profile
from advisor.errors import AdvisorError, ModelError, ProfileError

OWN = "yours"  # the source of networks that were given at start
NO_PROFILE = ""
USUAL = {"zoo": "digits_cnn", "torchvision": "resnet18", "timm": "resnet18"}  # what a source shows first


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Models and profiles given at start, and the folder for measured profiles and validations."""

    models: tuple[str, ...]
    profiles: tuple[str, ...]
    home: Path

    @property
    def sources(self) -> tuple[str, ...]:
        """Where networks come from, one's own first."""
        installed = ("zoo", "torchvision", *(("timm",) if find_spec("timm") else ()))
        return ((OWN,) if self.models else ()) + installed

    def networks(self, source: str) -> tuple[str, ...]:
        """Names of one source, as `load_model` takes them after the colon; one's own with source and all."""
        return self.models if source == OWN else _library(source)

    def spec(self, source: str, name: str) -> str:
        return name if source == OWN else f"{source}:{name}"

    def split(self, spec: str) -> tuple[str, str]:
        """The source and the name of a model that may be chosen here.

        Raises:
            ModelError: not on offer: unknown, or Python code that was not given at start.
        """
        if spec in self.models:
            return OWN, spec
        source, _, name = spec.partition(":")
        if source not in self.sources or source == OWN:
            raise ModelError(
                f"model {spec!r} is none of this page's; Python files are run only when the page is started with "
                f"--model {spec}"
            )
        if name not in self.networks(source):
            raise ModelError(f"model {spec!r}: {source} has no network of that name here")
        return source, name

    @property
    def default_model(self) -> str:
        return self.models[0] if self.models else "zoo:digits_cnn"

    @property
    def measured(self) -> Path:
        """Folder of the profiles that were measured from a page."""
        return self.home / "profiles"

    def profile_names(self) -> tuple[str, ...]:
        """Profiles given at start, those measured from a page, those that came with the package."""
        found = sorted(str(path) for path in self.measured.glob("*.json")) if self.measured.is_dir() else []
        return tuple(dict.fromkeys((*self.profiles, *found, *list_profiles())))

    def profile(self, name: str) -> Profile | None:
        """The profile of that name; None for no profile.

        Raises:
            ProfileError: not on offer, or unreadable.
        """
        if name == NO_PROFILE:
            return None
        if name not in self.profile_names():
            raise ProfileError(f"profile {name!r} is none of this page's; start the page with --profile {name}")
        return load_profile(name)

    def stamp(self, name: str) -> int:
        """Changes when the profile's file does: a profile measured again answers anew."""
        path = Path(name)
        return path.stat().st_mtime_ns if name and path.is_file() else 0

    def folder(self, kind: str, *question: object) -> Path:
        """The folder of one piece of long work: the same question finds it again after a restart."""
        digest = hashlib.sha256(repr(question).encode()).hexdigest()[:12]
        return self.home / kind / digest


@lru_cache
def _library(source: str) -> tuple[str, ...]:
    if source == "zoo":
        from advisor.zoo import ZOO

        return tuple(sorted(ZOO))
    if source == "torchvision":
        from advisor.models import torchvision_names

        return tuple(sorted(torchvision_names()))
    if source == "timm":
        import timm

        return tuple(timm.list_models())
    raise ModelError(f"no source of networks is called {source!r}; known: zoo, torchvision, timm")


def offer_from(arguments: Sequence[str]) -> Offer:
    """Reads what stands after `--` on the page's command line.

    Raises:
        AdvisorError: an unknown option, or one without its value.
    """
    parser = argparse.ArgumentParser(prog="advisor app", add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--home", type=Path, default=default_home())
    try:
        found, rest = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise AdvisorError(f"the page was started with {' '.join(arguments)!r}: {error}") from error
    if rest:
        raise AdvisorError(f"the page was started with {rest[0]!r}; it knows --model, --profile and --home")
    return Offer(models=tuple(found.model), profiles=tuple(found.profile), home=found.home.expanduser().resolve())


def default_home() -> Path:
    """`$XDG_CACHE_HOME/sparsity-advisor`, or `~/.cache/sparsity-advisor`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsity-advisor"
