"""Which layer an operator is: from its arguments to the Execution under which profiles and plans know it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from advisor.runtime.execution import Execution

_CONVOLUTIONS = {"convolution", "_convolution", "conv1d", "conv2d", "conv3d"} | {
    f"conv_transpose{n}d" for n in (1, 2, 3)
}


def execution_of(target: str, bound: Mapping[str, Any]) -> Execution | None:
    """The Execution of a convolution, a linear layer, or one of our sparse ones; None for everything else.

    Args:
        target: as in `Step.target`.
        bound: arguments by name, defaults filled in.
    """
    if target in _CONVOLUTIONS:
        return _convolution(target, bound)
    if target == "linear":
        return _linear(bound["input"].shape, bound["weight"].shape, bound["bias"] is not None)
    if target == "advisor.sparse_conv2d":
        x, weight = bound["x"], bound["weight"]
        return Execution(
            kind="conv2d",
            method="direct",
            input_shape=_shape(x),
            weight_shape=(_outputs(bound), x.shape[1], *weight.shape[1:-1]),
            stride=tuple(bound["stride"]),
            padding=tuple(bound["padding"]),
            dilation=tuple(bound["dilation"]),
            bias=bound["bias"] is not None,
            kept=int(weight.shape[0]),
            block=int(weight.shape[-1]),
        )
    if target == "advisor.sparse_linear":
        x, weight = bound["x"], bound["weight"]
        return Execution(
            kind="linear",
            method="direct",
            input_shape=_shape(x),
            weight_shape=(_outputs(bound), x.shape[1]),
            bias=bound["bias"] is not None,
            kept=int(weight.shape[0]),
            block=int(weight.shape[-1]),
        )
    return None


def macs_of(target: str, bound: Mapping[str, Any], execution: Execution | None, outputs: Any) -> int:
    """Multiply-adds of a layer's or a product's step; 0 for what multiplies no matrices."""
    if execution is not None:
        return execution.macs
    if target == "convolution_backward":
        # One product of the forward's size for each gradient that is asked for (the bias's is a sum).
        asked = sum(bool(wanted) for wanted in bound["output_mask"][:2])
        grad, weight, inputs = bound["grad_output"], bound["weight"], bound["input"]
        places = prod(inputs.shape if bound["transposed"] else grad.shape)
        return int(asked * places * prod(weight.shape[1:]))
    if target in ("mm", "bmm", "addmm", "baddbmm", "matmul"):
        left = bound.get("mat1", bound.get("batch1", bound.get("self", bound.get("input"))))
        return int(prod(outputs[0].shape) * left.shape[-1]) if outputs else 0
    if "scaled_dot_product" in target and "query" in bound:
        query, key, value = bound["query"], bound["key"], bound["value"]
        forward = prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return int(forward * (2.5 if "backward" in target else 1))
    if target == "_native_multi_head_attention":
        query, wide = bound["query"], bound["embed_dim"]
        tokens = prod(query.shape[:-1])
        return int(tokens * wide * wide * 4 + 2 * tokens * query.shape[-2] * wide)
    if target == "_transformer_encoder_layer_fwd":
        given, wide = bound["src"], bound["embed_dim"]
        tokens, inner = prod(given.shape[:-1]), prod(bound["ffn_weight_1"].shape) + prod(bound["ffn_weight_2"].shape)
        return int(tokens * (4 * wide * wide + inner) + 2 * tokens * given.shape[-2] * wide)
    if target.startswith("advisor.sparse_"):
        grad, weight = bound["grad"], bound.get("weight")
        kept = weight if weight is not None else outputs[0]  # the gradient of the weight has its shape
        places = prod(grad.shape[2:]) * grad.shape[0] if grad.dim() == 4 else grad.shape[0]
        return int(places * prod(kept.shape))
    return 0


def _convolution(target: str, bound: Mapping[str, Any]) -> Execution | None:
    inputs, weight = bound["input"], bound["weight"]
    rank = weight.dim() - 2
    transposed = bool(bound.get("transposed", "transpose" in target))
    padding = bound["padding"]
    dilation = _full(bound["dilation"], rank)
    if isinstance(padding, str):
        kernel = weight.shape[2:]
        padding = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    if inputs.dim() != rank + 2:
        return None  # without a batch
    return Execution(
        kind=f"conv{'_transpose' if transposed else ''}{rank}d",
        method="dense",
        input_shape=_shape(inputs),
        weight_shape=_shape(weight),
        stride=_full(bound["stride"], rank),
        padding=_full(padding, rank),
        dilation=dilation,
        output_padding=_full(bound["output_padding"], rank) if transposed else (),
        groups=int(bound["groups"]),
        bias=bound["bias"] is not None,
    )


def _linear(inputs: Any, weight: Any, bias: bool) -> Execution:
    return Execution(
        kind="linear",
        method="dense",
        input_shape=(prod(inputs[:-1]), int(inputs[-1])),
        weight_shape=tuple(map(int, weight)),
        bias=bias,
    )


def _outputs(bound: Mapping[str, Any]) -> int:
    return (len(bound["indptr"]) - 1) * int(bound["weight"].shape[-1]) if "weight" in bound else 1


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape)


def _full(value: Any, rank: int) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, list | tuple) else (int(value),)
    return tuple(int(size) for size in (sizes * rank if len(sizes) == 1 else sizes))
