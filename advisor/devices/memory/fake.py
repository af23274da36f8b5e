"""A network's twin on fake tensors: the same code, the same sharing of storages, and no memory."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only


class Twins:
    """Makes fake tensors that share storages where the tensors that they stand for do."""

    def __init__(self, mode: FakeTensorMode, device: str) -> None:
        self._mode, self._device = mode, device
        self._storages: dict[Any, torch.Tensor] = {}
        self._made: dict[int, torch.Tensor] = {}

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The fake tensor that stands for `tensor`, always the same one; parameters stay parameters."""
        if id(tensor) not in self._made:
            with self._mode, torch.no_grad():
                made = self._view(tensor)
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, tensor.requires_grad)
            elif tensor.requires_grad and tensor.is_floating_point():
                made.requires_grad_()
            self._made[id(tensor)] = made
        return self._made[id(tensor)]

    def _view(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout != torch.strided:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        storage = tensor.untyped_storage()
        key = (storage._cdata, tensor.dtype)
        if key not in self._storages:
            elements = storage.nbytes() // max(tensor.element_size(), 1)
            self._storages[key] = torch.empty(elements, dtype=tensor.dtype, device=self._device)
        return self._storages[key].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def module(self, module: nn.Module) -> nn.Module:
        """A copy of the module, its tensors fake; one that is registered nowhere, but an attribute, too."""
        # Deep copies look up in the memo what they have copied already: here, every tensor.
        memo: dict[int, Any] = {}
        for child in module.modules():
            held = (*child._parameters.values(), *child._buffers.values(), *vars(child).values())
            memo |= {id(t): self.of(t) for t in held if isinstance(t, torch.Tensor)}
        return copy.deepcopy(module, memo)

    def inputs(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same inputs, their tensors fake."""
        made: tuple[Any, ...] = tree_map_only(torch.Tensor, self.of, inputs)
        return made
