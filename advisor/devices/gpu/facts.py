"""What a datasheet says about one GPU."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advisor.errors import ProfileError, unknown

ITEM_BYTES = {"float64": 8, "float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}
_NUMBERS = ("sm_count", "boost_mhz", "fp32_tflops", "bandwidth_gb_s", "l2_mb")
# Columns of a datasheet table: ours first, then the names that public tables use.
_COLUMNS = {
    "sm_count": ("sm_count",),
    "boost_mhz": ("boost_mhz",),
    "fp32_tflops": ("fp32_tflops",),
    "bandwidth_gb_s": ("bandwidth_gb_s", "mem_bw_gbs"),
    "l2_mb": ("l2_mb",),
    "fp16_tflops": ("fp16_tflops", "fp16_tensor_dense_tflops_fp32acc"),
    "bf16_tflops": ("bf16_tflops", "bf16_tensor_dense_tflops"),
    "tf32_tflops": ("tf32_tflops", "tf32_tensor_dense_tflops"),
}
_OPTIONAL = ("fp16_tflops", "bf16_tflops", "tf32_tflops")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Peak rates of one GPU: dense, without sparsity, tensor cores with float32 accumulation.

    Attributes:
        sm_count: streaming multiprocessors, each of which runs one tile of a product at a time.
        boost_mhz, fp32_tflops, bandwidth_gb_s, l2_mb: as printed; 2 FLOPs a multiply-add.
        fp16_tflops, bf16_tflops, tf32_tflops: tensor cores' rates; 0 where it has none.
        source: where the figures come from, and which of them nobody checked.
    """

    device: str
    sm_count: int
    boost_mhz: float
    fp32_tflops: float
    bandwidth_gb_s: float
    l2_mb: float
    fp16_tflops: float = 0.0
    bf16_tflops: float = 0.0
    tf32_tflops: float = 0.0
    source: str = ""

    def peak_tflops(self, dtype: str) -> float:
        """The fastest rate at which products of `dtype` run; float32 stands for plain float32 without TF32."""
        special = {
            "float16": self.fp16_tflops,
            "bfloat16": self.bf16_tflops,
            "tf32": self.tf32_tflops,
        }.get(dtype, 0.0)
        return special or self.fp32_tflops

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "facts") -> Facts:
        """Checks and builds.

        Raises:
            ProfileError: a field is missing or no positive number.
        """
        known = {*_NUMBERS, *_OPTIONAL, "device", "source"}
        if strange := sorted(set(document) - known):
            raise ProfileError(f"{where}: unknown {', '.join(strange)}; known: {', '.join(sorted(known))}")
        values: dict[str, Any] = {"device": str(document.get("device", "")), "source": str(document.get("source", ""))}
        for name in (*_NUMBERS, *_OPTIONAL):
            given = document.get(name, 0.0 if name in _OPTIONAL else None)
            if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
                raise ProfileError(f"{where}: {name} got {given!r}, expected a number; take it from the datasheet")
            if given < 0 or (given == 0 and name in _NUMBERS):
                raise ProfileError(f"{where}: {name} got {given}, expected more than 0; take it from the datasheet")
            values[name] = int(given) if name == "sm_count" else float(given)
        return cls(**values)


def read_datasheet(path: str | Path, device: str) -> Facts:
    """The facts of `device` from a CSV file of datasheets.

    Args:
        path: columns `device`, `sm_count`, `boost_mhz`, `fp32_tflops`, `bandwidth_gb_s` (or `mem_bw_gbs`), `l2_mb`; and
            where it has tensor cores `fp16_tflops`, `bf16_tflops`, `tf32_tflops` (or
            `fp16_tensor_dense_tflops_fp32acc`, ...); `source` says where the figures come from.
        device: which row.

    Raises:
        ProfileError: no such file or row, or a figure is missing; the text names row and column.
    """
    rows = _rows(path)
    if device not in rows:
        raise ProfileError(f"{path}: {unknown('device', device, rows)}; add a row for it")
    line, row = rows[device]
    document: dict[str, Any] = {"device": device}
    for name, columns in _COLUMNS.items():
        text = next((row[c] for c in columns if row.get(c)), "")
        if text:
            document[name] = _number(text, f"{path}: row {line}, column {columns[0]}")
        elif name in _NUMBERS:
            raise ProfileError(
                f"{path}: row {line} ({device}), column {columns[0]}: empty, expected a number; fill it in"
            )
    remarks = [row.get("source", ""), row.get("note", "")]
    document["source"] = "; ".join(filter(None, remarks))
    return Facts.from_document(document, f"{path}: row {line}")


def only_device(path: str | Path) -> str:
    """The device of a datasheet with one row.

    Raises:
        ProfileError: it has several, which are named.
    """
    rows = _rows(path)
    if len(rows) > 1:
        names = sorted(rows)
        listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise ProfileError(f"datasheet {path}: holds {len(names)} devices; choose one with --device: {listed}")
    return next(iter(rows))


def _rows(path: str | Path) -> dict[str, tuple[int, dict[str, str]]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = {(row.get("device") or "").strip(): (reader.line_num, row) for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(f"datasheet {path}: {error}; give a CSV file with a column device") from error
    rows.pop("", None)
    if not rows:
        raise ProfileError(f"datasheet {path}: no row with a device; give a CSV file with a column device")
    return rows


def _number(text: str, where: str) -> float:
    # "22 (DP4A)" is a number with a remark.
    try:
        return float(text.split(" (")[0])
    except ValueError:
        raise ProfileError(f"{where}: got {text!r}, expected a number") from None
