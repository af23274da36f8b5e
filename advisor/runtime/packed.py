"""Masked layers that train: only the kept values are a parameter, and every forward pass scatters them into place.

A masked weight cannot drift from zero under any optimiser, momentum or weight decay, because it does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from advisor.errors import PlanError


class Packed(nn.Module):
    """The parametrization: values `K U` ↔ a dense weight that is zero elsewhere.

    `U` is the longest run of trailing weights that the mask keeps or drops together (all taps of a connection), so that
    one index moves `U` neighbours. In-place `index_copy_` of such rows was the fastest way to scatter on a CPU: forward
    and backward of a 512x512x3x3 weight at density 0.25, one thread: rows 2.4 ms, single values 3.4, `scatter` 4.5,
    `index_put` 7.8, `masked_scatter` 10.1; a dense weight times a mask, which optimisers would move, 2.8.
    """

    index: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        """Keeps where `mask` (bool, in the weight's stored shape) is true."""
        super().__init__()
        self.shape = tuple(mask.shape)
        self.unit = _unit(mask)
        rows = mask.reshape(-1, self.unit)[:, 0].cpu()
        # The truth beside the buffer, a bit per row: a buffer has no content on meta, and garbage after `to_empty`.
        self._bits = np.packbits(rows.numpy())
        self.register_buffer("index", self.positions().to(mask.device))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rows = values.new_zeros((prod(self.shape) // self.unit, self.unit))
        return rows.index_copy_(0, self.index, values).view(self.shape)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The kept values of a dense weight. Two axes, since Muon takes nothing else."""
        return weight.detach().reshape(-1, self.unit).index_select(0, self.index)

    def positions(self) -> torch.Tensor:
        """What `index` must hold, on the CPU."""
        return torch.from_numpy(np.unpackbits(self._bits, count=prod(self.shape) // self.unit).nonzero()[0])

    @property
    def mask(self) -> torch.Tensor:
        """The bool mask on the CPU, in the weight's stored shape."""
        rows = torch.zeros((prod(self.shape) // self.unit, self.unit), dtype=torch.bool)
        rows[self.positions()] = True
        return rows.view(self.shape)

    def extra_repr(self) -> str:
        return f"kept={self.index.numel() * self.unit} of {prod(self.shape)}"


def pack(module: nn.Module, name: str, mask: torch.Tensor) -> Packed:
    """Replaces parameter `name` of `module` by its kept values, in place; the module computes as before with zeros.

    A dense checkpoint still loads: its weight is packed on the way in.

    Raises:
        PlanError: the mask has another shape, or keeps nothing.
    """
    weight = getattr(module, name)
    if mask.shape != weight.shape:
        raise PlanError(f"mask of shape {tuple(mask.shape)} for a weight of shape {tuple(weight.shape)}")
    if not bool(mask.any()):
        raise PlanError(f"mask of shape {tuple(mask.shape)} keeps nothing; a layer needs at least one weight")
    packed = Packed(mask).to(weight.device)
    _own_class(module)
    parametrize.register_parametrization(module, name, packed)
    _forget_hook(module)
    module.register_load_state_dict_pre_hook(_fit_checkpoint)  # type: ignore[no-untyped-call]
    return packed


def pack_shared(holders: Sequence[tuple[nn.Module, str]], mask: torch.Tensor) -> None:
    """`pack` for a parameter that several modules hold (tied weights): one set of kept values, read by all."""
    (module, name), *others = holders
    for other, other_name in others:
        # A copy of its own to pack; what was tied is tied again below.
        other.register_parameter(other_name, nn.Parameter(getattr(other, other_name).detach().clone()))
    pack(module, name, mask)
    values = _chain(module, name).original
    for other, other_name in others:
        pack(other, other_name, mask)
        _chain(other, other_name).original = values


def packed_of(module: nn.Module) -> Iterator[tuple[str, Packed]]:
    """Names of the packed parameters of this very module, with what packs them."""
    if parametrize.is_parametrized(module):
        for name, chain in module.parametrizations.items():  # type: ignore[union-attr, operator]
            if isinstance(chain[0], Packed):
                yield name, chain[0]


def unpack(module: nn.Module) -> None:
    """Bakes every packed weight of the tree into a plain dense parameter with zeros, in place; ties stay tied."""
    dense: dict[int, nn.Parameter] = {}
    for child in module.modules():
        for name, _ in list(packed_of(child)):
            chain = _chain(child, name)
            values = chain.original
            if id(values) not in dense:
                with torch.no_grad():
                    dense[id(values)] = nn.Parameter(getattr(child, name).detach(), requires_grad=values.requires_grad)
            # remove_parametrizations writes into the original, which others may share.
            chain.original = nn.Parameter(values.detach().clone(), requires_grad=values.requires_grad)
            _own_class(child)
            parametrize.remove_parametrizations(child, name, leave_parametrized=True)
            child.register_parameter(name, dense[id(values)])
        if not parametrize.is_parametrized(child):
            _forget_hook(child)


def _chain(module: nn.Module, name: str) -> Any:
    return module.parametrizations[name]  # type: ignore[index]  # torch types it as Tensor | Module


def _own_class(module: nn.Module) -> None:
    """Gives a parametrized module a class that no copy shares.

    Torch keeps one property per parametrized tensor in a class made for the module, copies share that class, and
    adding or removing a parametrization of one copy changes it for all of them.
    """
    shared = type(module)
    if parametrize.is_parametrized(module):
        content = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
        module.__class__ = type(shared.__name__, shared.__bases__, content)


def _forget_hook(module: nn.Module) -> None:
    hooks = module._load_state_dict_pre_hooks
    for key in [key for key, hook in hooks.items() if getattr(hook, "hook", None) is _fit_checkpoint]:
        del hooks[key]


def _unit(mask: torch.Tensor) -> int:
    """The longest run of trailing weights that all share one bit, for every run."""
    unit = mask.numel()
    for axis in range(mask.ndim):
        unit //= mask.shape[axis]
        rows = mask.reshape(-1, unit)
        if bool((rows == rows[:, :1]).all()):
            break
    # Within the last axis that varies, equal neighbours (the columns of a block) still move together.
    for factor in (64, 32, 16, 8, 4, 2):
        if mask.shape[axis] % factor == 0:
            rows = mask.reshape(-1, unit * factor)
            if bool((rows == rows[:, :1]).all()):
                return unit * factor
    return unit


def _fit_checkpoint(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Packs a dense weight that is about to be loaded, and refuses kept values that belong elsewhere."""
    for name, packed in packed_of(module):
        dense, inner = prefix + name, f"{prefix}parametrizations.{name}."
        weight, index = state.get(dense), state.get(inner + "0.index")
        if isinstance(weight, torch.Tensor) and inner + "original" not in state:
            if tuple(weight.shape) != packed.shape:
                errors.append(f"{dense}: shape {tuple(weight.shape)} in the checkpoint, expected {packed.shape}")
                continue
            del state[dense]
            positions = packed.positions().to(weight.device)
            state[inner + "original"] = weight.reshape(-1, packed.unit).index_select(0, positions)
            state[inner + "0.index"] = positions
        elif isinstance(index, torch.Tensor) and differ(index, packed.positions()):
            errors.append(f"{dense}: keeps other connections than the checkpoint; apply the plan it was made with")


def differ(index: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a checkpoint's index names other positions than `own`, which lies on the CPU; meta tensors name none."""
    return not (index.is_meta or torch.equal(index.cpu(), own))
