"""Which attention layers of a network work on image tokens, so that hierarchical attention can take their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal, cast

from torch import nn

from advisor.patterns.hierarchical import AttentionShape

if TYPE_CHECKING:
    from advisor.network import Layer, Network, Op, Shape

# Of the layer that counts a module's attention products, as one operator or as two products; see `counting.layers`.
SUFFIXES = {"attention": ":attention", "matmul": ":matmul"}
MOST_PREFIX = 16  # class, distillation and register tokens: more tokens than that beside a map are no prefix
Kind = Literal["multihead", "timm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One attention module: its layer's name, its own, what it is, and the shape of its work."""

    layer: str
    module: str
    kind: Kind
    shape: AttentionShape
    projections: tuple[str, ...] = ()  # layers before and after it, that for the output last


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """Attention layers that may become hierarchical, and why others may not; both by the layer's name, in order."""

    able: Mapping[str, Site] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def attention_sites(network: Network) -> Sites:
    """Looks at every softmax attention of the network.

    Able are nn.MultiheadAttention that attends to its own input and timm's plain `Attention`, without masks, on tokens
    that a convolution made: its output's positions, and up to 16 tokens before them, are all there are.
    """
    able: dict[str, Site] = {}
    refused: dict[str, str] = {}
    for layer in network.layers:
        suffix = SUFFIXES.get(layer.kind, "")
        if not suffix or not layer.name.endswith(suffix):
            continue
        found = _site(network, layer, layer.name.removesuffix(suffix))
        if isinstance(found, Site):
            able[layer.name] = found
        elif found:
            refused[layer.name] = found
    return Sites(able=able, refused=refused)


def kind_of(module: nn.Module) -> Kind | str:
    """What can be replaced, or in a sentence why not."""
    name = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        if not module._qkv_same_embed_dim:
            return "its keys and values have other widths than its queries"
        if module.bias_k is not None or module.add_zero_attn:
            return "it adds a key of its own"
        return "multihead"
    if name == "Attention" and type(module).__module__ == "timm.layers.attention":
        if getattr(module, "gate", None) is not None:
            return "it is gated"
        return "timm"
    return f"{name} is neither nn.MultiheadAttention nor timm.layers.Attention"


def _site(network: Network, layer: Layer, path: str) -> Site | str:
    """The site, or why it is none; "" where it is no attention at all."""
    if network.module is None:
        return "the analysis does not hold the module"
    module = network.module.get_submodule(path)
    kind = kind_of(module)
    if kind not in ("multihead", "timm"):
        # Products of two activations are not always attention.
        return kind if layer.kind == "attention" or "attention" in type(module).__name__.lower() else ""
    heads = int(cast("Any", module).num_heads)
    runs = len(layer.calls) // (2 if layer.kind == "matmul" else 1)
    *leading, tokens, size = layer.input_shape  # (B, heads, N, d), or (B · heads, N, d)
    batch = prod(leading) // heads
    if not runs or prod(leading) % heads or layer.macs != 2 * runs * batch * heads * tokens**2 * size:
        return "its runs differ in shape, or it attends to other tokens than its own"
    if _masked(network, path):
        return "it has an attention mask"
    names = _projections(network, path, kind, tokens, heads * size)
    if not names:
        return "its queries, keys and values are not one projection of one input of the same width"
    grid = _grid(network, layer.name, tokens)
    if grid is None:
        return f"no convolution before it has an output of {tokens} positions, or of up to {MOST_PREFIX} fewer"
    shape = AttentionShape(
        channels=heads * size,
        heads=heads,
        height=grid[0],
        width=grid[1],
        prefix=tokens - grid[0] * grid[1],
        images=batch * runs,
    )
    return Site(
        layer=layer.name, module=path, kind="timm" if kind == "timm" else "multihead", shape=shape, projections=names
    )


def _masked(network: Network, path: str) -> bool:
    for op in network.ops.ops:
        if op.module != path:
            continue
        if op.target.startswith("aten.baddbmm") or (op.target.startswith("aten.add") and _is_scores(network, op)):
            return True
        if "attention" in op.target:
            mask = op.kwargs.get("attn_mask", op.args[3] if len(op.args) > 3 else None)
            causal = op.kwargs.get("is_causal", op.args[5] if len(op.args) > 5 else False)
            if mask is not None or causal:
                return True
    return False


def _is_scores(network: Network, op: Op) -> bool:
    """Whether an addition's result is one number for each pair of tokens, so that what is added is a mask or a bias."""
    shape = network.ops.values[op.outputs[0]].shape
    return len(shape) >= 3 and shape[-1] == shape[-2]


def _projections(network: Network, path: str, kind: str, tokens: int, channels: int) -> tuple[str, ...]:
    """Names of the layers that make queries, keys and values in one go, and that read what attention gives."""
    first, last = (path, f"{path}.out_proj") if kind == "multihead" else (f"{path}.qkv", f"{path}.proj")
    layers = {layer.name: layer for layer in network.sparsifiable}
    if first not in layers or last not in layers:
        return ()
    into, out = layers[first].weight_shape, layers[last].weight_shape
    # One call for queries, keys and values together: they are made of one input.
    once = layers[first].output_shape[-1] == 3 * channels and tokens in layers[first].output_shape
    return (first, last) if once and into == (3 * channels, channels) and out == (channels, channels) else ()


def _grid(network: Network, name: str, tokens: int) -> tuple[int, int] | None:
    """Height and width of the last convolution before the layer whose positions are the tokens, but for a prefix."""
    found: Shape | None = None
    for layer in network.layers:
        if layer.name == name:
            break
        if layer.kind == "conv2d" and len(layer.output_shape) == 4:
            positions = layer.output_shape[2] * layer.output_shape[3]
            if positions <= tokens <= positions + MOST_PREFIX:
                found = layer.output_shape
    return (found[2], found[3]) if found is not None else None
