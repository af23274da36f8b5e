"""One part of a network whose sparse layers take in the activation and the residual addition that follow them, and
whose pooling runs on the kernels, too."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import fx, nn

from advisor.runtime import pooling
from advisor.runtime.native.library import available
from advisor.runtime.sparse import Sparse, SparseConv

ACTIVATING: dict[Any, str] = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu"}
_CALLS: dict[Any, str] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), "relu"),
    F.relu6: "relu6",
    F.silu: "silu",
}
_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_DROPS = {"StochasticDepth", "DropPath"}
SEQUENTIAL = nn.Sequential.forward
_OWN = {"graph", "meta", "training"}  # attributes of a GraphModule itself
_HOOKS = tuple(f"_forward{kind}hooks{more}" for kind in ("_", "_pre_") for more in ("", "_with_kwargs"))
_INTO_FIRST = {operator.iadd, "add_"}  # change their first operand


class Fused(fx.GraphModule):
    """A part with a new forward and its old children, those that the forward does not call among them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Fused:
        made = cast(Fused, super().__deepcopy__(memo))
        return made.adopt(copy.deepcopy(_content(self), memo))

    def __reduce__(self) -> Any:
        return _restore, (super().__reduce__(), _content(self))

    def adopt(self, content: dict[str, Any]) -> Fused:
        """Takes over what `_content` found in another module."""
        for key, value in content.items():
            self.__dict__[key] = value
        return self


def _content(module: nn.Module) -> dict[str, Any]:
    """What a module holds and says about itself, its code left out."""
    held = ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set", "training", *_HOOKS)
    plain = {key: value for key, value in vars(module).items() if not key.startswith("_") and key not in _OWN}
    # Copies, so that no two modules share their lists of children or hooks.
    return {key: copy.copy(vars(module)[key]) for key in held} | plain


def _restore(reduced: tuple[Callable[..., fx.GraphModule], tuple[Any, ...]], content: dict[str, Any]) -> Fused:
    build, arguments = reduced
    plain = build(*arguments)
    return Fused(plain, plain.graph).adopt(content)


def is_plain_sequence(module: nn.Module) -> bool:
    return type(module).forward is SEQUENTIAL and not is_hooked(module)


def is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not is_plain_sequence(m)


def fused(part: nn.Module) -> Fused | None:
    """The part with its graph fused, or None: it cannot be traced, or there is nothing to fuse."""
    if not _takes_one(part):
        return None
    # What the forward leaves behind in lists or attributes must not hold proxies. The tensors are shared.
    tensors = (*part.parameters(), *part.buffers())
    try:
        trial = copy.deepcopy(part, {id(t): t for t in tensors})
        before = {key: id(value) for key, value in vars(trial).items()}
        graph = _Tracer().trace(trial)
        if {key: id(value) for key, value in vars(trial).items()} != before or not _rewrite(graph, trial):
            return None
        graph.lint()
        made = Fused(trial, graph, type(part).__name__)
    except Exception:  # a trace may fail in any way that the traced code can
        return None
    return made.adopt(_content(part))


def _takes_one(part: nn.Module) -> bool:
    """Whether the forward has one argument: what may be None, a list or left out reads differently as a proxy."""
    found = list(inspect.signature(part.forward).parameters.values())
    return (
        len(found) == 1
        and found[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and found[0].default is found[0].empty
    )


def _rewrite(graph: fx.Graph, root: nn.Module) -> bool:
    """Fuses in place; whether anything was."""
    modules = dict(root.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_module" and not is_hooked(modules[node.target])]
    for node in [node for node in calls if _passes(modules[node.target])]:
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    layers = [node for node in calls if isinstance(modules[node.target], Sparse)]
    done = [_absorb(graph, node, modules) for node in layers]
    for node in graph.nodes:
        if node.op == "call_function" and node.target in pooling.FUNCTIONS and available():
            node.target = pooling.FUNCTIONS[node.target]
            done.append(True)
    return any(done)


def _passes(module: nn.Module) -> bool:
    """Whether a module returns its input: in evaluation, the ways to drop whole branches (torchvision, timm) do."""
    return type(module) is nn.Identity or (type(module).__name__ in _DROPS and not module.training)


def _absorb(graph: fx.Graph, node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Takes the addition and the activation after a layer into its call."""
    layer = cast(Sparse, modules[cast(str, node.target)])
    if layer.activation != "none" or len(node.args) != 1 or node.kwargs:
        return False
    chain, residual, activation = [node], None, None
    if isinstance(layer, SparseConv) and (after := _only_reader(chain[-1])) is not None:
        residual = _added(after, chain[-1])
        chain += [after] if residual is not None else []
    if (after := _only_reader(chain[-1])) is not None and not _are_in_sequence(node, after, modules):
        activation = _activation(after, modules)
        chain += [after] if activation is not None else []
    if len(chain) == 1:
        return False
    given = {k: v for k, v in (("residual", residual), ("activation", activation)) if v is not None}
    # At the end of the chain, where the residual has been computed, too.
    with graph.inserting_before(chain[-1]):
        call = graph.call_module(cast(str, node.target), node.args, cast(Any, given))
    chain[-1].replace_all_uses_with(call)
    for gone in reversed(chain):
        graph.erase_node(gone)
    return True


def _are_in_sequence(node: fx.Node, after: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether both are steps of one sequence, which takes its own activations in and need not be left for that."""
    owners = {str(n.target).rpartition(".")[0] for n in (node, after) if n.op == "call_module"}
    return after.op == "call_module" and len(owners) == 1 and type(modules[owners.pop()]).forward is SEQUENTIAL


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(node: fx.Node, made: fx.Node) -> fx.Node | None:
    """What an addition adds to `made`; None where it is no plain addition of two different tensors."""
    if (
        node.op not in ("call_function", "call_method")
        or node.target not in _ADDS
        or node.kwargs
        or len(node.args) != 2
    ):
        return None
    first, second = node.args
    if not (isinstance(first, fx.Node) and isinstance(second, fx.Node)) or first is second:
        return None
    if first is made:
        return second
    return None if node.target in _INTO_FIRST else first


def _activation(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    if node.op == "call_module":
        layer = modules[cast(str, node.target)]
        return None if is_hooked(layer) else ACTIVATING.get(type(layer))
    return _CALLS.get(node.target) if node.op in ("call_function", "call_method") else None
