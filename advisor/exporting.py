"""Reads the operators of a network off `torch.export`, which runs it on fake tensors."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_iter, tree_map

from advisor.counting.handlers import handler_of
from advisor.network import OpGraph, Ref
from advisor.quiet import quiet
from advisor.recording import GraphBuilder, copies

_REGIONS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")  # run the graph inside them once, as it is
_BRANCHES = ("cond", "while_loop", "scan", "map_impl", "associative_scan")


def trace(model: torch.nn.Module, inputs: tuple[Any, ...]) -> OpGraph:
    """Exports `model` and returns its operators; composite ones (linear, attention) stay whole.

    Raises:
        Exception: whatever `torch.export` raises; `analyze` falls back on a recording.
    """
    with quiet(), torch.no_grad():
        program = torch.export.export(model, inputs, strict=False)
    builder = GraphBuilder()
    signature = program.graph_signature
    origins = {"PARAMETER": "parameter", "BUFFER": "buffer", "USER_INPUT": "input"}
    kinds = {spec.arg.name: (origins.get(spec.kind.name, "constant"), spec.target) for spec in signature.input_specs}
    values: dict[torch.fx.Node, Any] = {}
    given: list[int] = []
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        tensor = node.meta.get("val")
        if isinstance(tensor, torch.Tensor):
            origin, target = kinds.get(node.name, ("constant", None))
            values[node] = Ref(builder.value(tensor, origin, target))
            if origin == "input":
                given.append(values[node].index)
        else:
            values[node] = tensor
    result = _Walk(builder, first_names(model)).graph(program.graph_module, values, "")
    outputs = tuple(leaf.index for leaf in tree_iter(result) if isinstance(leaf, Ref))
    return OpGraph(
        values=tuple(builder.values), ops=tuple(builder.ops), inputs=tuple(given), outputs=outputs, origin="export"
    )


def first_names(model: torch.nn.Module) -> dict[str, str]:
    """Every dotted name of a module → the first name of the same module (a shared one has several)."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(m), name) for name, m in model.named_modules(remove_duplicate=False)}


def _title(target: Any) -> str:
    """ "aten.conv2d.default", or "functorch.NAME" for the plain functions that torch.vmap leaves in a graph."""
    return f"functorch.{target.__name__}" if inspect.isfunction(target) else str(target)


class _Walk:
    """Appends the operators of a graph to a builder; graphs inside it (no_grad or autocast regions) are inlined."""

    def __init__(self, builder: GraphBuilder, names: Mapping[str, str]) -> None:
        self._builder = builder
        self._names = names
        self._hidden_axes = 0  # torch.vmap: shapes inside lack the axis it maps over

    def graph(self, module: torch.fx.GraphModule, values: dict[torch.fx.Node, Any], outer: str) -> Any:
        for node in module.graph.nodes:
            if node.op == "get_attr":
                values[node] = self._attribute(module, node)
            elif node.op == "call_function":
                args, kwargs = tree_map(
                    lambda item: values[item] if isinstance(item, torch.fx.Node) else item, (node.args, node.kwargs)
                )
                path = self._path(node, outer)
                if node.target is operator.getitem:
                    values[node] = args[0][args[1]]
                elif str(node.target) in _REGIONS:
                    values[node] = self._inline(args, path)
                elif str(node.target) in _BRANCHES:
                    raise NotImplementedError(f"torch.{node.target} takes its way by the data")
                else:
                    values[node] = self._operator(node, args, kwargs, path)
            elif node.op == "output":
                return tree_map(lambda item: values[item] if isinstance(item, torch.fx.Node) else item, node.args[0])
        return None

    def _operator(self, node: torch.fx.Node, args: Any, kwargs: Any, path: str) -> Any:
        target = _title(node.target)
        self._hidden_axes += {"functorch._vmap_increment_nesting": 1, "functorch._vmap_decrement_nesting": -1}.get(
            target, 0
        )
        if self._hidden_axes and handler_of(target) is not None:
            raise NotImplementedError("torch.vmap hides the axis that it maps over")
        result = node.meta.get("val")
        made = tree_map(lambda t: Ref(self._builder.value(t, "op")) if isinstance(t, torch.Tensor) else t, result)
        outputs = tuple(leaf.index for leaf in tree_iter(made) if isinstance(leaf, Ref))
        if outputs:
            read = [source.meta.get("val") for source in node.all_input_nodes]
            self._builder.op(target, args, dict(kwargs), outputs, path, copies(read, result))
        return made

    def _inline(self, args: Sequence[Any], path: str) -> Any:
        # wrap_with_set_grad_enabled(flag, graph, *inputs) and wrap_with_autocast(..., graph, *inputs)
        position = next(i for i, item in enumerate(args) if isinstance(item, torch.fx.GraphModule))
        inner: torch.fx.GraphModule = args[position]
        holes = [node for node in inner.graph.nodes if node.op == "placeholder"]
        return self.graph(inner, dict(zip(holes, args[position + 1 :], strict=True)), path)

    def _attribute(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> Any:
        found = operator.attrgetter(str(node.target))(module)
        return Ref(self._builder.value(found, "constant")) if isinstance(found, torch.Tensor) else found

    def _path(self, node: torch.fx.Node, outer: str) -> str:
        stack = node.meta.get("nn_module_stack")
        path = str(next(reversed(stack.values()))[0]) if stack else outer
        return self._names.get(path, path)
