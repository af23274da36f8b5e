"""Lines of a journal of the GPU suite, and what a fit reads out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_document, execution_from
from advisor.devices.gpu.own_fit import OwnLayers, OwnPiece
from advisor.devices.steps.document import step_document, step_from

if TYPE_CHECKING:
    from advisor.devices.cuda.suite.pieces import GpuPiece
    from advisor.runtime.execution import Execution

PREFIX = "gpu:"  # of every key


def piece_key(number: int) -> str:
    return f"{PREFIX}piece:{number}"


def layer_key(execution: Execution) -> str:
    return f"{PREFIX}layer:{execution.key}"


def piece_record(drawn: GpuPiece, times: dict[str, Any]) -> dict[str, Any]:
    """What a journal keeps of a piece beside its key and seconds: each distinct step once, with how often it runs."""
    counted = [[step_document(step), count] for step, count in drawn.recording.counted().items()]
    return {"kind": drawn.kind, "steps": counted, **times}


def layer_record(execution: Execution, ms: float) -> dict[str, Any]:
    return {"execution": execution_document(execution), "ms": ms}


def gpu_problem(record: dict[str, Any]) -> str:
    """What makes this no record of the GPU suite; empty where nothing does."""
    key = str(record["key"])
    numbers = ["seconds"]
    if "failed" not in record and key.startswith(piece_key(0)[:-1]):
        numbers += ["eager_ms", "graph_ms"]
    elif "failed" not in record and key.startswith(f"{PREFIX}layer:"):
        numbers.append("ms")
    elif "failed" not in record:
        return f"record {key[:80]!r} is of no kind that is known here"
    for name in numbers:
        value: Any = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            return f"record {key[:80]!r} has {name}={str(value)[:40]}, expected a number above 0"
    if "failed" in record:
        return ""
    try:
        if "ms" in numbers:
            return "" if layer_key(execution_from(record["execution"])) == key else f"record {key[:80]!r}: other work"
        str(record["kind"]), _counted(record)
    except Exception as error:
        return f"record {key[:80]!r} describes no work ({' '.join(str(error).split())[:120]})"
    return ""


def pieces_of(records: Sequence[dict[str, Any]]) -> tuple[OwnPiece, ...]:
    """Measured pieces, in order."""
    return tuple(
        OwnPiece(
            family=str(record["kind"]),
            counted=_counted(record),
            eager_ms=float(record["eager_ms"]),
            graph_ms=float(record["graph_ms"]),
        )
        for record in records
        if "graph_ms" in record
    )


def layers_measured(records: Sequence[dict[str, Any]]) -> OwnLayers:
    """Measured layers, dense and sparse ones."""
    found = [(execution_from(r["execution"]), float(r["ms"])) for r in records if "ms" in r]
    return OwnLayers(
        dense={e: ms for e, ms in found if e.method == "dense"},
        sparse={e: ms for e, ms in found if e.method in ("direct", "gather")},
    )


def _counted(record: dict[str, Any]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for document, count in record["steps"]:
        if type(count) is not int or count < 1:
            raise ValueError(f"a step that runs {count} times")
        found[step_from(document)] += count
    return found
