"""Which input channels each block of outputs reads: lists in compressed rows, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advisor.errors import PlanError

Int32s = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Connections:
    """One list of input channels for each block of consecutive outputs.

    Attributes:
        indptr: (blocks + 1,): the list of block b is `inputs[indptr[b]:indptr[b + 1]]`; it may be empty.
        inputs: (rows,): channels counted over all groups, ascending within a list.
        block: outputs of a block.
    """

    indptr: Int32s
    inputs: Int32s
    block: int

    @property
    def blocks(self) -> int:
        return len(self.indptr) - 1

    @property
    def rows(self) -> int:
        return len(self.inputs)

    @property
    def kept(self) -> int:
        """Length of every list, or 0 where they differ."""
        lengths = np.diff(self.indptr)
        return int(lengths[0]) if (lengths == lengths[0]).all() else 0

    @classmethod
    def of(cls, indptr: Any, inputs: Any, block: int) -> Connections:
        """From arrays, tensors or lists."""
        return cls(indptr=_int32s("indptr", indptr), inputs=_int32s("inputs", inputs), block=block)

    @classmethod
    def from_units(cls, units: NDArray[np.bool_], block: int, groups: int = 1) -> Connections:
        """From flags (blocks, inputs of a group), as the patterns give them."""
        blocks, reach = units.shape
        row, column = units.nonzero()
        indptr = np.concatenate([[0], units.sum(axis=1).cumsum()])
        return cls.of(indptr, column + row // (blocks // groups) * reach, block)

    def check(self, weight_shape: tuple[int, ...], groups: int) -> None:
        """Refuses lists that do not fit a dense weight (C_out, inputs of a group, *kernel).

        Raises:
            PlanError: the first thing that does not fit.
        """
        outputs, reach = weight_shape[:2]
        if self.block < 1 or self.blocks < 1 or self.blocks * self.block != outputs or self.blocks % groups:
            raise PlanError(
                f"{self.blocks} blocks of {self.block} outputs do not make {outputs} outputs in {groups} groups; "
                "choose a block that divides the outputs of a group"
            )
        lengths = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != self.rows or (lengths < 0).any():
            raise PlanError(
                f"indptr runs from {self.indptr[0]} to {self.indptr[-1]} over {self.rows} inputs; expected ascending "
                f"bounds from 0 to {self.rows}"
            )
        block = np.repeat(np.arange(self.blocks), lengths)
        first = block // (self.blocks // groups) * reach
        wrong = ((self.inputs < first) | (self.inputs >= first + reach)).nonzero()[0]
        if len(wrong):
            place = int(wrong[0])
            raise PlanError(
                f"block {block[place]} reads input {self.inputs[place]}, outside the {reach} inputs of its group "
                f"({first[place]} to {first[place] + reach - 1})"
            )
        together = (block[1:] == block[:-1]) & (np.diff(self.inputs) <= 0)
        if together.any():
            place = int(together.nonzero()[0][0])
            raise PlanError(
                f"block {block[place]} reads input {self.inputs[place]} before {self.inputs[place + 1]}; expected "
                "ascending inputs without repeats"
            )


def _int32s(name: str, values: Any) -> Int32s:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise PlanError(f"{name} is {array.dtype} of shape {array.shape}; expected a list of integers")
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise PlanError(f"{name} holds {array.min()} to {array.max()}; expected numbers that fit int32")
    return array.astype(np.int32)  # a copy of its own
