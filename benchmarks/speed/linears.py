"""Section linear: the linear layers of a network, sparse beside dense."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from advisor.commands.network import open_network
from advisor.runtime.connections import Connections
from speed.clock import Work, interleaved
from speed.contenders import Kind, check, connections, thinned


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of a network, for one image or sequence: `rows` vectors of `inputs` numbers."""

    inputs: int
    outputs: int
    rows: int
    bias: bool

    @property
    def label(self) -> str:
        return f"{self.inputs}>{self.outputs} x{self.rows}"


def linears(model: str) -> Counter[Linear]:
    """How often each is run."""
    found: Counter[Linear] = Counter()
    for layer in open_network(model, None).sparsifiable:
        if layer.kind == "linear" and layer.is_module:
            for call in layer.calls:
                rows = prod(call.input_shape[:-1])
                found[Linear(layer.in_channels, layer.out_channels, rows, layer.bias)] += 1
    return found


def measure(
    networks: Sequence[str],
    *,
    kinds: Sequence[Kind],
    densities: Sequence[float],
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int,
    only: str,
) -> Iterator[dict[str, object]]:
    """A row for each distinct layer and way of running it."""
    for network in networks:
        layers = [item for item in linears(network).items() if only in item[0].label]
        for batch in batches:
            for layer, count in tqdm(layers, desc=f"{network} linear", file=sys.stderr, leave=False):
                works, rivals = _contenders(layer, batch, kinds, densities)
                for number in threads:
                    with torch.inference_mode():
                        ms = interleaved(works, threads=number, repeats=repeats)
                    best = min(ms[name] for name in rivals)
                    flops = 2 * batch * layer.rows * layer.inputs * layer.outputs
                    for how, time in ms.items():
                        share = 1.0 if how in rivals else float(how.rpartition(" ")[2])
                        row = {"network": network, "batch": batch, "threads": number, "layer": layer.label}
                        row |= {"count": count, "how": how, "ms": time, "over_eager": ms["eager"] / time}
                        yield row | {"over_best": best / time, "gflops": share * flops / time / 1e6}


@torch.inference_mode()
def _contenders(
    layer: Linear, batch: int, kinds: Sequence[Kind], densities: Sequence[float]
) -> tuple[dict[str, Work], tuple[str, ...]]:
    torch.manual_seed(0)
    module = nn.Linear(layer.inputs, layer.outputs, layer.bias).requires_grad_(False)
    x = torch.randn(batch * layer.rows, layer.inputs)
    works: dict[str, Work] = {"eager": lambda: module(x)}
    works |= _packed(module, x)
    rivals = tuple(works)
    for kind in kinds:
        for density in densities:
            works[f"{kind.name} {density:g}"] = _sparse(
                module, x, connections(layer.inputs, layer.outputs, kind, density)
            )
    for density in densities:
        kept = np.random.default_rng(0).random((layer.outputs, layer.inputs)) < density
        works[f"unstructured {density:g}"] = _sparse(module, x, Connections.from_units(kept, 1))
    return works, rivals


def _sparse(module: nn.Module, x: Tensor, chosen: Connections) -> Work:
    layer = thinned(module, chosen)
    check(layer, x, repr(layer))
    return lambda: layer(x)


def _packed(module: nn.Linear, x: Tensor) -> dict[str, Work]:
    """Weights packed beforehand, by oneDNN and by MKL, as inductor packs them."""
    weight, bias, found = module.weight.detach(), module.bias, {}
    if torch.backends.mkldnn.is_available():
        one = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        found["packed"] = lambda: torch.ops.mkldnn._linear_pointwise(x, one, bias, "none", [], "")
    if torch.backends.mkl.is_available() and hasattr(torch.ops.mkl, "_mkl_linear"):
        two = torch.ops.mkl._mkl_reorder_linear_weight(weight, len(x))
        found["packed, mkl"] = lambda: torch.ops.mkl._mkl_linear(x, two, weight, bias, len(x))
    return found
