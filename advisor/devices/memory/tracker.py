"""Follows the memory of a run, storage by storage, from its making to its death.

The idea is that of `torch.distributed._tools.mem_tracker`: a dispatch mode sees every operator, and a weak reference to
each storage says when the last tensor on it is gone. Views and in-place operators share storages, autograd's saved
tensors and Python's names keep them, and so nothing has to be guessed about lifetimes: they are those of the run. Fake
tensors have storages like real ones, so the same code follows a run that takes no memory.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from advisor.devices.memory import convolutions, pooling, sparse  # noqa: F401  # they enter their rules
from advisor.devices.memory.places import Places
from advisor.devices.memory.scratch import NOTHING, scratch_of

Kind = Literal["parameter", "buffer", "input", "gradient", "optimizer", "activation"]


@dataclass(slots=True)
class _Held:
    """One storage: where its bytes are counted."""

    bytes: int
    kind: Kind
    module: str
    watch: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was alive at the worst moment. `scratch` is what the operator at work took beside its results."""

    bytes: int = 0
    kinds: Mapping[Kind, int] = field(default_factory=dict)
    modules: Mapping[str, int] = field(default_factory=dict)  # module → bytes of the activations that it made
    scratch: int = 0
    operator: str = ""
    module: str = ""


@cache
def _is_made_of_others(func: Any) -> bool:
    has: Callable[[str, str], bool] = torch._C._dispatch_has_kernel_for_dispatch_key
    name = func.name()
    if func.namespace == "prim":  # questions about a tensor, such as its device
        return False
    return has(name, "CompositeImplicitAutograd") and not has(name, "CPU") and not has(name, "CUDA")


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is alive while it is entered; `peak` is the worst moment since the last `restart`.

    Attributes:
        kept: buffer → bytes that operators leave in the process.
        compiled: bytes of machine code made so far, each kind of call once.
        unknown: what rules could not count, in words.
    """

    def __init__(self, places: Places, *, rounded: Callable[[int], int] = int, with_scratch: bool = True) -> None:
        """`rounded`: what the allocator hands out for a number of bytes. `with_scratch`: count operators' own, too."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._places, self._rounded, self._with_scratch = places, rounded, with_scratch
        self._held: dict[int, _Held] = {}
        self._kinds: Counter[Kind] = Counter()
        self._modules: Counter[str] = Counter()
        self._codes: set[Any] = set()
        self.kept: Counter[str] = Counter()
        self.compiled = 0
        self.unknown: set[str] = set()
        self.peak = Moment()

    @property
    def alive(self) -> int:
        """Bytes held now."""
        return sum(self._kinds.values())

    def restart(self) -> None:
        """Forgets the worst moment; what is alive stays."""
        self.peak = Moment()
        self._look(0, "", "")

    def take(self, tensor: torch.Tensor, kind: Kind, module: str = "") -> int:
        """Counts a tensor's storage as `kind` from now on; returns the bytes that are new."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse tensors and the like have none
            return 0
        key = storage._cdata
        held = self._held.get(key)
        size = self._rounded(storage.nbytes())
        if held is not None:
            new = size - held.bytes  # of a storage that was resized
            if new or (held.kind != kind and kind != "activation"):
                self._count(held, -1)
                held.bytes, held.kind = size, held.kind if kind == "activation" else kind
                self._count(held, 1)
            return max(new, 0)
        held = _Held(size, kind, module)
        held.watch = weakref.ref(storage, partial(self._gone, key, held))
        self._held[key] = held
        self._count(held, 1)
        return held.bytes

    def _gone(self, key: int, held: _Held, _: Any) -> None:
        if self._held.get(key) is held:
            del self._held[key]
            self._count(held, -1)

    def _count(self, held: _Held, sign: int) -> None:
        self._kinds[held.kind] += sign * held.bytes
        if held.kind == "activation":
            self._modules[held.module] += sign * held.bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_made_of_others(func):
            # Without autograd an operator that is written in others arrives whole; its parts are what runs.
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        before = self.alive
        out = func(*args, **kwargs)
        if func.namespace == "prim":
            return out
        name, module = self._places.now()
        found = scratch_of(func, args, kwargs, out, module) if self._with_scratch else NOTHING
        made = 0
        for place, tensor in enumerate(tree_leaves(out)):
            if isinstance(tensor, torch.Tensor) and place not in found.unmade:
                made += self.take(tensor, "activation", name)
        if found is not NOTHING:
            self._remember(func, args, found)
        inside = max(found.inside - made, before + made - self.alive, 0)
        self._look(inside, str(func), name)
        return out

    def _remember(self, func: Any, args: Any, found: Any) -> None:
        for buffer, size in found.kept.items():
            self.kept[buffer] = max(self.kept[buffer], size)
        if found.unknown:
            self.unknown.add(found.unknown)
        if found.compiled:
            shapes = tuple(tuple(a.shape) if isinstance(a, torch.Tensor) else str(a) for a in args)
            if (str(func), shapes) not in self._codes:
                self._codes.add((str(func), shapes))
                self.compiled += found.compiled

    def _look(self, inside: int, operator: str, module: str) -> None:
        total = self.alive + inside
        if total > self.peak.bytes:
            self.peak = Moment(
                bytes=total,
                kinds=dict(self._kinds),
                modules={name: size for name, size in self._modules.items() if size},
                scratch=inside,
                operator=operator,
                module=module,
            )
