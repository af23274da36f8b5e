"""From a plan to the files of an export: all of them, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError, PlanError
from advisor.files import write_bytes
from advisor.plans.checks import check_has_network, check_plan
from advisor.plans.export.exporter import Exporter, Source, exporter
from advisor.plans.export.provenance import plan_digest
from advisor.plans.kept import is_open, with_kept
from advisor.plans.match import check_model, network_for
from advisor.plans.schedules import MaskSchedule

if TYPE_CHECKING:
    from torch import nn

    from advisor.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What an export has written.

    Attributes:
        files: the file itself, then those beside it that it names.
        plan_sha256: of the plan; every file says it, too.
        numbers: what was exported: layers, weights.
        notes: what the format cannot say.
    """

    format: str
    files: tuple[Path, ...]
    plan_sha256: str
    numbers: Mapping[str, int | float]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "files": [str(path) for path in self.files],
            "plan_sha256": self.plan_sha256,
            **self.numbers,
            "notes": list(self.notes),
        }


def export_plan(
    plan: Plan,
    to: str,
    path: str | Path,
    *,
    module: nn.Module | None = None,
    example_inputs: Any = None,
    schedule: MaskSchedule | None = None,
) -> Receipt:
    """Writes a plan for another training library.

    Args:
        plan: made from a network.
        to: the format: "masks", "torch-prune", "torch-pruning", "modelopt", "llm-compressor", "onnx", "schedule".
        path: of the file; others that it needs are written beside it.
        module: the dense network: it is compared with the plan, and some formats need its weights or its graph.
        example_inputs: what the module runs on, where random numbers in the plan's input shapes will not do.
        schedule: how the masks change while training, for "schedule".

    Raises:
        PlanError: an unknown format, a plan that it cannot hold, or another network's module.
        AdvisorError: the files cannot be written. Nothing is left half-written in any case.
    """
    chosen = exporter(to)
    check_has_network(plan)
    _check_asked(chosen, module, schedule, plan)
    plan, place = _closed(plan, module, example_inputs), Path(path)
    _check_place(place)
    stem = place.name.removesuffix(chosen.suffix) if place.name.endswith(chosen.suffix) else place.stem
    made = chosen.export(Source(plan=plan, stem=stem, module=module, example_inputs=example_inputs, schedule=schedule))
    beside = {place.with_name(stem + ending): data for ending, data in made.beside.items()}
    if place in beside:
        raise PlanError(f"--out {place}: a file beside it would have the same name; choose another ending")
    _write_all({**beside, place: made.data})
    return Receipt(
        format=to,
        files=(place, *beside),
        plan_sha256=plan_digest(plan),
        numbers=made.numbers,
        notes=(*_unsaid(chosen, plan), *made.notes),
    )


def read_provenance(path: str | Path, to: str) -> dict[str, Any]:
    """What an exported file says of itself; see `advisor.plans.export.provenance.provenance`.

    Raises:
        PlanError: one line: unreadable, or none of that format.
    """
    chosen, place = exporter(to), Path(path)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise PlanError(f"cannot read {place}: {error.strerror or error}") from error
    try:
        return chosen.provenance(data)
    except PlanError as error:
        raise PlanError(f"{place}: {error}") from error


def _check_place(place: Path) -> None:
    """Refuses a place that no file can have before the work is done for it."""
    if not place.parent.is_dir() or place.is_dir():
        reason = "it is a folder" if place.is_dir() else f"there is no folder {place.parent}"
        raise AdvisorError(f"cannot write {place}: {reason}; choose another place (--out)")


def _check_asked(chosen: Exporter, module: nn.Module | None, schedule: MaskSchedule | None, plan: Plan) -> None:
    if chosen.needs_module and module is None:
        raise PlanError(
            f"plan for {plan.model!r}: --to {chosen.name} needs the network itself; name it (--model), with its "
            "weights if it is trained (--weights)"
        )
    if chosen.scheduled and schedule is None:
        raise PlanError(
            f"plan for {plan.model!r}: --to {chosen.name} needs to know how masks change: --method incremental, set or "
            "rigl"
        )
    if schedule is not None and not chosen.scheduled:
        raise PlanError(f"plan for {plan.model!r}: --to {chosen.name} has no place for a schedule; use --to schedule")


def _closed(plan: Plan, module: nn.Module | None, example_inputs: Any) -> Plan:
    """The plan with the channels that width keeps, compared with the module where there is one."""
    if module is not None:
        check_model(plan, module)
    opened = any(is_open(layer) for layer in plan.layers)
    plan = with_kept(plan, network_for(plan, module, example_inputs) if opened and module is not None else None)
    check_plan(plan)
    if still := next((layer.name for layer in plan.layers if is_open(layer)), None):
        raise PlanError(
            f"plan for {plan.model!r}: layer {still} does not say which channels width keeps; name the "
            "network (--model)"
        )
    return plan


def _unsaid(chosen: Exporter, plan: Plan) -> tuple[str, ...]:
    """What a plan decides beside weights, where the format is of weights alone."""
    if not plan.attention or chosen.needs_module:
        return ()
    names = [layer.module for layer in plan.attention]
    return (
        f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} become hierarchical in this plan, which "
        f"{chosen.name} cannot say: make the network so first (advisor's plan.apply), or plan without that pattern",
    )


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Each file in one piece; where one cannot be written, those that were not there before are gone again."""
    made: list[Path] = []
    try:
        for path, data in files.items():
            new = not path.exists()
            write_bytes(path, data)
            if new:
                made.append(path)
    except AdvisorError:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
