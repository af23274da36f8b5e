"""From operators to layers: who owns each product and each parameter, and who feeds whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from advisor.counting.arguments import base_name, bind
from advisor.counting.drafts import Drafts
from advisor.counting.flow import Flow
from advisor.counting.handlers import handler_of
from advisor.counting.ignored import reason
from advisor.counting.lineage import Lineage
from advisor.counting.rows import ModuleKind
from advisor.network import Layer, OpGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What `build_layers` found."""

    layers: tuple[Layer, ...]
    graph: nx.DiGraph[Any]
    unsupported_ops: Mapping[str, int]
    ignored_ops: Mapping[str, int]
    notes: tuple[str, ...] = ()


def build_layers(graph: OpGraph, aliases: Mapping[str, str], kinds: Mapping[str, ModuleKind] | None = None) -> Counted:
    """Groups the operators into layers.

    A product belongs to the module that owns its weight parameter; products without one are gathered per module and
    kind, under "module:matmul". Parameters count at the layer that first reads them; those that only shape a constant
    count where the constant first meets the data.

    Args:
        graph: the operators.
        aliases: every dotted parameter name → the name it is counted under (tied weights).
        kinds: modules that do nothing but their product (nn.Linear, nn.Conv2d) and recurrent ones, by dotted name;
            None: not known.
    """
    lineage = Lineage(graph, aliases)
    drafts = Drafts(graph, lineage, aliases, kinds)
    flow = Flow(graph.inputs)
    unsupported: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    for op in graph.ops:
        products: list[str] = []
        handler = handler_of(op.target)
        if handler is not None:
            shapes = [graph.values[index].shape for index in op.outputs]
            products = [drafts.product(work, op) for work in handler(bind(op), graph.values, shapes)]
        elif reason(base_name(op.target)) is None:
            unsupported[_without_overload(op.target)] += 1
        else:
            ignored[_without_overload(op.target)] += 1
        passed, feeding = drafts.read(op, products)
        touched = [*dict.fromkeys(products), *passed]
        if not touched and feeding:
            touched = [feeding.pop(0)]
        flow.step(op, lineage, touched, feeding)
        lineage.follow(op)
    drafts.rest()
    layers, notes = drafts.finished()
    return Counted(
        layers=layers,
        graph=flow.draw({layer.name: layer.kind for layer in layers}),
        unsupported_ops=dict(sorted(unsupported.items())),
        ignored_ops=dict(sorted(ignored.items())),
        notes=notes,
    )


def _without_overload(target: str) -> str:
    return target.rpartition(".")[0] if target.count(".") > 1 else target
