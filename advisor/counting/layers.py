"""From operators to layers: who owns each product and each parameter, and who feeds whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import networkx as nx

from advisor.counting.arguments import base_name, bind, operands, shared_operand
from advisor.counting.handlers import Work, handler_of
from advisor.counting.ignored import reason
from advisor.network import Call, Layer, Op, OpGraph, Shape

# Views through which a parameter is still itself; `_TURNS` swap its two axes.
_SAME = {"view", "reshape", "detach", "alias", "contiguous", "expand", "to", "_to_copy", "lift_fresh"}
_TURNS = {"t", "transpose", "permute", "numpy_T", "mT"}
_KINDS = {"_native_batch_norm_legit_no_training": "batch_norm", "native_batch_norm": "batch_norm"} | {
    f"native_{kind}": kind for kind in ("layer_norm", "group_norm")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What `build_layers` found."""

    layers: tuple[Layer, ...]
    graph: nx.DiGraph
    unsupported_ops: Mapping[str, int]
    ignored_ops: Mapping[str, int]


@dataclass(slots=True)
class _Draft:
    name: str
    kind: str
    is_module: bool
    work: Work | None = None
    weight: str | None = None
    weight_shape: Shape = ()
    turned: bool = False
    params: int = 0
    calls: list[Call] = field(default_factory=list)
    elements: int = 0


class _Lineage:
    """Which parameter a Value is, seen through views, and which Values depend on no input at all."""

    def __init__(self, graph: OpGraph, aliases: Mapping[str, str]) -> None:
        self.static: set[int] = set()
        self.parameter: dict[int, tuple[str, bool]] = {}  # Value → (dotted name, axes swapped)
        self.owner: dict[int, str] = {}  # Value → first parameter it was computed from, for naming alone
        self.shape: dict[str, Shape] = {}
        for value in graph.values:
            if value.origin in ("parameter", "buffer", "constant"):
                self.static.add(value.index)
            if value.origin == "parameter" and value.name is not None:
                name = aliases.get(value.name, value.name)
                self.parameter[value.index] = (name, False)
                self.owner[value.index] = name
                self.shape[name] = value.shape

    def follow(self, op: Op, graph: OpGraph) -> None:
        read = operands(op)
        if not all(index in self.static for index in read):
            return
        self.static.update(op.outputs)
        owners = [self.owner[index] for index in read if index in self.owner]
        for index in op.outputs:
            if owners:
                self.owner[index] = owners[0]
        if len(read) != 1 or len(op.outputs) != 1 or read[0] not in self.parameter:
            return
        name, turned = self.parameter[read[0]]
        operation, output = base_name(op.target), op.outputs[0]
        whole = prod(graph.values[output].shape) == prod(graph.values[read[0]].shape)
        if operation in _SAME and graph.values[output].shape == graph.values[read[0]].shape:
            self.parameter[output] = (name, turned)
        elif operation in _TURNS and whole and len(graph.values[output].shape) == 2:
            self.parameter[output] = (name, not turned)


def build_layers(graph: OpGraph, aliases: Mapping[str, str]) -> Counted:
    """Groups the operators into layers.

    A product belongs to the module that owns its weight parameter; products without one are gathered per module and
    kind, under "module:matmul". Parameters count at the layer that first reads them.

    Args:
        graph: the operators.
        aliases: every dotted parameter name → the name it is counted under (tied weights).
    """
    drafts: dict[str, _Draft] = {}
    lineage = _Lineage(graph, aliases)
    counted: set[str] = set()
    unsupported: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    flow = _Flow()
    for value in graph.inputs:
        flow.sources[value] = ()
    for op in graph.ops:
        shapes = [graph.values[index].shape for index in op.outputs]
        handler = handler_of(op.target)
        touched: list[str] = []
        if handler is not None:
            for work in handler(bind(op), graph.values, shapes):
                draft = _draft_of_work(work, op, drafts, lineage)
                draft.calls.append(Call(input_shape=work.input_shape, output_shape=work.output_shape, macs=work.macs))
                draft.elements += prod(work.output_shape)
                touched.append(draft.name)
        elif reason(base_name(op.target)) is None:
            unsupported[op.target.rpartition(".")[0] or op.target] += 1
        else:
            ignored[op.target.rpartition(".")[0] or op.target] += 1
        for index in operands(op):
            if graph.values[index].origin != "parameter":
                continue
            name, _ = lineage.parameter[index]
            if name not in counted:
                counted.add(name)
                owner = _draft_of_parameter(name, op, handler is not None, drafts, graph, touched)
                owner.params += prod(lineage.shape[name])
                if owner.name not in touched and not all(i in lineage.static for i in operands(op)):
                    touched.append(owner.name)
            elif handler is None and (known := _owner(name)) in drafts and known not in touched:
                draft = drafts[known]
                draft.calls.append(_call(op, graph))
                touched.append(known)
        lineage.follow(op, graph)
        flow.step(op, graph, lineage.static, touched)
    layers = tuple(_finish(draft) for draft in drafts.values())
    return Counted(
        layers=layers,
        graph=flow.draw({layer.name: layer.kind for layer in layers}),
        unsupported_ops=dict(sorted(unsupported.items())),
        ignored_ops=dict(sorted(ignored.items())),
    )


def _owner(parameter: str) -> str:
    """The module that holds a parameter; the parameter's own name where that is the network itself."""
    return parameter.rpartition(".")[0] or parameter


def _draft_of_work(work: Work, op: Op, drafts: dict[str, _Draft], lineage: _Lineage) -> _Draft:
    known = lineage.owner.get(work.weight) if work.weight is not None else None
    if known is None:
        # No parameter plays the weight's part: a product of two activations.
        kind = "matmul" if work.kind == "linear" else work.kind
        name = f"{op.module}:{kind}" if op.module else kind
        return drafts.setdefault(name, _Draft(name, kind, False))
    name = _owner(known)
    assert work.weight is not None
    direct = lineage.parameter.get(work.weight)
    draft = drafts.get(name)
    if draft is not None and draft.work is not None and draft.weight not in (None, known):
        name = known  # a module with several weights: the later ones stand under their own names
        draft = drafts.get(name)
    if draft is None:
        draft = drafts[name] = _Draft(name, work.kind, op.module == name)
    if draft.work is None:
        draft.kind, draft.work, draft.is_module = work.kind, work, op.module == name
        if direct is not None and work.kind not in ("recurrent",):
            draft.weight, draft.weight_shape = direct[0], lineage.shape[direct[0]]
            draft.turned = direct[1] != work.weight_transposed
    return draft


def _draft_of_parameter(
    name: str, op: Op, in_product: bool, drafts: dict[str, _Draft], graph: OpGraph, touched: Sequence[str]
) -> _Draft:
    owner = _owner(name)
    if owner in drafts and (not in_product or owner in touched):
        return drafts[owner]
    if name in drafts:
        return drafts[name]
    if in_product and touched:
        # An operator that holds several modules' parameters (the fused encoder): its norms get rows of their own.
        is_norm = "norm" in owner.rpartition(".")[2]
        return drafts.setdefault(owner, _Draft(owner, "layer_norm" if is_norm else "parameter", False))
    operation = base_name(op.target)
    if op.module == owner:
        draft = _Draft(owner, _KINDS.get(operation, operation), True)
    else:
        draft = _Draft(name, "parameter", False)
    draft.calls.append(_call(op, graph))
    return drafts.setdefault(draft.name, draft)


def _call(op: Op, graph: OpGraph) -> Call:
    first = next(iter(operands(op)))
    return Call(
        input_shape=graph.values[first].shape,
        output_shape=graph.values[op.outputs[0]].shape if op.outputs else (),
        macs=0,
    )


def _finish(draft: _Draft) -> Layer:
    work = draft.work
    # A linear layer whose parameter is stored (in, out) is not one that patterns know how to thin out.
    thin = work is not None and draft.weight is not None and not (work.kind == "linear" and draft.turned)
    thin = thin and (work is None or work.kind == "linear" or work.kind.startswith("conv"))
    first = draft.calls[0] if draft.calls else Call(input_shape=(), output_shape=(), macs=0)
    return Layer(
        name=draft.name,
        kind=draft.kind,
        params=draft.params,
        macs=sum(call.macs for call in draft.calls),
        activation_elements=draft.elements,
        input_shape=first.input_shape,
        output_shape=first.output_shape,
        calls=tuple(draft.calls),
        weight=draft.weight if thin else None,
        weight_shape=draft.weight_shape if thin else (),
        bias=work.bias if work is not None else False,
        stride=work.stride if work is not None else (),
        padding=work.padding if work is not None else (),
        dilation=work.dilation if work is not None else (),
        output_padding=work.output_padding if work is not None else (),
        groups=work.groups if work is not None else 1,
        is_module=draft.is_module,
    )


class _Flow:
    """The graph of layers: operators between them are contracted, places where branches meet stay as nodes."""

    def __init__(self) -> None:
        self.sources: dict[int, tuple[str, ...]] = {}  # Value → the nodes it comes from
        self.edges: dict[tuple[str, str], None] = {}
        self.joints: dict[str, str] = {}

    def step(self, op: Op, graph: OpGraph, static: set[int], touched: Sequence[str]) -> None:
        arriving: dict[str, None] = {}
        for index in operands(op):
            for source in self.sources.get(index, ()):
                arriving[source] = None
        nodes = list(touched)
        if not nodes and len(arriving) > 1:
            kind = base_name(op.target)
            name = f"{op.module}:{kind}" if op.module else kind
            while name in self.joints:
                stem, _, number = name.partition("#")
                name = f"{stem}#{int(number or 1) + 1}"
            self.joints[name] = kind
            nodes = [name]
        for source in arriving:
            if nodes and source != nodes[0]:
                self.edges[source, nodes[0]] = None
        for source, target in zip(nodes, nodes[1:], strict=False):
            self.edges[source, target] = None
        leaving = (nodes[-1],) if nodes else tuple(arriving)
        shared = shared_operand(op)
        for index in op.outputs:
            self.sources[index] = leaving
        if shared is not None and op.target.split(".")[1].endswith("_"):
            self.sources[shared] = leaving  # written in place: whoever reads the old name sees the new content

    def draw(self, layers: Mapping[str, str]) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from((name, {"kind": kind, "layer": True}) for name, kind in layers.items())
        graph.add_nodes_from((name, {"kind": kind, "layer": False}) for name, kind in self.joints.items())
        graph.add_edges_from(self.edges)
        return graph
