"""Which Values are parameters in disguise, and which depend on no input of the network at all."""

from __future__ import annotations

from collections.abc import Mapping

from advisor.counting.arguments import base_name, operands, shared_operand, written_operands
from advisor.counting.handlers import handler_of
from advisor.network import Op, OpGraph, Shape

# Views through which a parameter is still itself; `_TURNS` swap its two axes.
_SAME = {"view", "reshape", "detach", "alias", "contiguous", "expand", "to", "_to_copy", "lift_fresh"}
_TURNS = {"t", "transpose", "permute", "numpy_T", "mT"}


class Lineage:
    """Follows parameters and memory through the operators, one operator after the other."""

    def __init__(self, graph: OpGraph, aliases: Mapping[str, str]) -> None:
        self.parameter: dict[int, tuple[str, bool]] = {}  # Value → (dotted name, axes swapped): whole parameters only
        self.shape: dict[str, Shape] = {}
        self._graph = graph
        self._static: set[int] = set()
        self._names: dict[int, tuple[str, ...]] = {}
        self._home: dict[int, int] = {}  # Value → the Value whose memory it is a view of
        self._live: set[int] = set()  # memory that something depending on an input was written into
        for value in graph.values:
            if value.origin in ("parameter", "buffer", "constant"):
                self._static.add(value.index)
            if value.origin == "parameter" and value.name is not None:
                name = aliases.get(value.name, value.name)
                self.parameter[value.index] = (name, False)
                self._names[value.index] = (name,)
                self.shape[name] = value.shape

    def home(self, value: int) -> int:
        return self._home.get(value, value)

    def is_static(self, value: int) -> bool:
        """Does the Value depend on parameters and constants alone?"""
        return value in self._static and self.home(value) not in self._live

    def is_static_op(self, op: Op) -> bool:
        return all(self.is_static(index) for index in operands(op))

    def names(self, value: int) -> tuple[str, ...]:
        """The parameters that a static Value was computed from without any product, in the order they were met."""
        return self._names.get(value, ()) if self.is_static(value) else ()

    def follow(self, op: Op) -> None:
        """Takes in what `op` did; to be called once per operator, in order."""
        read = operands(op)
        static = self.is_static_op(op)
        shared = shared_operand(op)
        if shared is not None:
            for index in op.outputs:
                self._home[index] = self.home(shared)
        if not static:
            self._live.update(self.home(index) for index in written_operands(op))
            return
        # A product has a row of its own, to which its parameters go; what it yields is not them any more.
        own_row = handler_of(op.target) is not None
        names = () if own_row else tuple(dict.fromkeys(name for index in read for name in self.names(index)))
        for index in op.outputs:
            self._static.add(index)
            if names:
                self._names[index] = names
        if len(read) == len(op.outputs) == 1 and read[0] in self.parameter:
            self._view(base_name(op.target), read[0], op.outputs[0])

    def _view(self, operation: str, source: int, output: int) -> None:
        name, turned = self.parameter[source]
        before, after = self._graph.values[source].shape, self._graph.values[output].shape
        if operation in _SAME and after == before:
            self.parameter[output] = (name, turned)
        elif operation in _TURNS and len(after) == 2 and after == before[::-1]:
            self.parameter[output] = (name, not turned)
