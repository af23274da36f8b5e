"""Activations and residual additions taken into the sparse layers before them, and faster pooling, for inference.

Fusing saves a pass over each output: the kernels finish a value while it is still in a register. What is fused is found
by tracing each part with torch.fx, and stays only where the part then computes the same on example inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten

from advisor.runtime.fused import ACTIVATING, SEQUENTIAL, Fused, fused, is_hooked
from advisor.runtime.native.library import available
from advisor.runtime.pooling import MODULES
from advisor.runtime.sparse import Sparse


def fuse(module: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """`module` with what follows its sparse layers fused into them, and pooling on the kernels where there are some.

    Changes `module` and returns its replacement.

    A part whose forward was changed becomes a `Fused` with the same children; an activation that follows
    its layer in an `nn.Sequential` becomes an `nn.Identity`. All names stay.

    Args:
        module: in evaluation mode.
        inputs: positional arguments to try both versions on; where they differ, all stays as it was.
    """
    # Parts that hold others; a part with nothing inside has nothing to fuse.
    parts = [p for p in module.modules() if p._modules and not isinstance(p, fx.GraphModule) and _has_own_forward(p)]
    found = {id(part): fused(part) for part in parts}
    tried = [(part, made) for part in parts if (made := found.get(id(part))) is not None]
    if not tried and not any(isinstance(c, Sparse) or type(c) in MODULES for c in module.modules()):
        return module
    wanted, same = _try(module, tried, inputs)
    if wanted is None:
        return module
    undo = [
        *_pool_faster(module),
        *_in_sequences(module),
        *_replace(module, {id(part): made for part, made in tried if id(part) in same}),
    ]
    root = next((made for part, made in tried if part is module and id(part) in same), module)
    if not undo and root is module:
        return module
    try:
        with torch.no_grad():
            fits = _alike(root(*inputs), wanted)
    except Exception:
        fits = False
    if not fits:
        for put_back in reversed(undo):
            put_back()
        return module
    return root


def is_fused(module: nn.Module) -> bool:
    """Whether any part was changed by `fuse`: it no longer runs its layers as plain ones."""
    return any(
        isinstance(child, Fused) or (isinstance(child, Sparse) and child.activation != "none")
        for child in module.modules()
    )


def _has_own_forward(part: nn.Module) -> bool:
    return type(part).forward is not SEQUENTIAL


def _pool_faster(module: nn.Module) -> list[Callable[[], None]]:
    """Lets pooling modules run on the kernels; how to undo each."""
    undo: list[Callable[[], None]] = []
    if not available():
        return undo
    for child in module.modules():
        if (faster := MODULES.get(type(child))) is not None:
            undo.append(partial(setattr, child, "__class__", type(child)))
            child.__class__ = faster
    return undo


def _try(module: nn.Module, tried: list[tuple[nn.Module, Fused]], inputs: tuple[Any, ...]) -> tuple[Any, set[int]]:
    """Runs `module` and, beside each part, its fused version: the output, and the ids of parts that agree each time."""
    same: dict[int, bool] = {}
    waiting: dict[int, list[Any]] = {id(part): [] for part, _ in tried}

    def before(made: Fused) -> Callable[..., None]:
        def hook(part: nn.Module, args: tuple[Any, ...]) -> None:
            try:
                # A clone, since either version may write into its input.
                out = made(*(a.clone() for a in args)) if all(isinstance(a, Tensor) for a in args) else None
            except Exception:
                out = None
            waiting[id(part)].append(out)

        return hook

    def after(part: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        other = waiting[id(part)].pop()
        same[id(part)] = same.get(id(part), True) and other is not None and _alike(other, out)

    handles: list[Any] = []
    for part, made in tried:
        handles += [part.register_forward_pre_hook(before(made)), part.register_forward_hook(after)]
    try:
        with torch.no_grad():
            return module(*inputs), {part for part, fits in same.items() if fits}
    except Exception:  # inputs that the module does not take: nothing can be tried
        return None, set()
    finally:
        for handle in handles:
            handle.remove()


def _alike(got: Any, wanted: Any) -> bool:
    """The same structure, and tensors that differ by no more than the order of sums."""
    (a, a_spec), (b, b_spec) = tree_flatten(got), tree_flatten(wanted)
    if a_spec != b_spec:
        return False
    for one, two in zip(a, b, strict=True):
        if not isinstance(one, Tensor):
            if one is not two and one != two:
                return False
        elif not isinstance(two, Tensor) or one.shape != two.shape or one.dtype != two.dtype:
            return False
        elif one.is_floating_point():
            size = two.abs().max().item() if two.numel() else 0.0
            if not torch.allclose(one, two, rtol=1e-3, atol=1e-4 * size, equal_nan=True):
                return False
        elif not torch.equal(one, two):
            return False
    return True


def _in_sequences(module: nn.Module) -> list[Callable[[], None]]:
    """Fuses activations that follow their layer in a sequence; how to undo each."""
    places = [id(child) for parent in module.modules() for child in parent._modules.values()]
    undo: list[Callable[[], None]] = []
    for parent in list(module.modules()):
        if type(parent).forward is not SEQUENTIAL:
            continue
        layer: Sparse | None = None
        for name, child in list(parent._modules.items()):
            kind = ACTIVATING.get(type(child))
            if layer is not None and kind is not None and child is not None and not is_hooked(child):
                layer.activation = kind
                parent._modules[name] = nn.Identity().eval()
                undo += [partial(parent._modules.update, {name: child}), partial(setattr, layer, "activation", "none")]
            if type(child) is not nn.Identity or (child is not None and is_hooked(child)):
                fresh = isinstance(child, Sparse) and child.activation == "none" and not is_hooked(child)
                layer = cast(Sparse, child) if fresh and places.count(id(child)) == 1 else None
    return undo


def _replace(module: nn.Module, made: dict[int, Fused]) -> list[Callable[[], None]]:
    """Puts fused parts into the place of their originals, also within each other; how to undo each."""
    undo: list[Callable[[], None]] = []
    for parent in [*module.modules(), *made.values()]:
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in made:
                parent._modules[name] = made[id(child)]
                undo.append(partial(parent._modules.update, {name: child}))
    return undo
