"""Everything that can be the user's to mend. The command line prints the text of these as one line and exits with 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class AdvisorError(Exception):
    """A mistake that the user can mend. Its text says what, where, got, expected, and what to do, on one line."""


class ModelError(AdvisorError):
    """A network that cannot be found, built, run or traced."""


class BudgetError(AdvisorError):
    """A budget that cannot be read or cannot be met."""


class PatternError(AdvisorError):
    """A pattern that does not exist or is not legal for a layer."""


class ProfileError(AdvisorError):
    """A profile that is missing, unreadable, or made under other settings than the question asks for."""


class PlanError(AdvisorError):
    """A plan that is unreadable or belongs to another network."""


class DataError(AdvisorError):
    """A data set that is unknown or cannot be had."""


class DeviceError(AdvisorError):
    """A device that this machine does not have."""


class ClusterError(AdvisorError):
    """A Ray cluster that cannot be had, or that has no room for what was asked."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Says that `name` is no known `what`, with the closest known names first."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return f"unknown {what} {name!r}; {hint}known: {listed}"


class KernelError(AdvisorError):
    """A sparse kernel was given tensors that do not belong together, or cannot run here."""


class TraceError(AdvisorError):
    """A trace of a training run that cannot be read or is none."""
