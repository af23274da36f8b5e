"""Tables of kernels as nn-Meter's builder saves them (Zhang et al., MobiSys 2021): one row per kernel, times in ms.

Columns, in capitals or not: HW (or input_h and input_w), CIN, COUT, KERNEL_SIZE (ks), STRIDES (stride) and latency;
groups and batch may follow. The kernel's type stands in a column kernel, kernel_type or type; else the column
model_path begins with it ("conv-bn-relu_prior_3K2…"), or the file's name does. Other columns are left alone.

Taken are convolutions ("conv…"), depthwise ones ("dwconv…") and fully connected layers ("fc…"): what comes after them
in one kernel (batch norm, activation) is in their time. Kernels without weights are counted and left out. Padding is
not in such tables: it is "same", (kernel size - 1) / 2 on each side.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.profile import Profile
from advisor.devices.settings import Settings
from advisor.devices.tables.header import error_of, machine_of, today
from advisor.devices.tables.merge import merged, noise_note
from advisor.devices.tables.rows import Row, read_rows
from advisor.errors import ProfileError, unknown

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_NAMES = {
    "hw": ("hw", "input_hw", "inputh"),
    "height": ("input_h", "h"),
    "width": ("input_w", "w"),
    "cin": ("cin", "cin1", "in_channels"),
    "cout": ("cout", "out_channels"),
    "kernel": ("kernel_size", "ks", "kernelsize", "k"),
    "stride": ("strides", "stride", "s"),
    "groups": ("groups",),
    "batch": ("batch", "batch_size"),
    "latency": ("latency", "latency_ms", "latency(ms)", "ms"),
    "type": ("kernel_type", "kernel", "type", "op"),
    "path": ("model_path", "model"),
}
_POOLING = ("maxpool", "avgpool", "global-avgpool")
_ELEMENTWISE = ("add", "addrelu", "bn", "bnrelu", "relu", "relu6", "hswish", "hs")
_WITHOUT_WEIGHTS = frozenset((*_POOLING, *_ELEMENTWISE, "concat", "split", "channelshuffle", "se"))
_PLAIN = re.compile(r"^\s*([-+.\deE]+)\s*(?:\+-|±)\s*[-+.\deE]+\s*$")  # "42.001 +- 1.0", as its profiler prints it


def from_nn_meter(
    text: str, file: str, *, device: str | None = None, threads: int | None = None, machine: str | None = None
) -> Profile:
    """A profile from such a table.

    Raises:
        ProfileError: the first thing that is wrong: file, row, column, got, expected.
    """
    header, rows, _ = read_rows(text, file)
    columns = _columns(header, file)
    skipped: Counter[str] = Counter()
    times: list[tuple[Execution, float]] = []
    for row in rows:
        kind = _kind(row, columns, file)
        if kind in _WITHOUT_WEIGHTS:
            skipped[kind] += 1
            continue
        times.append((_execution(row, columns, kind), _latency(row, columns["latency"])))
    if not times:
        raise ProfileError(f"{file}: no rows of convolutions or fully connected layers, expected some")
    measurements, deviation, told = merged(times)
    batches = {m.execution.input_shape[0] for m in measurements.values()}
    if len(batches) > 1:
        raise ProfileError(f"{file}: rows of batch sizes {sorted(batches)}, expected one; split the table")
    notes = [noise_note(deviation, told), "padding is taken as 'same', as the table does not say it"]
    if len(times) > len(measurements):
        notes.append(f"{len(times)} rows are {len(measurements)} kinds of work; times of equal work were averaged")
    if skipped:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(skipped.items()))
        notes.append(f"{sum(skipped.values())} rows of kernels without weights were left out: {listed}")
    return Profile(
        name=Path(file).stem,
        origin="measured",
        source=f"table of kernels {Path(file).name}, measured by others",
        created=today(),
        machine=machine_of(machine, file),
        settings=Settings(
            device=device or "cpu", batch=min(batches), threads=threads or 1, dtype="float32", training=False
        ),
        measurements=measurements,
        networks={},
        error=error_of(measurements),
        notes=tuple(notes),
    )


def looks_like(header: list[str]) -> bool:
    """Whether a header has the columns of such a table."""
    names = {name.strip().lower() for name in header}
    return "cin" in names and any(name in names for name in _NAMES["latency"])


def _columns(header: list[str], file: str) -> dict[str, str]:
    """Meaning → the header's own name."""
    lower = {name.lower(): name for name in header}
    found = {meaning: lower[name] for meaning, names in _NAMES.items() for name in reversed(names) if name in lower}
    for meaning, shown in (("cin", "CIN"), ("cout", "COUT"), ("latency", "latency")):
        if meaning not in found:
            raise ProfileError(
                f"{file} row 1, column {shown}: the header lacks it, expected HW, CIN, COUT, KERNEL_SIZE, STRIDES and "
                "latency"
            )
    return found


def _kind(row: Row, columns: dict[str, str], file: str) -> str:
    if "type" in columns:
        text, column = row.text(columns["type"]), columns["type"]
    elif "path" in columns and row.text(columns["path"]).partition("_")[0].startswith(("conv", "dwconv", "fc")):
        text, column = row.text(columns["path"]).partition("_")[0], columns["path"]
    else:
        text, column = Path(file).stem.partition("_")[0], "kernel_type"
    kind = text.lower().strip()
    if kind in _WITHOUT_WEIGHTS or kind.split("-")[0] in ("conv", "dwconv", "fc"):
        return kind
    known = ("conv-bn-relu", "dwconv-bn-relu", "fc", *sorted(_WITHOUT_WEIGHTS))
    where = "; name it in a column kernel_type, or at the start of the file's name" if column == "kernel_type" else ""
    raise ProfileError(f"{file} row {row.number}, column {column}: {unknown('kernel', text[:60], known)}{where}")


def _execution(row: Row, columns: dict[str, str], kind: str) -> Execution:
    from advisor.errors import PatternError
    from advisor.runtime.execution import Execution

    def count(meaning: str, default: int | None = None) -> int:
        column = columns.get(meaning)
        if column is None:
            if default is None:
                shown = {"kernel": "KERNEL_SIZE", "stride": "STRIDES", "height": "HW"}.get(meaning, meaning)
                raise ProfileError(
                    f"{row.file} row {row.number}, column {shown}: the table lacks it, expected it for {kind}"
                )
            return default
        return row.count(column, default, least=1)

    batch, inputs, outputs = count("batch", 1), count("cin"), count("cout")
    values: dict[str, Any]
    if kind.startswith("fc"):
        values = {"kind": "linear", "input_shape": (batch, inputs), "weight_shape": (outputs, inputs), "bias": True}
    else:
        size = (count("height"), count("width", count("height"))) if "hw" not in columns else (count("hw"),) * 2
        kernel, stride = count("kernel"), count("stride")
        groups = inputs if kind.startswith("dwconv") else count("groups", 1)
        if kind.startswith("dwconv") and outputs % inputs:
            raise row.bad(columns["cout"], f"as many as the {inputs} inputs of a depthwise convolution, or a multiple")
        if inputs % groups:
            raise row.bad(columns["groups"], f"a divisor of the {inputs} inputs")
        values = {
            "kind": "conv2d",
            "input_shape": (batch, inputs, *size),
            "weight_shape": (outputs, inputs // groups, kernel, kernel),
            "stride": (stride, stride),
            "padding": ((kernel - 1) // 2,) * 2,
            "dilation": (1, 1),
            "groups": groups,
            "bias": True,
        }
    try:
        return Execution(method="dense", **values)
    except PatternError as error:
        raise ProfileError(
            f"{row.file} row {row.number}, column {columns['cout']}: got {row.text(columns['cout'])!r}: "
            f"{str(error).rpartition(': ')[2]}"
        ) from error


def _latency(row: Row, column: str) -> float:
    if found := _PLAIN.match(row.text(column)):
        row = Row(row.file, row.number, {column: found[1]})
    return row.ms(column)
