"""A device profile carried over to another machine by a handful of its suite's pieces, run there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.measuring.drift import quiet_pace
from advisor.devices.predicting.predict import interval
from advisor.devices.profile import Profile
from advisor.devices.suite.records import key_of
from advisor.devices.suite.table import PieceTimes, Table, error_of
from advisor.devices.transfer.device.design import FEWEST
from advisor.devices.transfer.device.features import means, step_rows
from advisor.devices.transfer.device.left_out import LeftOut, left_out
from advisor.devices.transfer.device.pairs import Pairs, pairs_of
from advisor.devices.transfer.device.ratio import FOLDS, StepRatio, fold_of
from advisor.devices.transfer.device.refit import refit, widened
from advisor.devices.transfer.features import Scale
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.settings import Machine

_ENOUGH = 30  # left-out steps of a class from which on they say how far one is off


def transfer_device(
    profile: Profile,
    records: Sequence[dict[str, Any]],
    *,
    machine: Machine,
    kernels: str,
    name: str | None = None,
    notes: Sequence[str] = (),
) -> Profile:
    """The device profile of another machine, from this one and `records` of some of its pieces there.

    Every step that the suite measured is multiplied by a smooth ratio of the two machines (see `RatioModel`), by its
    class, bytes, MACs per byte and speed; pieces that ran there keep their own times. What lies between steps is
    refitted, and how far predictions are off comes from the pieces that ran there, each left out.

    Args:
        records: as `suite.records.record_of` makes them, with their `key`.
        machine, kernels: of the new machine; without kernels (""), sparse pieces are left out.
        notes: what to say first in the new profile's notes.

    Raises:
        ProfileError: `profile` is no device profile, or fewer than `FEWEST` pieces of each table ran there.
    """
    if not profile.tables or profile.settings is None:
        raise ProfileError(f"profile {profile.name!r} is no device profile (advisor profile --suite)")
    tables = [usable(table, kernels) for table in profile.tables]
    every = [pairs_of(table, _of(table, records)) for table in tables]
    kept = [pairs for pairs in every if len(pairs.found) >= FEWEST]
    refused = [line for pairs in every for line in pairs.refused]
    if not kept:
        raise ProfileError(
            f"profile {profile.name!r}: fewer than {FEWEST} of its pieces ran here as they did where it was made"
            + (f" ({refused[0]})" if refused else "")
            + "; make a profile of this machine (advisor profile --suite)"
        )
    found = [pair for pairs in kept for pair in pairs.found]
    scale = _scale([pairs.table for pairs in kept])
    folds = fold_of(found)
    without = [[pair for pair, own in zip(found, folds, strict=True) if own != fold] for fold in range(FOLDS)]
    models = [StepRatio(rest or found, scale) for rest in without]
    ratio = StepRatio(found, scale)
    made, at = [], 0
    for pairs in kept:
        count = len(pairs.found)
        made.append(_table(pairs, ratio, left_out(pairs, folds[at : at + count], models)))
        at += count
    lost = [f"{pairs.table.text}: too few pieces ran here to carry it over" for pairs in every if pairs not in kept]
    old = profile.machine.name if profile.machine else "an unknown machine"
    first = made[0]
    return replace(
        profile,
        name=name or f"{profile.name}-transferred",
        origin="calibrated",
        source=(
            f"carried over from {old} (profile {profile.name!r}) by {len(found)} pieces of the suite that ran on the "
            f"new machine: one factor of {ratio.factor:.3g}"
            + ("" if ratio.one_factor else ", and a smooth function of the operator on top of it")
        ),
        created=datetime.now(UTC).date().isoformat(),
        machine=machine,
        settings=replace(profile.settings, threads=first.threads, training=first.training, kernels=kernels),
        error=error_of(made) | {
            "method": "pieces on the new machine left out in turn; with one factor alone beside it (one_factor_)",
            "factor": round(ratio.factor, 4),
        },
        notes=(*notes, *lost, *refused[:10])[:100],
        tables=tuple(made),
        steps={},
        networks={},
        measurements={},
    )  # fmt: skip


def usable(table: Table, kernels: str) -> Table:
    """The table without its sparse pieces, where there are no kernels to run them."""
    if kernels:
        return table
    return replace(table, pieces=tuple(piece for piece in table.pieces if piece.variant != "sparse"))


def _of(table: Table, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {key_of(piece.number, piece.variant, table.threads, table.training) for piece in table.pieces}
    return [record for record in records if record["key"] in known]


def _scale(tables: Sequence[Table]) -> Scale:
    parts = []
    for table in tables:
        for piece in table.pieces[:: max(1, len(table.pieces) // 100)]:
            known = means(piece)
            parts.append(step_rows(list(known), list(known.values()), table))
    return Scale.of(np.vstack(parts))


def _table(pairs: Pairs, ratio: StepRatio, left: LeftOut) -> Table:
    table, own = pairs.table, {(pair.new.number, pair.new.variant): pair.new for pair in pairs.found}
    between = widened(
        table.between, refit(table.between, [p.new for p in pairs.found]), left.wholes, left.concentration
    )
    others = [piece for piece in table.pieces if (piece.number, piece.variant) not in own]
    asked = [(step, float(ms)) for piece in others for step, ms in zip(piece.steps, piece.ms, strict=True)]
    factors = np.exp(ratio([step for step, _ in asked], [ms for _, ms in asked], table))
    scaled, at = {}, 0
    for piece in others:
        ms = piece.ms * factors[at : at + len(piece.steps)]
        at += len(piece.steps)
        carried = replace(piece, ms=ms)
        whole = carried.kernels_ms + between.ms(carried.counts, carried.kernels_ms)
        scaled[piece.number, piece.variant] = replace(carried, whole_ms=max(whole, 1e-9))
    pieces: tuple[PieceTimes, ...] = tuple(
        own.get((p.number, p.variant)) or scaled[p.number, p.variant] for p in table.pieces
    )
    percent, plain = (100 * np.abs(np.expm1(-errors)) for errors in (left.wholes, left.one_factor))
    layers = [errors for name, errors in left.steps.items() if name != "operator"]
    return Table(
        threads=table.threads,
        training=table.training,
        pieces=pieces,
        between=between,
        intervals=_intervals(table, left),
        pace=quiet_pace(pairs.records, slope=table.pace.slope),
        error={
            "pieces": len(pieces),
            "steps": sum(len(errors) for errors in left.steps.values()),
            "noisy_pieces": pairs.noisy,
            "timed_pieces": len(own),
            "whole_median_percent": round(float(np.median(percent)), 2),
            "whole_within_10_percent": round(100 * float((percent <= 10).mean()), 1),
            "one_factor_whole_median_percent": round(float(np.median(plain)), 2),
            **({"layer_median_percent": round(100 * float(np.median(np.abs(np.expm1(np.concatenate(layers))))), 2)}
               if layers else {}),
        },
    )  # fmt: skip


def _intervals(table: Table, left: LeftOut) -> dict[str, tuple[float, float]]:
    """Never narrower than on the old machine; classes that hardly ran here are as much wider as the ratio is off."""
    off = float(np.quantile(np.abs(left.ratios), 0.8)) if len(left.ratios) else 0.7
    found = {}
    for name, (low, high) in table.intervals.items():
        errors = left.steps.get(name, np.zeros(0))
        if len(errors) >= _ENOUGH:
            below, above = interval(errors)
            found[name] = (min(below, low), max(above, high))
        else:
            found[name] = (-float(np.hypot(low, off)), float(np.hypot(high, off)))
    return found
