"""Batch norm folded into the layer before it: what a network looks like when it is deployed."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from advisor.counting.arguments import base_name, operands
from advisor.runtime.sparse import Sparse, SparseLinear

if TYPE_CHECKING:
    from advisor.network import Network, Op

_STANDARD = {kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)} | {
    kind.forward for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
}
_NORMS = {kind.forward for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)}
# Operators that only look at a tensor; a layer recorded as views around one product is still one call.
_PRODUCTS = {"convolution", "conv1d", "conv2d", "conv3d", "linear", "addmm", "mm", "matmul", "bmm"} | {
    f"conv_transpose{n}d" for n in (1, 2, 3)
}


def fold(module: nn.Module, network: Network | None = None) -> nn.Module:
    """A copy of `module` in evaluation mode, without the batch norms that directly follow a convolution or linear.

    Norms are replaced by `nn.Identity`; one that also activates (timm) by its activation. A norm that comes before its
    convolution (DenseNet), that reads a shared layer, or whose input others read too, stays.

    Args:
        module: the network's module, or one with the same structure (narrowed, sparse).
        network: the analysis that says who feeds whom; without it only neighbours in an `nn.Sequential` are folded.
    """
    folded = copy.deepcopy(module).eval()
    pairs = list(normed_pairs(folded, network) if network is not None else _pairs_from_sequences(folded))
    replaced: dict[int, nn.Module] = {}
    for layer, norm in pairs:
        if can_fold(layer, norm):
            _merge(layer, norm)
            replaced[id(norm)] = _remainder(norm)
    for parent in folded.modules():
        for name, child in parent._modules.items():
            if child is not None and id(child) in replaced:
                parent._modules[name] = replaced[id(child)]
    return folded


def has_norms(module: nn.Module) -> bool:
    """Whether there is anything that `fold` could fold."""
    return any(isinstance(child, _BatchNorm) or _is_frozen(child) for child in module.modules())


def normed_pairs(module: nn.Module, network: Network) -> Iterator[tuple[nn.Module, nn.Module]]:
    """(layer, norm) where the norm alone reads what the layer made, and each runs once."""
    modules = dict(module.named_modules(remove_duplicate=False))
    readers: dict[int, list[Op]] = defaultdict(list)
    runs: dict[int, list[Op]] = defaultdict(list)
    for op in network.ops.ops:
        for index in operands(op):
            readers[index].append(op)
        if op.module in modules:
            runs[id(modules[op.module])].append(op)
    held = Counter(id(p) for child in module.modules() for p in child._parameters.values() if p is not None)
    direct = {layer.name for layer in network.sparsifiable}
    for name, layer in modules.items():
        ops = runs.get(id(layer), [])
        products = [op for op in ops if base_name(op.target) in _PRODUCTS]
        if len(products) != 1 or not (name in direct or isinstance(layer, Sparse)) or not ops[-1].outputs:
            continue
        made = ops[-1].outputs[0]
        after = readers[made]
        if len(after) != 1 or made in network.ops.outputs or after[0].module not in modules:
            continue
        norm = modules[after[0].module]
        entries = [op for op in runs[id(norm)] if _reads_from_outside(op, runs[id(norm)], network)]
        shape = network.ops.values[made].shape
        channels_second = len(shape) == (2 if _is_linear(layer) else layer.weight.dim())
        shared = any(held[id(p)] > 1 for part in (layer, norm) for p in part._parameters.values() if p is not None)
        if entries == after and channels_second and not shared and _runs_once(runs[id(norm)], network):
            yield layer, norm


def _runs_once(inside: list[Op], network: Network) -> bool:
    """Whether no buffer is read twice: a norm called on its own output reads nothing else from outside."""
    values = network.ops.values
    reads = Counter(index for op in inside for index in set(operands(op)) if values[index].origin == "buffer")
    return max(reads.values(), default=0) == 1


def _reads_from_outside(op: Op, inside: list[Op], network: Network) -> bool:
    """Whether an operator of a module reads an activation that the module did not make itself."""
    own = {index for other in inside for index in other.outputs}
    values = network.ops.values
    return any(index not in own and values[index].origin in ("op", "input") for index in operands(op))


def _pairs_from_sequences(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    uses = Counter(id(child) for parent in module.modules() for child in parent._modules.values())
    held = Counter(id(p) for child in module.modules() for p in child._parameters.values() if p is not None)
    for parent in module.modules():
        if type(parent).forward is not nn.Sequential.forward:
            continue
        for layer, norm in pairwise(parent._modules.values()):
            if layer is None or norm is None:
                continue
            once = uses[id(layer)] == uses[id(norm)] == 1
            if once and isinstance(layer, _ConvNd) and all(held[id(p)] == 1 for p in layer.parameters()):
                yield layer, norm


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | SparseLinear)


def _is_frozen(norm: nn.Module) -> bool:
    return type(norm).__name__ == "FrozenBatchNorm2d"  # torchvision's and detectron's: buffers instead of parameters


def _activates(norm: nn.Module) -> bool:
    return type(norm).__name__.startswith("BatchNormAct") and {"drop", "act"} <= norm._modules.keys()  # timm


def can_fold(layer: nn.Module, norm: nn.Module) -> bool:
    plain = type(norm).forward in _NORMS or isinstance(norm, nn.SyncBatchNorm)
    known = isinstance(norm, _BatchNorm) and (plain or _activates(norm))
    if not (known or _is_frozen(norm)) or getattr(norm, "running_mean", None) is None:
        return False
    if not ("weight" in layer._parameters and "bias" in layer._parameters):
        return False
    if norm._buffers["running_mean"].numel() != _outputs(layer):  # type: ignore[union-attr]
        return False
    if isinstance(layer, Sparse):
        return layer.activation == "none"
    return type(layer).forward in _STANDARD or _adds_its_bias(layer)


def _adds_its_bias(layer: nn.Module) -> bool:
    """Whether a layer with its own forward (timm's padded convolutions) adds whatever stands in `bias`: tried out."""
    if not isinstance(layer, _ConvNd | nn.Linear) or layer.weight.is_meta:
        return False
    trial = copy.deepcopy(layer)
    wanted = torch.arange(1, _outputs(layer) + 1, dtype=layer.weight.dtype, device=layer.weight.device)
    trial.bias = nn.Parameter(wanted)
    sizes = [1, layer.in_channels] if isinstance(layer, _ConvNd) else [1, layer.in_features]
    if isinstance(layer, _ConvNd):
        sizes += [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    try:
        with torch.no_grad():
            out = trial(wanted.new_zeros(sizes))
    except Exception:
        return False
    return bool((out == wanted.view(1, -1, *(1,) * (out.dim() - 2))).all())


def _outputs(layer: nn.Module) -> int:
    if isinstance(layer, Sparse):
        return layer.dense_shape[0]
    weight: torch.Tensor = layer._parameters["weight"]  # type: ignore[assignment]
    groups = layer.groups if isinstance(layer, _ConvTransposeNd) else 1
    return weight.shape[1] * groups if isinstance(layer, _ConvTransposeNd) else weight.shape[0]


def _merge(layer: Any, norm: Any) -> None:
    """w' = w * s and b' = (b - mean) * s + shift with s = scale / sqrt(var + eps), in float64."""
    with torch.no_grad():
        weight = layer.weight.double()
        s = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            s = s * norm.weight.double()
        bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
        bias = bias * s
        if norm.bias is not None:
            bias = bias + norm.bias.double()
        if isinstance(layer, _ConvTransposeNd):
            # Stored (in, out/groups, *kernel): the inputs of group g make its share of the outputs.
            grouped = weight.view(layer.groups, -1, *weight.shape[1:])
            factors = s.view(layer.groups, 1, -1, *(1,) * (weight.dim() - 2))
            scaled = (grouped * factors).view(weight.shape)
        elif isinstance(layer, Sparse):
            scaled = weight * layer.by_row(s)
        else:
            scaled = weight * s.view(-1, *(1,) * (weight.dim() - 1))
        layer.weight = nn.Parameter(scaled.to(layer.weight.dtype), layer.weight.requires_grad)
        layer.bias = nn.Parameter(bias.to(layer.weight.dtype), layer.weight.requires_grad)


def _remainder(norm: nn.Module) -> nn.Module:
    if _activates(norm):
        return nn.Sequential(norm.drop, norm.act).eval()  # type: ignore[arg-type]
    return nn.Identity().eval()
