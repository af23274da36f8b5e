"""What each layer of a network reads whatever its input is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map

from advisor.errors import ModelError
from advisor.trace import evaluation
from validation.methods.filters.unknowing import Unknowing

if TYPE_CHECKING:
    from advisor.network import Network


def constant_inputs(network: Network, module: nn.Module) -> Mapping[str, tuple[Tensor, ...]]:
    """Layer → what each of its calls reads: constants, and NaN wherever the network's input has a say.

    Args:
        network: the analysis; its layers that are modules are looked at.
        module: on real numbers, left as it was; looked at in evaluation mode.

    Returns:
        For each call (C *spatial) of a convolution or (... C) of a linear layer, without the batch.

    Raises:
        ModelError: the network takes other than floating inputs, or its way depends on them.
    """
    inputs = sample_like(network, module, math.nan)
    found: dict[str, list[Tensor]] = defaultdict(list)
    hooks = []
    for layer in network.sparsifiable:
        if layer.is_module:

            def keep(_: nn.Module, args: tuple[Any, ...], name: str = layer.name) -> None:
                if args and isinstance(args[0], Tensor):
                    found[name].append(args[0].detach()[0].clone())

            hooks.append(module.get_submodule(layer.name).register_forward_pre_hook(keep))
    try:
        with torch.no_grad(), evaluation(module), Unknowing():  # type: ignore[no-untyped-call]
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: tuple(calls) for name, calls in found.items()}


def sample_like(network: Network, module: nn.Module, value: float | None, seed: int = 0) -> tuple[Any, ...]:
    """Inputs in the network's shapes, in the module's precision and place: `value` everywhere, or random for None.

    Raises:
        ModelError: the network takes other than floating inputs.
    """
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)

    def filled(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        if value is not None:
            return torch.full(item.shape, value, dtype=like.dtype, device=like.device)
        return torch.randn(item.shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)

    if like.is_meta or any(
        isinstance(t, Tensor) and not t.is_floating_point() for t in tree_iter(network.example_inputs)
    ):
        what = "weights without values (meta tensors)" if like.is_meta else "an input of whole numbers"
        raise ModelError(f"{network.name} has {what}; filters are looked for in networks of real-valued images")
    inputs: tuple[Any, ...] = tree_map(filled, network.example_inputs)
    return inputs
