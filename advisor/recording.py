"""Records the operators of one real run, for networks whose control flow depends on the data."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_iter, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from advisor.network import Op, OpGraph, Ref, Value
from advisor.quiet import quiet


def plain(value: Any) -> Any:
    """An operator argument as plain data: lists become tuples; dtypes, devices and layouts become strings."""
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, Ref) or value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.SymInt):
        return int(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)  # a piece of network inside an operator
    return str(value)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class GraphBuilder:
    """Collects Values and Ops; tracing and recording both write through it."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.ops: list[Op] = []

    def value(self, tensor: Any, origin: Any, name: str | None = None) -> int:
        index = len(self.values)
        shape = tuple(int(size) for size in tensor.shape)
        self.values.append(Value(index=index, shape=shape, dtype=dtype_name(tensor.dtype), origin=origin, name=name))
        return index

    def op(
        self,
        target: str,
        args: Any,
        kwargs: dict[str, Any],
        outputs: tuple[int, ...],
        module: str,
        copies: bool = False,
    ) -> None:
        self.ops.append(
            Op(
                index=len(self.ops),
                target=target,
                args=plain(args),
                kwargs={key: plain(item) for key, item in kwargs.items()},
                outputs=outputs,
                module=module,
                copies=copies,
            )
        )


def copies(read: Any, made: Any) -> bool:
    """Do the results have memory of their own? Told from the storages of real or fake tensors, or of trees of them."""
    held = {_memory(tensor) for tensor in tree_iter(read)} - {None}
    return not any(_memory(tensor) in held for tensor in tree_iter(made))


def _memory(tensor: Any) -> int | None:
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        return None
    try:
        address: int = tensor.untyped_storage()._cdata
    except NotImplementedError:  # a tensor inside torch.vmap, a nested one
        return None
    return address


class Paths:
    """Follows which module runs, by global hooks; use as a context manager."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._names = {id(child): path for path, child in module.named_modules()}
        self._stack = [""]
        self.calls = 0

    @property
    def here(self) -> str:
        return self._stack[-1]

    def _enter(self, child: torch.nn.Module, args: Any) -> None:
        self.calls += 1
        self._stack.append(self._names.get(id(child), self._stack[-1]))

    def _leave(self, child: torch.nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()

    def __enter__(self) -> Paths:
        # Global hooks, since hooks on the modules themselves would switch fused paths of torch off.
        self._handles = (
            torch.nn.modules.module.register_module_forward_pre_hook(self._enter),
            torch.nn.modules.module.register_module_forward_hook(self._leave, always_call=True),
        )
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    supports_higher_order_operators = True

    def __init__(self, builder: GraphBuilder, names: dict[int, tuple[str, str]], paths: Paths) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = builder
        self.names = names  # id(tensor) → (origin, dotted name) of parameters and buffers
        self.paths = paths
        self.known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def see(self, tensor: torch.Tensor, origin: str = "constant") -> int:
        if tensor not in self.known:
            origin, name = self.names.get(id(tensor), (origin, None))
            self.known[tensor] = self.builder.value(tensor, origin, name)
        index: int = self.known[tensor]
        return index

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if str(func) == "cond":
            with self:
                return (args[1] if args[0] else args[2])(*args[3])
        seen_args, seen_kwargs = tree_map_only(torch.Tensor, lambda t: Ref(self.see(t)), (args, kwargs))
        result = func(*args, **kwargs)
        outputs = []
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                # An in-place operator returns its own argument: from here on that tensor is a new value.
                self.known[tensor] = self.builder.value(tensor, "op")
                outputs.append(self.known[tensor])
        if outputs:
            own = copies((args, kwargs), result)
            self.builder.op(str(func), seen_args, seen_kwargs, tuple(outputs), self.paths.here, own)
        return result


def record(module: torch.nn.Module, inputs: tuple[Any, ...]) -> OpGraph:
    """Runs `module` once on real tensors and returns what ran.

    The graph is true for this very input: another one may take another way through the network.

    Args:
        module: on real (not meta) tensors, in evaluation mode.
        inputs: positional arguments; tensors may sit inside lists, tuples and dicts.
    """
    builder = GraphBuilder()
    names: dict[int, tuple[str, str]] = {}
    for name, buffer in module.named_buffers():
        names[id(buffer)] = ("buffer", name)
    for name, parameter in module.named_parameters():
        names[id(parameter)] = ("parameter", name)
    with quiet(), torch.no_grad(), Paths(module) as paths:
        recorder = _Recorder(builder, names, paths)
        given = [recorder.see(t, "input") for t in tree_iter(inputs) if isinstance(t, torch.Tensor)]
        with recorder:
            result = module(*inputs)
    leaves, _ = tree_flatten(result)
    outputs = tuple(recorder.see(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor))
    return OpGraph(
        values=tuple(builder.values), ops=tuple(builder.ops), inputs=tuple(given), outputs=outputs, origin="recorded"
    )
