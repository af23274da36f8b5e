"""One operator of a run as the device sees it: what a time belongs to when a network is measured in place."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal, get_args

from advisor.network import Shape

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

Family = Literal[
    "layer", "product", "elementwise", "special", "norm", "softmax", "reduction", "pool", "copy", "resize", "index",
    "optimizer", "view", "other",
]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operator as it runs. Equal steps take equal time on a device, up to what their neighbours leave in caches.

    Attributes:
        target: the operator without namespace, overload and mark of being in place: "conv2d", "add", "cat"; our own
            with its namespace: "advisor.sparse_conv2d".
        family: what kind of work it is; "view" runs no kernel at all.
        inputs, outputs: shapes of the tensors among the arguments, in order, and of the results.
        layouts: one letter per input: c contiguous, l channels last, s other strides, e expanded (stride 0 somewhere).
        parameters: the integers among the arguments (kernel, stride, axes), flattened.
        read_bytes, written_bytes: each tensor once; expanded ones by what memory they have. Views move nothing.
        macs: multiply-adds of convolutions and products, 0 elsewhere.
        execution: of a forward convolution, linear or sparse layer: what profiles and plans know it as.
        in_place: it writes into its first argument, which therefore needs no fresh memory.
        backward: it belongs to the gradient of a layer.
    """

    target: str
    family: Family
    inputs: tuple[Shape, ...]
    layouts: str
    outputs: tuple[Shape, ...]
    parameters: tuple[int, ...]
    dtype: str
    read_bytes: int
    written_bytes: int
    macs: int = 0
    execution: Execution | None = None
    in_place: bool = False
    backward: bool = False

    @property
    def key(self) -> str:
        """Readable and unique: "add float32 1x64x56x56c 1x64x56x56c -> 1x64x56x56"."""
        given = [_by(shape) + layout for shape, layout in zip(self.inputs, self.layouts, strict=True)]
        made = [_by(shape) for shape in self.outputs]
        numbers = ["(" + ",".join(map(str, self.parameters)) + ")"] if self.parameters else []
        marks = [word for word, said in (("in-place", self.in_place), ("backward", self.backward)) if said]
        return " ".join([self.target, self.dtype, *given, *numbers, *marks, "->", *made])

    @property
    def bytes_moved(self) -> int:
        return self.read_bytes + self.written_bytes

    @property
    def elements(self) -> int:
        """Elements of all results together."""
        return sum(prod(shape) for shape in self.outputs)


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
