"""From one call of an operator to the Step that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from math import prod
from typing import Any

import torch
from torch import Tensor

from advisor.devices.steps.executions import execution_of, macs_of
from advisor.devices.steps.families import family_of
from advisor.devices.steps.step import Step
from advisor.recording import dtype_name


def describe(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Step:
    """The Step of torch's operator `func` (an OpOverload) that was called with `args` and gave `result`."""
    schema = func._schema
    namespace, _, name = schema.name.partition("::")
    in_place = name.endswith("_") and not name.endswith("__")
    target = name[:-1] if in_place else name
    target = target if namespace == "aten" else f"{namespace}.{target}"
    bound = {a.name: a.default_value for a in schema.arguments}
    bound.update(zip(bound, args, strict=False))
    bound.update(kwargs)
    written = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
    return _step(target, bound, result, in_place=written)


def describe_own(name: str, function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> Step:
    """The Step of one of our kernels, as `advisor.runtime.watch` hands it over."""
    return _step(name, _named(name, function, args), result, in_place=False)


def _named(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Any]:
    operator = getattr(torch.ops.advisor, name.partition(".")[2], None)
    if operator is not None:
        return dict(zip((a.name for a in operator.default._schema.arguments), args, strict=False))
    return dict(zip(signature(function).parameters, args, strict=False))


def _step(target: str, bound: Mapping[str, Any], result: Any, *, in_place: bool) -> Step:
    # Fused operators return empty tensors in the place of results that nobody asked for; on fake tensors full ones.
    mask = bound.get("output_mask")
    if isinstance(mask, list | tuple) and isinstance(result, list | tuple) and len(mask) == len(result):
        result = [tensor for tensor, asked in zip(result, mask, strict=True) if asked]
    given, made = list(_tensors(bound.values())), [tensor for tensor in _tensors((result,)) if tensor.numel()]
    held = {_memory(tensor) for tensor in given}
    view = target == "lift_fresh" or (
        bool(made) and bool(given) and not in_place and all(_memory(tensor) in held for tensor in made)
    )
    family = family_of(target, view=view)
    execution = execution_of(target, bound) if family == "layer" else None
    read = 0 if view else sum(_bytes(tensor) for tensor in given)
    return Step(
        target=target,
        family=family,
        inputs=tuple(_shape(tensor) for tensor in given),
        layouts="".join(_layout(tensor) for tensor in given),
        outputs=tuple(_shape(tensor) for tensor in made),
        parameters=() if view else tuple(_integers(bound.values())),
        dtype=dtype_name(made[0].dtype if made else given[0].dtype if given else torch.float32),
        read_bytes=read,
        written_bytes=0 if view else sum(_bytes(tensor) for tensor in made),
        macs=macs_of(target, bound, execution, made),
        execution=execution,
        in_place=in_place,
        backward="backward" in target or "_grad_" in target,
    )


def _tensors(items: Iterable[Any]) -> Iterable[Tensor]:
    for item in items:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, list | tuple):
            yield from _tensors(item)


def _integers(items: Iterable[Any]) -> Iterable[int]:
    for item in items:
        if isinstance(item, int | torch.SymInt):
            yield int(item)
        elif isinstance(item, list | tuple):
            yield from _integers(item)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape)


def _bytes(tensor: Tensor) -> int:
    """What of its memory a tensor shows: an expanded axis counts once."""
    shown = prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or size == 0)
    return int(shown) * tensor.element_size()


def _layout(tensor: Tensor) -> str:
    if tensor.is_contiguous():
        return "c"
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return "l"
    return "e" if 0 in tensor.stride() else "s"


def _memory(tensor: Tensor) -> int:
    try:
        address: int = tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(tensor)
    return address
