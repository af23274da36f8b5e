"""What dense convolutions take inside: oneDNN's reordered copies, or the columns of torch's own.

In the usual order of axes oneDNN computes on blocks of channels: the input, the weight and the output each exist a
second time while it runs, and the output is then copied back. Which path runs says torch itself
(`_select_conv_backend`); which operands are copied was read off oneDNN's own log (ONEDNN_VERBOSE=1, oneDNN 3.12, AVX2)
and off the allocator (torch.profiler), operator by operator, for batch 1 to 8 and one and two threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from advisor.devices.memory.scratch import Call, Scratch, nbytes, rule

# Resident growth of a process per new convolution, in the middle of 20 shapes (64 to 112 KB forward; 144 to 388 KB with
# both gradients): the machine code of the convolution and of the reorders around it. oneDNN 3.12, AVX2.
FORWARD_CODE_BYTES, BACKWARD_CODE_BYTES = 92_000, 145_000
_FLOATS = (torch.float32,)


def channel_block() -> int:
    """Channels that oneDNN keeps beside each other on this CPU: a vector of float32."""
    return 16 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 8


def backend_of(args: Any, bias_sizes: Any = None) -> str:
    """Torch's own choice: "Mkldnn", "Slow2d", ...; "" where this torch does not say."""
    select = getattr(torch._C, "_select_conv_backend", None)
    if select is None:
        return ""
    geometry = (args["stride"], args["padding"], args["dilation"], args["transposed"], args["output_padding"])
    try:
        chosen = select(args["input"], args["weight"], args.get("bias"), *geometry, args["groups"], bias_sizes)
    except (RuntimeError, TypeError):
        return ""
    return str(chosen.name)


@rule("aten.convolution.default")
def _forward(call: Call) -> Scratch:
    x, weight, out = call.args["input"], call.args["weight"], call.outputs[0]
    if x.device.type != "cpu":
        return Scratch(unknown="cuDNN's workspace of convolutions")
    backend = backend_of(call.args)
    if backend.startswith("Slow"):
        return Scratch(inside=_columns(x, weight, out, call.args) + nbytes(out) + _uncontiguous(x))
    if not backend.startswith("Mkldnn") or x.dtype not in _FLOATS:
        return Scratch(unknown=f"the scratch of convolutions by {backend or 'an unnamed backend'} in {x.dtype}")
    sizes = _Copies(x, weight, out, call.args)
    # First the copies of all three and what the kernel takes; then the output's copy beside the output.
    first = sizes.x + sizes.weight + sizes.out + sizes.forward_scratch()
    inside = max(first, sizes.out + nbytes(out)) if sizes.blocked else first + (nbytes(out) if sizes.twice else 0)
    return Scratch(inside=inside + _uncontiguous(x), compiled=FORWARD_CODE_BYTES)


@rule("aten.convolution_backward.default")
def _backward(call: Call) -> Scratch:
    grad, x, weight = call.args["grad_output"], call.args["input"], call.args["weight"]
    if x.device.type != "cpu":
        return Scratch(unknown="cuDNN's workspace of convolutions")
    wants_x, wants_weight, _ = call.args["output_mask"]
    to_x, to_weight = nbytes(x) if wants_x else 0, nbytes(weight) if wants_weight else 0
    backend = backend_of(call.args, call.args["bias_sizes"])
    if backend.startswith("Slow"):
        return Scratch(inside=to_x + to_weight + _columns(x, weight, grad, call.args) + _uncontiguous(grad))
    if not backend.startswith("Mkldnn") or x.dtype not in _FLOATS:
        return Scratch(unknown=f"the scratch of convolutions by {backend or 'an unnamed backend'} in {x.dtype}")
    sizes = _Copies(x, weight, grad, call.args)
    moments = [0]
    if wants_x:
        copy = sizes.whole_x
        # Strided ones are computed with channels last, and copied back by way of a third tensor.
        back = 2 * to_x if sizes.turned_back else to_x
        moments += [sizes.out + sizes.weight + copy + sizes.input_scratch(), copy + back]
    if wants_weight:
        copy = sizes.weight or to_weight
        moments += [to_x + sizes.out + sizes.x + copy + sizes.weight_scratch(), to_x + copy + to_weight]
    inside = max(moments) + _uncontiguous(grad)
    return Scratch(inside=inside, compiled=BACKWARD_CODE_BYTES)


class _Copies:
    """Bytes of oneDNN's own copies of the three operands of one convolution (`out` is the gradient when going back)."""

    def __init__(self, x: Any, weight: Any, out: Any, args: Any) -> None:
        block = channel_block()
        self.groups = int(args["groups"])
        axis = 0 if args["transposed"] else 1
        inputs, outputs = x.shape[1], out.shape[1]
        self._x, self._weight, self._out, self._args = x, weight, out, args
        each_in, each_out = inputs // self.groups, outputs // self.groups
        self.depthwise = self.groups > 1 and each_in == each_out == 1
        last = _is_channels_last(x) or _is_channels_last(weight)
        uneven = self.groups > 1 and not self.depthwise and (each_in % block or each_out % block)
        # Uneven groups run as a product over columns, on the tensors as they are.
        self.by_columns = bool(uneven)
        self.blocked = not last and not self.by_columns
        self.twice = self.by_columns and not last
        self.turned_back = self.blocked and not self.depthwise and max(args["stride"]) > 1
        first = self.groups == 1 and each_in < 8  # images: read in their own order
        self.whole_x = _padded(x, block) if self.blocked else (nbytes(x) if self.twice else 0)
        self.x = 0 if first or not self.blocked else self.whole_x
        self.out = _padded(out, block) if self.blocked else (nbytes(out) if self.twice and axis == 1 else 0)
        self.weight = 0 if self.by_columns else self._padded_weight(block, first)

    def _padded_weight(self, block: int, first: bool) -> int:
        shape = list(self._weight.shape)
        if self.depthwise:
            shape[0] = _up(shape[0], block)
        elif self.groups == 1:
            shape[0] = _up(shape[0], block)
            shape[1] = shape[1] if first else _up(shape[1], block)
        return int(prod(shape) * self._weight.element_size())

    def forward_scratch(self) -> int:
        if self.by_columns:
            return self._column_scratch()
        taps = prod(self._weight.shape[2:])
        if taps == 1 and max(self._args["stride"]) > 1 and self.groups == 1:
            # A strided 1x1 layer gathers the positions that it reads, an image at a time.
            return int(self._threads() * self._x.shape[1] * prod(self._out.shape[2:]) * 4)
        return 0

    def input_scratch(self) -> int:
        if self.by_columns:
            return self._column_scratch()
        if self.turned_back:
            return self._threads() * nbytes(self._out) // max(int(self._out.shape[0]), 1)  # an image of the gradient
        return 0

    def weight_scratch(self) -> int:
        """Partial sums of each thread."""
        if self.by_columns:
            return self._column_scratch() + (self._threads() - 1) * nbytes(self._weight)
        return self._threads() * nbytes(self._weight) if self._threads() > 1 else 0

    def _column_scratch(self) -> int:
        """Columns of one group of one image, in parts that suit the second cache: about 0.4 MB."""
        columns = int(self._weight.shape[1]) * prod(self._weight.shape[2:]) * prod(self._out.shape[2:]) * 4
        return int(self._threads() * min(columns, 400_000))

    @staticmethod
    def _threads() -> int:
        return torch.get_num_threads()


def _columns(x: Any, weight: Any, out: Any, args: Any) -> int:
    """Torch's own convolution writes out what each position reads, of all images; a plain 1x1 layer needs none."""
    plain = max(args["stride"]) == 1 and not any(args["padding"])
    if prod(weight.shape[2:]) == 1 and plain:
        return 0
    per_position: int = int(x.shape[1]) * prod(weight.shape[2:])
    positions = x.shape[2:] if args["transposed"] else out.shape[2:]
    return int(x.shape[0] * per_position * prod(positions) * x.element_size())


def _padded(tensor: Any, block: int) -> int:
    shape: Sequence[int] = tensor.shape
    return shape[0] * _up(shape[1], block) * prod(shape[2:]) * int(tensor.element_size())


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _is_channels_last(tensor: Any) -> bool:
    if tensor.dim() not in (4, 5) or tensor.is_contiguous():
        return False
    order = torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
    return bool(tensor.is_contiguous(memory_format=order))


def _uncontiguous(tensor: Any) -> int:
    """A convolution copies an input that lies in no order that it knows."""
    return 0 if tensor.is_contiguous() or _is_channels_last(tensor) else nbytes(tensor)
