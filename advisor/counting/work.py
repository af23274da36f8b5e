"""What an operator multiplies, in integers, and the table of handlers that tell.

A handler gets the operator's arguments by name, the table of Values and the output shapes, and returns one `Work` per
product. Operators without a handler are either listed in `ignored.py` with a reason, or unsupported. MACs are
multiply-adds of convolutions and matrix products only; biases, norms, softmax and activations are not counted, as
everywhere in the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.network import Shape, Value
from advisor.registry import registered

Arguments = Mapping[str, Any]
Handler = Callable[[Arguments, Sequence[Value], Sequence[Shape]], "list[Work]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One product inside an operator.

    `weight` is the Value that plays the weight's part, None for a free product; `beside` is then a Value whose module
    the product belongs to, where that is not the module that runs.
    """

    kind: str
    macs: int
    input_shape: Shape
    output_shape: Shape
    weight: int | None = None
    beside: int | None = None
    weight_transposed: bool = False  # stored (in, out): x @ W
    bias: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1


HANDLERS: dict[str, Handler] = {}


def counts(*targets: str) -> Callable[[Handler], Handler]:
    """Registers a handler for operators such as "aten.conv2d.default" or, for all overloads, "aten.conv2d"."""
    return registered(HANDLERS, targets, "handlers")
