"""What a network computes without knowing its input: every value that the input reaches is NaN, the rest is constant.

IEEE arithmetic carries NaN through nearly every operator by itself. Only where a zero cuts an influence off does it
have to be stopped by hand: a zero scale of a batch norm, zero weights, a product with zero. What is left finite is the
very number that every input gives, borders of padded maps included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from advisor.errors import ModelError

Rule = Callable[..., Any]
_DECIDES = "operator {} makes a decision that depends on the input, so no filter is sure to be constant; keep them"
_MASKING = ("where", "masked_fill", "masked_fill_")  # their outcome may leave an operand out


class Unknowing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs torch operators on numbers of which NaN stands for "depends on the input".

    Raises:
        ModelError: (where used) a number that depends on the input decides what is computed.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        operands = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor) and t.is_floating_point()]
        if not any(bool(t.isnan().any()) for t in operands):
            return func(*args, **kwargs)
        if rule := _RULES.get(name):
            return rule(func, *args, **kwargs)
        if torch.Tag.pointwise in func.tags and name not in _MASKING:
            return _pointwise(func, name, operands, args, kwargs)
        out = func(*args, **kwargs)
        if "pool" not in name and any(_decides(item) for item in tree_iter(out)):
            raise ModelError(_DECIDES.format(name))
        return out


def _decides(item: object) -> bool:
    if isinstance(item, Tensor):
        return not item.is_floating_point()
    return isinstance(item, bool | int) or (isinstance(item, float) and math.isnan(item))


def _pointwise(func: Any, name: str, operands: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    reached = torch.zeros((), dtype=torch.bool, device=operands[0].device)
    zero = reached
    for operand in operands:
        reached = reached | operand.isnan()
        zero = zero | (operand == 0)
    out = func(*args, **kwargs)
    if not out.is_floating_point():
        raise ModelError(_DECIDES.format(name))
    if name in ("mul", "mul_") and len(operands) == 2:
        return out.masked_fill_(zero, 0)  # whatever finite number the other factor is
    return out.masked_fill_(reached, math.nan)


def _convolution(func: Any, given: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    """As `aten.convolution`: zero weights read nothing."""
    unknown = given.isnan()
    out = func(given.masked_fill(unknown, 0), weight, bias, *settings)
    readers = func(unknown.to(given.dtype), (weight != 0).to(weight.dtype), None, *settings)
    return _marked(out, readers)


def _marked(out: Tensor, readers: Tensor) -> Tensor:
    """`readers` counts the unknown numbers behind each element; half of one is beyond any rounding error."""
    marked: Tensor = out.masked_fill(readers > 0.5, math.nan)
    return marked


def _norm(func: Any, given: Tensor, scale: Tensor | None, *others: Any, **named: Any) -> Any:
    """As `aten.native_batch_norm`: a scale of zero leaves the shift alone."""
    unknown = given.isnan()
    found = func(given.masked_fill(unknown, 0), scale, *others, **named)
    if scale is not None:
        unknown = unknown & (scale != 0).view(1, -1, *(1,) * (given.dim() - 2))
    return (found[0].masked_fill(unknown, math.nan), *found[1:])


def _product(func: Any, left: Tensor, right: Tensor, **named: Any) -> Tensor:
    """As `aten.mm` and `aten.bmm`."""
    unknown = [side.isnan() for side in (left, right)]
    out = func(left.masked_fill(unknown[0], 0), right.masked_fill(unknown[1], 0), **named)
    ones = [side.to(out.dtype) for side in (*unknown, left != 0, right != 0)]  # NaN is not zero either
    readers: Tensor = func(ones[0], ones[3]) + func(ones[2], ones[1])
    return _marked(out, readers)


def _sum_and_product(func: Any, added: Tensor, left: Tensor, right: Tensor, **named: Any) -> Tensor:
    """As `aten.addmm` and `aten.baddbmm`."""
    plain = torch.ops.aten.mm.default if left.dim() == 2 else torch.ops.aten.bmm.default
    product: Tensor = _product(plain, left, right) * named.get("alpha", 1)
    return product + added * named.get("beta", 1)


_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "native_batch_norm": _norm,
    "_native_batch_norm_legit": _norm,
    "_native_batch_norm_legit_no_training": _norm,
    "_batch_norm_no_update": _norm,
    "cudnn_batch_norm": _norm,
    "miopen_batch_norm": _norm,
    "mm": _product,
    "bmm": _product,
    "addmm": _sum_and_product,
    "baddbmm": _sum_and_product,
}
