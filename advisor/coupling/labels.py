"""Moving labels: what an operator does to data, done to a small integer array that names the data.

A label array has the rank of the tensor and, along each axis, the tensor's size or 1 where the name does not depend on
that axis. Reshapes materialise only the axes that they merge or split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.network import Shape
from advisor.registry import registered

Labels = NDArray[np.int64]
Arguments = Mapping[str, Any]
Move = Callable[[Arguments, Labels, Shape, Sequence[Shape]], "list[Labels] | None"]


def shrink(labels: Labels) -> Labels:
    """Size 1 on every axis along which nothing changes."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1:
            first = labels.take([0], axis)
            if bool((labels == first).all()):
                labels = first
    return labels


def spread(labels: Labels, shape: Shape, axes: Sequence[int]) -> Labels:
    """Full size on `axes` of a tensor of `shape`, as it was elsewhere."""
    wanted = [shape[a] if a in axes else labels.shape[a] for a in range(labels.ndim)]
    return np.broadcast_to(labels, wanted)


def lift(labels: Labels, rank: int) -> Labels:
    """Axes of size 1 in front, as broadcasting adds them."""
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def blocks(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of the one shape that hold the same elements as runs of axes of the other; size-1 axes left out."""
    old = [a for a, size in enumerate(before) if size != 1]
    new = [a for a, size in enumerate(after) if size != 1]
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        left, right = [old[i]], [new[j]]
        have, want = before[old[i]], after[new[j]]
        i, j = i + 1, j + 1
        while have != want:
            if have < want and i < len(old):
                have *= before[old[i]]
                left.append(old[i])
                i += 1
            elif have > want and j < len(new):
                want *= after[new[j]]
                right.append(new[j])
                j += 1
            else:
                return [(old, new)]
        found.append((left, right))
    return found


def reshape(labels: Labels, before: Shape, after: Shape) -> Labels:
    """The labels of `tensor.reshape(after)`."""
    if 0 in before or 0 in after:
        return labels.reshape(-1)[:1].reshape((1,) * len(after))
    sizes = [1] * len(after)
    for left, right in blocks(before, after):
        if any(labels.shape[a] > 1 for a in left):
            labels = spread(labels, before, left)
            for a in right:
                sizes[a] = after[a]
    return shrink(np.ascontiguousarray(labels).reshape(sizes))


def split_axes(labels: Labels, before: Shape, after: Shape) -> list[int]:
    """Axes of `after` that number equal pieces of what was one labelled axis of `before`."""
    return [
        right[0]
        for left, right in blocks(before, after)
        if len(left) == 1 and len(right) > 1 and labels.shape[left[0]] > 1
    ]


MOVES: dict[str, Move] = {}


def moves(*names: str) -> Callable[[Move], Move]:
    """Registers how operators move labels; the result holds one array per output, None where they cannot follow."""
    return registered(MOVES, names, "moves")


def _axis(a: Arguments, rank: int, key: str = "dim") -> int:
    return int(a[key]) % rank if rank else 0


@moves(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as",
    "_reshape_alias", "ravel", "squeeze_copy", "unsqueeze_copy", "view_copy", "atleast_1d", "atleast_2d", "atleast_3d",
)  # fmt: skip
def _reshaped(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [reshape(labels, before, after[0])]


@moves("permute", "permute_copy")
def _permuted(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [labels.transpose([d % labels.ndim for d in a["dims"]])]


@moves("transpose", "swapaxes", "transpose_copy", "swapdims")
def _transposed(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    first, second = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
    return [np.swapaxes(labels, first, second)]


@moves("t", "numpy_T", "t_copy")
def _reversed(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [labels.transpose()]


@moves("mT", "adjoint")
def _matrix_transposed(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [np.swapaxes(labels, -1, -2)]


@moves("movedim", "moveaxis")
def _moved(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [np.moveaxis(labels, a["source"], a["destination"])]


@moves("expand", "broadcast_to", "expand_copy")
def _expanded(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [lift(labels, len(after[0]))]


@moves("repeat", "tile")
def _repeated(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    labels = lift(labels, len(after[0]))
    shape = (1,) * (labels.ndim - len(before)) + tuple(before)
    times = [after[0][i] // shape[i] if labels.shape[i] > 1 else 1 for i in range(labels.ndim)]
    return [np.tile(labels, times)]


@moves("slice", "slice_copy")
def _sliced(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    axis = _axis(a, labels.ndim)
    if labels.shape[axis] == 1:
        return [labels]
    end = a["end"]
    picked = slice(a["start"], None if end is None or end >= before[axis] else end, a["step"])
    return [labels[(slice(None),) * axis + (picked,)]]


@moves("narrow")
def _narrowed(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    axis = _axis(a, labels.ndim)
    if labels.shape[axis] == 1:
        return [labels]
    start = int(a["start"]) % before[axis]
    return [labels[(slice(None),) * axis + (slice(start, start + a["length"]),)]]


@moves("select", "select_copy")
def _selected(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    axis = _axis(a, labels.ndim)
    return [_pick(labels, axis, int(a["index"]) % before[axis])]


@moves("unbind", "unbind_copy")
def _unbound(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    axis = _axis(a, labels.ndim)
    return [_pick(labels, axis, i) for i in range(len(after))]


def _pick(labels: Labels, axis: int, index: int) -> Labels:
    return np.asarray(labels.take(0 if labels.shape[axis] == 1 else index, axis))


@moves(
    "split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes",
    "split_copy", "split_with_sizes_copy",
)  # fmt: skip
def _split(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    axis = _axis(a, labels.ndim)
    if labels.shape[axis] == 1:
        return [labels for _ in after]
    ends = np.cumsum([shape[axis] for shape in after])[:-1]
    return np.split(labels, ends, axis)


@moves("flip")
def _flipped(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    return [np.flip(labels, a["dims"])]


@moves("roll")
def _rolled(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    return [np.roll(labels, a["shifts"], a["dims"])] if a["dims"] else None


@moves("repeat_interleave")
def _interleaved(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    if not isinstance(a.get("repeats"), int) or a.get("dim") is None:
        return None
    axis = _axis(a, labels.ndim)
    return [labels if labels.shape[axis] == 1 else np.repeat(labels, a["repeats"], axis)]


@moves("channel_shuffle", "native_channel_shuffle")
def _shuffled(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels]:
    groups, channels = int(a["groups"]), before[1]
    split = (before[0], groups, channels // groups, *before[2:])
    turned = np.swapaxes(reshape(labels, before, split), 1, 2)
    return [reshape(turned, (split[0], split[2], split[1], *split[3:]), before)]


@moves("pixel_unshuffle", "im2col")
def _channels_from_pixels(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    # Each channel becomes several neighbours; positions inside the map lose their place.
    rank = len(before)
    if prod(labels.shape[-2:]) > 1:
        return None
    axis = rank - 3
    wide = spread(labels, before, [axis]) if labels.shape[axis] > 1 else labels
    new = len(after[0]) - (2 if len(after[0]) == rank else 1)
    times = after[0][new - 1] // before[axis]
    wide = np.repeat(wide, times, axis) if wide.shape[axis] > 1 else wide
    return [wide.reshape((*wide.shape[: axis + 1], *(1,) * (len(after[0]) - axis - 1)))]


@moves("unfold")
def _windows(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    axis = int(a["dimension"]) % labels.ndim
    return [labels[..., None]] if labels.shape[axis] == 1 else None


@moves(
    "constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d",
)  # fmt: skip
def _padded(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    changed = [i for i, (old, new) in enumerate(zip(before, after[0], strict=True)) if old != new]
    return None if any(labels.shape[i] > 1 for i in changed) else [labels]


@moves("index_select", "gather", "take_along_dim", "sort", "topk", "cumsum", "cumprod", "softmax", "_softmax",
       "log_softmax", "_log_softmax", "_safe_softmax", "argsort", "index_add", "index_fill", "logcumsumexp",
       "cummax", "cummin")  # fmt: skip
def _along(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    # Whatever happens along one axis is no matter where the labels do not depend on it.
    axis = _axis(a, labels.ndim)
    return None if labels.ndim == 0 or labels.shape[axis] > 1 else [labels for _ in after]


@moves("index")
def _indexed(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    # x[:, idx]: one index tensor of any rank in place of one axis without labels.
    used = [axis for axis, item in enumerate(a["indices"]) if item is not None]
    if len(used) != 1 or labels.shape[used[0]] > 1:
        return None
    extra = len(after[0]) - len(before) + 1
    if extra < 0:
        return None
    axis = used[0]
    return [labels.reshape((*labels.shape[:axis], *(1,) * extra, *labels.shape[axis + 1 :]))]


@moves(
    "mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "var_mean", "std_mean", "norm", "argmax",
    "linalg_vector_norm", "logsumexp", "any", "all", "nansum", "nanmean", "count_nonzero", "argmin", "median",
)  # fmt: skip
def _reduced(a: Arguments, labels: Labels, before: Shape, after: Sequence[Shape]) -> list[Labels] | None:
    # Only over axes without labels; a reduction over channels makes a channel of its own (see graph.py).
    axes = reduced_axes(a, len(before))
    if any(labels.shape[axis] > 1 for axis in axes):
        return None
    if len(after[0]) == len(before):
        return [labels for _ in after]
    kept = [size for axis, size in enumerate(labels.shape) if axis not in axes]
    return [labels.reshape(kept) for _ in after] if len(kept) == len(after[0]) else None


def reduced_axes(a: Arguments, rank: int) -> list[int]:
    """The axes that a reduction sums over; all of them where none is named."""
    dim = a.get("dim")
    if dim is None or dim == ():
        return list(range(rank))
    return [int(d) % max(rank, 1) for d in (dim if isinstance(dim, tuple) else (dim,))]


_DIGIT = {"1d": 1, "2d": 2, "3d": 3}


def spatial(name: str, labels: Labels, after: Sequence[Shape]) -> list[Labels] | None:
    """Pools and interpolations: the trailing axes are a map; labels may not depend on them."""
    rank = next((count for digit, count in _DIGIT.items() if digit in name), 2)
    if labels.ndim <= rank or prod(labels.shape[-rank:]) > 1:
        return None
    return [labels for _ in after]
