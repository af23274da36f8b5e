"""One row of the table of layers while it is being written, and the layer that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from advisor.counting.arguments import base_name
from advisor.counting.work import Work
from advisor.network import Call, Layer, Shape

ModuleKind = Literal["product", "recurrent"]  # does nothing but one product; holds a recurrent layer's matrices


_KINDS = {
    "_native_batch_norm_legit_no_training": "batch_norm",
    "native_batch_norm": "batch_norm",
    "cudnn_batch_norm": "batch_norm",
    "_batch_norm_impl_index": "batch_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "_prelu_kernel": "prelu",
}


@dataclass(slots=True)
class Draft:
    """One row. `is_parameter`: nothing but a parameter that some operator outside its module reads."""

    name: str
    kind: str
    owner: str | None  # the module whose parameters belong here; None: no parameters
    is_module: bool = False
    is_parameter: bool = False
    work: Work | None = None  # the first product
    weight: str | None = None  # the parameter that plays the weight's part, whole
    weight_shape: Shape = ()
    turned: bool = False
    lead: str | None = None  # without a product: the parameter whose readers are the calls
    params: int = 0
    calls: list[Call] = field(default_factory=list)
    elements: int = 0


def kind_of(target: str) -> str:
    """What to call a layer without products, from its operator: "aten.native_layer_norm.default" → "layer_norm"."""
    name = base_name(target)
    return _KINDS.get(name, name)


def parents(module: str) -> Iterator[str]:
    while module:
        module = module.rpartition(".")[0]
        yield module


def owner_of(parameter: str) -> str:
    """The module that a parameter's name says: "a.weight" → "a", through parametrisations; "" is the network."""
    before, inside, _ = f".{parameter}".partition(".parametrizations.")
    return (before if inside else before.rpartition(".")[0])[1:]


def finish(draft: Draft, tied: bool) -> Layer:
    work = draft.work
    # A linear layer whose parameter is stored (in, out) is not one that patterns know how to thin out.
    thin = work is not None and draft.weight is not None and not tied
    thin = thin and ((draft.kind == "linear" and not draft.turned) or draft.kind.startswith("conv"))
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
