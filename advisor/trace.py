"""From a module and an example input to a Network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_iter, tree_map_only

from advisor.counting.layers import build_layers
from advisor.counting.liveness import peak_activation_bytes
from advisor.counting.rows import ModuleKind
from advisor.errors import ModelError
from advisor.exporting import trace
from advisor.network import Network, OpGraph
from advisor.recording import record


def analyze(model: torch.nn.Module, example_inputs: Any, *, name: str | None = None) -> Network:
    """Counts a network exactly, layer by layer, without running it where that is possible.

    The network is exported on fake tensors (no memory for weights or activations). Where `torch.export` fails, for
    example on control flow that depends on the data, one real run is recorded instead, and the result says so.

    Args:
        model: any module, on any device, meta included. Left as it was; counted in evaluation mode.
        example_inputs: a tensor, a tuple of positional arguments, or the shape of one float tensor, `(1, 3, 224, 224)`.
        name: what to call it; the class name otherwise.

    Raises:
        ModelError: the module cannot be run on this input.
    """
    label = name or type(model).__name__
    inputs = as_inputs(example_inputs, model)
    notes: list[str] = []
    with evaluation(model):
        graph = _trace_or_record(model, inputs, label, notes)
    parameters = {id(p): p for p in model.parameters()}
    counted = build_layers(graph, aliases(model), module_kinds(model))
    total = sum(p.numel() for p in parameters.values())
    buffers = {id(b): b for b in model.buffers()}
    held = sum(t.numel() * t.element_size() for t in (*parameters.values(), *buffers.values()))
    return Network(
        name=label,
        input_shapes=tuple(tuple(t.shape) for t in tree_iter(inputs) if isinstance(t, torch.Tensor)),
        params=total,
        macs=sum(layer.macs for layer in counted.layers),
        activation_elements=sum(layer.activation_elements for layer in counted.layers),
        peak_activation_bytes=peak_activation_bytes(graph),
        weight_bytes=held,
        unsupported_ops=counted.unsupported_ops,
        ignored_ops=counted.ignored_ops,
        unreached_params=total - sum(layer.params for layer in counted.layers),
        layers=counted.layers,
        graph=counted.graph,
        ops=graph,
        notes=(*notes, *counted.notes),
        module=model,
        example_inputs=inputs,
    )


def as_inputs(example: Any, model: torch.nn.Module) -> tuple[Any, ...]:
    """Positional arguments from what a user may give, placed on the model's device.

    Raises:
        ModelError: no module, one whose shapes are not known yet, or a shape with sizes below 1.
    """
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"cannot analyse a {type(model).__name__}; expected a torch.nn.Module")
    tensors = (*model.parameters(), *model.buffers())
    if any(torch.nn.parameter.is_lazy(tensor) for tensor in tensors):
        raise ModelError(f"{type(model).__name__} has lazy layers without shapes; run it once on an input before")
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    if isinstance(example, torch.Tensor):
        example = (example,)
    elif isinstance(example, Sequence) and example and all(isinstance(size, int) for size in example):
        if min(example) < 1:
            raise ModelError(f"input shape {tuple(example)} has a size below 1; give one such as (1, 3, 224, 224)")
        example = (torch.zeros(tuple(example), device=device, dtype=float_dtype(model)),)
    if not isinstance(example, tuple):
        example = (example,)
    moved: tuple[Any, ...] = tree_map_only(torch.Tensor, lambda t: _move(t, device), example)
    return moved


def float_dtype(model: torch.nn.Module) -> torch.dtype:
    """What the network computes in, and so the dtype of an input of which only the shape is given."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.empty_like(tensor, device=device) if tensor.is_meta and device.type != "meta" else tensor.to(device)


def aliases(model: torch.nn.Module) -> dict[str, str]:
    """Every dotted name of a parameter → the first name of the same parameter (tied weights have several)."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def module_kinds(model: torch.nn.Module) -> dict[str, ModuleKind]:
    """Modules that do nothing but one product (torch's convolutions and linear layers) and recurrent ones, by name."""
    kinds: dict[str, ModuleKind] = {}
    for name, child in model.named_modules():
        if isinstance(child, torch.nn.Linear | _ConvNd):
            kinds[name] = "product"
        elif isinstance(child, torch.nn.RNNBase | torch.nn.RNNCellBase):
            kinds[name] = "recurrent"
    return kinds


@contextlib.contextmanager
def evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class NeedsRealTensors(ModelError):
    """A network on the meta device whose way through itself depends on numbers that are not there."""


def _trace_or_record(model: torch.nn.Module, inputs: tuple[Any, ...], label: str, notes: list[str]) -> OpGraph:
    try:
        return trace(model, inputs)
    except (Exception, SystemExit) as failure:
        exported = failure
    try:
        graph = record(model, inputs)
    except (Exception, SystemExit) as error:
        reason = one_line(error)
        on_meta = any(t.is_meta for t in (*model.parameters(), *model.buffers()))
        if on_meta and ("meta" in reason or isinstance(error, NotImplementedError)):
            raise NeedsRealTensors(
                f"{label}: cannot be traced on meta tensors ({reason}); build it on real ones"
            ) from error
        shapes = [tuple(t.shape) for t in tree_iter(inputs) if isinstance(t, torch.Tensor)]
        raise ModelError(
            f"{label}: does not run on input {shapes}: {reason}; check the input (--input) and the module"
        ) from error
    notes.append(
        f"recorded from one run, since torch.export could not follow it ({one_line(exported, 120)}); "
        "the counts hold for this very input"
    )
    return graph


def one_line(error: BaseException, limit: int = 200) -> str:
    """An exception as one line of at most `limit` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= limit else text[: limit - 1] + "…"
