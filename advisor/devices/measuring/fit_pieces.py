"""The reference work of a device profile: pieces of its suite, which can be drawn again by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advisor.errors import KernelError, ProfileError

if TYPE_CHECKING:
    from advisor.devices.measuring.references import Role
    from advisor.devices.profile import Profile
    from advisor.devices.suite.table import PieceTimes

PIECE_DOUBT = 0.04  # of the log of a piece's time: files keep no interval of it; runs of one differ by a few percent


def piece_references(profile: Profile, *, most_ms: float) -> tuple[dict[Role, PieceTimes], bool]:
    """Role → piece, as `references` chooses layers, from the table of the profile's settings; and whether it trains.

    Raises:
        ProfileError: it has no table of these settings.
    """
    made = profile.settings
    table = next((t for t in profile.tables if made and (t.threads, t.training) == (made.threads, made.training)), None)
    if table is None or not table.pieces:
        raise ProfileError(f"profile {profile.name!r} holds no pieces of its own settings; make it anew")
    by_time = sorted(table.pieces, key=lambda found: (found.whole_ms, found.number, found.variant))
    known = [found for found in by_time if found.whole_ms <= most_ms] or by_time[:1]
    dense = [found for found in known if found.variant == "dense"]
    chosen: dict[Role, PieceTimes] = {}
    if dense:
        chosen["compute-bound"] = max(dense[len(dense) // 2 :], key=_intensity)
        left = [found for found in dense if found is not chosen["compute-bound"]]
        if left:
            chosen["memory-bound"] = min(left[len(left) // 4 :], key=_intensity)
            left = [found for found in left if found is not chosen["memory-bound"]]
        if left:
            chosen["small"] = left[0]
    sparse = [found for found in known if found.variant == "sparse"]
    if sparse:
        chosen["sparse"] = sparse[len(sparse) // 2]
    return chosen, table.training


def piece_key(found: PieceTimes) -> str:
    """ "piece 17 of the suite, dense"."""
    return f"piece {found.number} of the suite, {found.variant}"


def build(found: PieceTimes, *, training: bool) -> Callable[[], object]:
    """The piece as the suite ran it: one inference as deployed, or one step of training with its optimiser."""
    from advisor.devices.measuring.subject import forward_call, training_call
    from advisor.devices.suite.designs import piece
    from advisor.devices.suite.thin import thinned
    from advisor.runtime.fuse import fuse

    drawn = piece(found.number, norm=training)
    if found.variant == "sparse":
        module = thinned(drawn.module, drawn.input, drawn.number, for_inference=not training)
    else:
        module = drawn.module if training else fuse(drawn.module, (drawn.input,))
    if module is None:
        raise KernelError("the suite draws no such piece here")
    if training:
        return training_call(module.train(), (drawn.input,), optimizer=True)
    return forward_call(module, (drawn.input,))


def _intensity(found: PieceTimes) -> float:
    moved = sum(step.read_bytes + step.written_bytes for step in found.steps if step.family != "view")
    return sum(step.macs for step in found.steps) / max(moved, 1)
