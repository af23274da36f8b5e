"""The steps of a network as time at the datasheet's rates, by class of operator.

A class has an inverse efficiency: how many times longer it takes than its multiply-adds at the peak (names that end in
"_macs") or its bytes at the bandwidth (names that end in "_bytes"). A network's time is then a sum of products of both,
which a fit to whole networks can take apart, and which carries over to a GPU of the same kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING

from advisor.devices.gpu.facts import ITEM_BYTES, Facts

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.network import Shape

_ROWS, _COLUMNS, _DEPTH = 128, 64, 32  # tile of a product on tensor cores: what it is filled up to
_OWN = {
    "batch_norm", "layer_norm", "relu", "add", "mul", "gelu", "silu", "mean", "cat", "softmax", "_softmax",
    "native_batch_norm", "native_layer_norm", "native_batch_norm_backward", "native_layer_norm_backward",
    "threshold_backward", "gelu_backward", "silu_backward", "cudnn_batch_norm", "cudnn_batch_norm_backward", "im2col",
    "col2im", "roll", "div", "pow", "sigmoid", "hardswish", "hardtanh", "avg_pool2d", "max_pool2d", "group_norm",
}  # fmt: skip
_ALIAS = {
    "_softmax": "softmax", "native_batch_norm": "batch_norm", "cudnn_batch_norm": "batch_norm",
    "native_layer_norm": "layer_norm", "cudnn_batch_norm_backward": "batch_norm_backward",
    "native_batch_norm_backward": "batch_norm_backward", "native_layer_norm_backward": "layer_norm_backward",
}  # fmt: skip
KERNELS = "kernels"  # how many kernels start; a class of its own, in kernels
LAYERS = "layers_ms"  # layers by a model of their own, in ms


def network_classes(steps: Iterable[tuple[Step, int]], facts: Facts, dtype: str) -> dict[str, float]:
    """Sum of `step_classes` over distinct steps with how often each runs."""
    total: dict[str, float] = defaultdict(float)
    for step, count in steps:
        for name, value in step_classes(step, facts, dtype).items():
            total[name] += count * value
    return dict(total)


def step_classes(step: Step, facts: Facts, dtype: str) -> dict[str, float]:
    """ms of each class at the datasheet's rates, and the number of kernels; empty for a view.

    Args:
        dtype: what the GPU computes in; a float32 recording stands for the same network in `dtype` (autocast).
    """
    if step.family == "view":
        return {}
    rates = _Rates(facts, dtype, step)
    if step.family == "layer":
        found = _layer(step, rates) | _around_layer(step, rates)
    elif step.family == "product":
        found = _product(step, rates)
    else:
        found = _moved(step, rates)
    return found | {KERNELS: _kernels(step)}


class _Rates:
    """Work of one step to ms."""

    def __init__(self, facts: Facts, dtype: str, step: Step) -> None:
        self._macs = facts.peak_tflops(dtype) * 1e9 / 2
        self._plain = facts.fp32_tflops * 1e9 / 2
        self._bandwidth = facts.bandwidth_gb_s * 1e6
        item = ITEM_BYTES.get(dtype, 4)
        self.item = item
        self._share = item / ITEM_BYTES.get(step.dtype, 4) if step.dtype in ITEM_BYTES else 1.0

    def macs(self, count: float) -> float:
        return count / self._macs

    def plain_macs(self, count: float) -> float:
        """Multiply-adds without tensor cores."""
        return count / self._plain

    def elements(self, count: float) -> float:
        return count * self.item / self._bandwidth

    def moved(self, step: Step) -> float:
        return step.bytes_moved * self._share / self._bandwidth


def _layer(step: Step, rates: _Rates) -> dict[str, float]:
    e = step.execution
    if e is not None and e.kind == "linear":
        outputs, inputs = e.weight_shape[0], e.weight_shape[1]
        return _matrix("linear", prod(e.input_shape[:-1]), outputs, inputs, step, rates)
    if e is not None:
        made, given, weight = e.output_shape, e.input_shape, e.weight_shape
        return _convolution("", made, given, weight, e.groups, e.stride, step, rates, 1)
    if step.target == "convolution_backward" and len(step.inputs) >= 3:
        grad, given, weight = step.inputs[:3]
        groups = max(given[1] // max(weight[1], 1), 1)
        places = max(prod(grad[2:]), 1)
        stride = (2,) if prod(given[2:]) > 2 * places else (1,)
        asked = round(step.macs / max(prod(grad) * prod(weight[1:]), 1)) or 1
        return _convolution("back_", grad, given, weight, groups, stride, step, rates, asked)
    return {"other_layer_macs": rates.macs(step.macs), "other_layer_bytes": rates.moved(step)}


def _around_layer(step: Step, rates: _Rates) -> dict[str, float]:
    """What runs beside a layer's own kernel: the bias of a convolution is added in a pass of its own (cuDNN), an input
    that is not in one piece is copied, and one with channels last takes other kernels."""
    found: dict[str, float] = {}
    e = step.execution
    if e is not None and e.bias and e.kind != "linear":
        name = "depthwise_bias_bytes" if e.groups > 1 and e.weight_shape[1] == 1 else "conv_bias_bytes"
        found[name] = rates.elements(2 * prod(e.output_shape))
    if step.inputs and step.layouts[:1] in ("s", "e"):
        found["gathered_bytes"] = rates.elements(2 * prod(step.inputs[0]))
    elif step.layouts[:1] == "l" and e is not None and e.groups > 1:
        found["grouped_last_bytes"] = rates.elements(prod(step.inputs[0]))
    elif step.layouts[:1] == "l":
        found["conv_last_bytes"] = rates.elements(prod(step.inputs[0]))
    return found


def _convolution(
    mark: str,
    made: Shape,
    given: Shape,
    weight: Shape,
    groups: int,
    stride: tuple[int, ...],
    step: Step,
    rates: _Rates,
    times: int,
) -> dict[str, float]:
    """`made` B C_out *spatial from `given` B C_in *spatial; `times` products of that size (gradients)."""
    taps, inputs, outputs = prod(weight[2:]), weight[1], max(weight[0] // groups, 1)
    read, written = rates.elements(times * prod(given)), rates.elements(times * prod(made))
    rows = made[0] * prod(made[2:])
    if groups > 1 and inputs == 1:
        side = max(weight[2:])
        size = next(limit for limit in (3, 5, 7, 10**9) if side <= limit)
        name = f"{mark}depthwise{size if size < 9 else 9}"
        found = {f"{name}_bytes": read + written, f"{mark}depthwise_macs": times * rates.plain_macs(prod(made) * taps)}
        return found | ({f"{mark}depthwise_strided_bytes": read} if prod(stride) > 1 else {})
    if groups > 1:
        filled = _filled(rows, outputs, inputs, 32, 16) * taps * groups * times
        return {f"{mark}grouped_macs": rates.macs(filled), f"{mark}grouped_bytes": read + written}
    name = "conv1" if taps == 1 else "conv"
    if inputs <= 4:
        name = "stem"
    elif taps > 1 and taps == prod(stride) and taps == prod(weight[2:]):
        name = "patch"
    macs = rates.macs(_filled(rows, outputs, inputs, _COLUMNS, _DEPTH) * taps * times)
    found = {f"{mark}{name}_macs": macs, f"{mark}{name}_in_bytes": read, f"{mark}{name}_out_bytes": written}
    if taps == 9 and name == "conv":
        found[f"{mark}conv3x3_macs"] = macs
    if prod(stride) > 1 and name in ("conv1", "conv"):
        found[f"{mark}conv_strided_bytes"] = read
    return found


def _matrix(name: str, rows: int, outputs: int, inputs: int, step: Step, rates: _Rates) -> dict[str, float]:
    found = {
        f"{name}_macs": rates.macs(_filled(rows, outputs, inputs, 128, _DEPTH)),
        f"{name}_bytes": rates.moved(step),
    }
    if inputs % 8 or outputs % 8:  # tensor cores take rows of 16 bytes
        found[f"{name}_uneven_macs"] = rates.macs(step.macs)
    return found


def _product(step: Step, rates: _Rates) -> dict[str, float]:
    if step.target in ("mm", "addmm") and len(step.inputs) >= 2 and all(len(s) == 2 for s in step.inputs[-2:]):
        left, right = step.inputs[-2:]
        return _matrix("linear", left[0], right[1], left[1], step, rates)
    name = "attention" if "attention" in step.target else "matmul"
    name = f"back_{name}" if step.backward else name
    return {f"{name}_macs": rates.macs(step.macs), f"{name}_bytes": rates.moved(step)}


def _moved(step: Step, rates: _Rates) -> dict[str, float]:
    moved = rates.moved(step)
    name = _ALIAS.get(step.target, step.target) if step.target in _OWN else step.family
    if step.target in ("add", "mul") and len(step.inputs) > 1 and prod(step.inputs[0]) != prod(step.inputs[1]):
        name += "_broadcast"
    elif step.in_place and step.target in ("relu", "add", "silu"):
        name += "_in_place"
    found = {f"{name}_bytes": moved}
    if "s" in step.layouts or ("c" in step.layouts and "l" in step.layouts):
        found["strided_bytes"] = moved
    return found


def _kernels(step: Step) -> float:
    """Kernels that one step starts: an optimiser's list counts as one each 100 tensors, a gradient as two."""
    if step.family == "optimizer":
        return 1 + len(step.inputs) / 100
    return 2.0 if step.target == "convolution_backward" else 1.0


def _filled(rows: int, columns: int, depth: int, column_tile: int, depth_tile: int) -> float:
    """rows x columns x depth with each filled up to whole tiles."""

    def up(size: int, tile: int) -> int:
        return -(-size // tile) * tile

    return float(up(rows, _ROWS)) * up(columns, column_tile) * up(depth, depth_tile)
