"""What the learned residual looks at: sizes, tiles, rounds and the ways' times beside each other."""

from __future__ import annotations

import numpy as np

from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.physics import Coefficients, Work, physics_ms, roofline_ms
from advisor.devices.gpu.shapes import Array, Shapes
from advisor.devices.gpu.waves import TILES, ceil_div, padded_macs, tiles

GRID = 1000  # features are whole multiples of 1/1000: thresholds are then whole numbers and exact
_LIMIT = 30 * GRID


def feature_columns(shapes: Shapes, facts: Facts, done: Work, physics: Coefficients) -> dict[str, Array]:
    """Name to (R,) column; logarithms are natural. Order is part of a stored model."""
    s = shapes
    log = _log
    formula, roofline = physics_ms(done, physics), roofline_ms(s, facts)
    columns = s.c_out / s.groups
    moved = s.input_bytes + s.weight_bytes + s.output_bytes
    found: dict[str, Array] = {
        "formula": log(formula),
        "over_roofline": log(formula / roofline),
        "over_launch": log(formula / physics.launch_ms),
        "memory_over_gemm": log(done.memory / done.gemm),
        "n": log(s.n),
        "c_in": log(s.c_in),
        "c_out": log(s.c_out),
        "h": log(s.h),
        "w_over_h": log(s.w / s.h),
        "taps": log(s.kh * s.kw),
        "stride": log(s.stride * s.stride_w),
        "groups": log(s.groups),
        "conv": s.conv,
        "padded": np.minimum(s.padding + s.padding_w, 4),
        "tensor": s.tensor,
        "rows": log(s.rows),
        "depth": log(s.depth),
        "macs": log(s.macs),
        "input": log(s.input_bytes),
        "weight": log(s.weight_bytes),
        "output": log(s.output_bytes),
        "intensity": log(s.macs / moved),
        "outputs_over_inputs": log(s.c_out / s.c_in),
        "channels": log(s.c_in * s.c_out),
        "places": log(s.n * s.h * s.w),
        "rows_over_columns": log(s.rows / columns),
        "weight_in_cache": log(s.weight_bytes / (facts.l2_mb * 1e6)),
        "input_in_cache": log(s.input_bytes / (facts.l2_mb * 1e6)),
    }
    for tile in TILES:
        count = tiles(s.rows, columns, tile) * s.groups
        name = f"{tile[0]}x{tile[1]}"
        found[f"tiles_{name}"] = log(count / facts.sm_count)
        filled = padded_macs(s.rows, columns, s.depth, s.groups, tile=tile, sm_count=facts.sm_count)
        found[f"waste_{name}"] = log(filled / s.macs)
    for side in (2, 4, 6):
        patches = s.n * ceil_div(s.oh, side) * ceil_div(s.ow, side)
        found[f"patches_{side}"] = log(patches)
        found[f"edge_{side}"] = log(patches * side * side / s.rows)
    for tile in ((32, 32), (64, 64), (128, 128), (32, 128)):
        patches = s.n * ceil_div(s.oh, 2) * ceil_div(s.ow, 2)
        found[f"winograd_tiles_{tile[0]}x{tile[1]}"] = log(tiles(patches, s.c_out, tile) / facts.sm_count)
    for name, way in (("fused", done.fused), ("split", done.split), ("split_memory", done.split_memory)):
        found[f"{name}_over_gemm"] = np.where(np.isfinite(way), log(way / done.gemm), 9.0)
    for name, count in (("c_in", s.c_in), ("c_out", s.c_out)):
        for step in (4, 8, 32, 64):
            found[f"{name}_up_to_{step}"] = ceil_div(count, step) * step / count
        found[f"{name}_twos"] = np.sum([(count % 2**power == 0) for power in range(1, 7)], axis=0).astype(float)
    found["h_up_to_8"] = ceil_div(s.oh, 8) * 8 / s.oh
    return found


def feature_matrix(shapes: Shapes, facts: Facts, done: Work, physics: Coefficients) -> Array:
    """(R, F) int32 on the grid of 1/1000."""
    columns = feature_columns(shapes, facts, done, physics)
    matrix = np.column_stack(list(columns.values()))
    return np.asarray(np.clip(np.rint(matrix * GRID), -_LIMIT, _LIMIT).astype(np.int32))


def _log(values: Array) -> Array:
    return np.asarray(np.log(np.maximum(values, 1e-9)))
