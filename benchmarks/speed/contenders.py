"""What runs against what on one layer: four ways that torch has to run it dense, and our sparse ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from advisor.runtime.connections import Connections
from advisor.runtime.sparse import sparse
from speed.clock import Work

DENSE = ("eager", "last", "packed", "packed last")
_LAST = torch.channels_last


def dense(module: nn.Conv2d, x: Tensor, *, compiled: bool = False) -> dict[str, Work]:
    """Plain eager, channels-last, and both with the weights packed by oneDNN beforehand, as inductor packs them."""
    found: dict[str, Work] = {"eager": lambda: module(x)}
    last, x_last = nn.Conv2d.__new__(nn.Conv2d), x.contiguous(memory_format=_LAST)
    last.__dict__.update(module.__dict__)
    last._parameters = dict(module._parameters)
    last.weight = nn.Parameter(module.weight.detach().contiguous(memory_format=_LAST), requires_grad=False)
    found["last"] = lambda: last(x_last)
    if torch.backends.mkldnn.is_available():
        found["packed"] = _packed(module, x)
        found["packed last"] = _packed(last, x_last)
    if compiled:
        found["compiled"] = _compiled(module, x)
    return found


def _packed(module: nn.Conv2d, x: Tensor) -> Work:
    at = (list(module.padding), list(module.stride), list(module.dilation), module.groups)
    weight = torch._C._nn.mkldnn_reorder_conv2d_weight(module.weight.detach().to_mkldnn(), *at, list(x.shape))
    run, bias = torch.ops.mkldnn._convolution_pointwise, module.bias
    return lambda: run(x, weight, bias, *at, "none", [], "")


def _compiled(module: nn.Module, x: Tensor) -> Work:
    """By inductor, with the weights frozen into the program: what it does best for inference."""
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    with inductor.patch(freezing=True):
        program = torch.compile(module)
        program(x)
    return lambda: program(x)


@dataclass(frozen=True, slots=True)
class Kind:
    """A pattern: `block` outputs share a list of inputs, 1 for `channel`."""

    name: str
    block: int

    @classmethod
    def of(cls, word: str) -> Kind:
        """From "channel", "group4", "group16"."""
        if word == "channel":
            return cls("channel", 1)
        if word.startswith("group") and word[5:].isdigit() and int(word[5:]) > 0:
            return cls(word, int(word[5:]))
        raise ValueError(f"pattern {word!r}; expected channel, or group and its outputs per block: group16")

    def block_for(self, outputs: int) -> int:
        """The block asked for, halved until it divides the outputs."""
        block = self.block
        while outputs % block:
            block //= 2
        return block


def connections(inputs: int, outputs: int, kind: Kind, density: float, seed: int = 0) -> Connections:
    """ceil(density * inputs) inputs for each block, drawn uniformly."""
    block, kept = kind.block_for(outputs), int(np.ceil(density * inputs - 1e-9))
    generator = np.random.default_rng(seed)
    lists = [np.sort(generator.choice(inputs, kept, replace=False)) for _ in range(outputs // block)]
    return Connections.of(np.arange(len(lists) + 1) * kept, np.concatenate(lists), block)


def thinned(module: nn.Module, chosen: Connections) -> nn.Module:
    """The sparse layer as a plan applies it, gradients as in `module`."""
    return sparse(module, chosen.indptr, chosen.inputs, chosen.block, method="direct")


def check(layer: nn.Module, x: Tensor, what: str) -> None:
    """Stops where a sparse layer's output is not its dense layer's: times of wrong results are worth nothing."""
    got, expected = layer(x), layer.to_dense()(x)  # type: ignore[operator]
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= 1e-5:
        raise ArithmeticError(f"{what}: relative error {error:.2g} against the masked dense layer; expected 1e-5")
