"""The graph of layers: who feeds whom, small enough to draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx

from advisor.counting.arguments import base_name, operands, written_operands
from advisor.counting.lineage import Lineage
from advisor.network import Op


class Flow:
    """Operators between layers are contracted; places where branches meet stay as nodes, "layer1.0:add".

    A layer is one node however often it is used, unless that would close a circle: then its later uses stand as
    "name#2", "name#3".
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        self._graph: nx.DiGraph[str] = nx.DiGraph()
        self._sources: dict[int, tuple[str, ...]] = dict.fromkeys(inputs, ())  # Value → the nodes it comes from
        self._latest: dict[str, str] = {}  # layer → its node in use now
        self._uses: Counter[str] = Counter()
        self._joints: dict[str, str] = {}

    def step(self, op: Op, lineage: Lineage, touched: Sequence[str], feeders: Sequence[str]) -> None:
        """Adds one operator.

        Args:
            op: the operator.
            lineage: where Values come from, before `op`.
            touched: layers that `op` belongs to, in the order in which data passes them.
            feeders: rows of mere parameters that it reads; they lead into the first of `touched`.
        """
        read = operands(op)
        arriving = tuple(dict.fromkeys(node for index in read for node in self._of(index, lineage)))
        before, last = arriving, ""
        for name in touched:
            last = self._enter(name, before)
            before = (last,)
        if touched:
            for name in feeders:
                # A row of parameters comes from nowhere, so this can close no circle.
                self._graph.add_edge(self._enter(name, ()), self._latest[touched[0]])
        elif len(arriving) > 1:
            last = self._joint(op, arriving)
        leaving = (last,) if last else arriving
        for index in op.outputs:
            self._sources[index] = leaving
        for index in written_operands(op):
            # Written in place: whoever reads this memory by an older name sees the new content.
            self._sources[lineage.home(index)] = leaving
            self._sources[index] = leaving

    def _of(self, index: int, lineage: Lineage) -> tuple[str, ...]:
        return self._sources.get(index) or self._sources.get(lineage.home(index), ())

    def _enter(self, name: str, arriving: Sequence[str]) -> str:
        node = self._latest.get(name, name)
        if node in self._graph:
            others = [source for source in arriving if source != node]
            if any(nx.has_path(self._graph, node, source) for source in others):
                self._uses[name] += 1
                node = f"{name}#{self._uses[name] + 1}"
        self._latest[name] = node
        self._graph.add_node(node)
        self._graph.add_edges_from((source, node) for source in arriving if source != node)
        return node

    def _joint(self, op: Op, arriving: Sequence[str]) -> str:
        kind = base_name(op.target)
        stem = f"{op.module}:{kind}"
        self._uses[stem] += 1
        name = stem if self._uses[stem] == 1 else f"{stem}#{self._uses[stem]}"
        self._joints[name] = kind
        self._graph.add_edges_from((source, name) for source in arriving)
        return name

    def draw(self, kinds: Mapping[str, str]) -> nx.DiGraph[Any]:
        """The graph with `kind`, `layer` (does the node stand in the table?) and `of` (its row) on every node."""
        owner = {node: name for name, node in self._latest.items()}
        result: nx.DiGraph[Any] = nx.DiGraph()
        for name, kind in kinds.items():
            result.add_node(name, kind=kind, layer=True, of=name)
        for node in self._graph:
            if node in kinds:
                continue
            name = owner.get(node) or node.rpartition("#")[0]
            if node in self._joints:
                result.add_node(node, kind=self._joints[node], layer=False, of="")
            else:
                result.add_node(node, kind=kinds[name], layer=False, of=name)
        result.add_edges_from(self._graph.edges)
        return result
