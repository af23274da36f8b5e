"""Which module an operator belongs to, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Places:
    """Says which module is at work; backward, the one whose forward made the node.

    Autograd numbers its nodes in the order of their making, and makes an operator's node before it calls the operator:
    the last number given out is that of its node. Operators without one find the number of an earlier one's, which has
    its module already.
    """

    def __init__(self, module: nn.Module) -> None:
        self._names: dict[int, str] = {}
        for name, child in module.named_modules(remove_duplicate=False):
            self._names.setdefault(id(child), name)
        self._root = module
        self._stack: list[nn.Module] = []
        self._nodes: dict[int, nn.Module] = {}
        self._phase = ""

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Hooks on every module while entered."""
        handles: list[Any] = []
        for child in self._root.modules():
            handles.append(child.register_forward_pre_hook(self._enter))
            handles.append(child.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._stack.clear()

    def follow_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Its step is a place of its own, "optimizer"."""

        def phase(name: str) -> Any:
            def hook(*_: Any) -> None:
                self._phase = name

            return hook

        optimizer.register_step_pre_hook(phase("optimizer"))
        optimizer.register_step_post_hook(phase(""))

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._stack.append(module)

    def _leave(self, module: nn.Module, args: Any, out: Any) -> None:
        if self._stack:
            self._stack.pop()

    def now(self) -> tuple[str, nn.Module | None]:
        """The dotted name of the innermost module ("" is the network itself), and the module."""
        node = torch._C._current_autograd_node()
        if node is not None:
            found = self._nodes.get(node._sequence_nr())
        else:
            found = self._stack[-1] if self._stack else None
            if found is not None and torch.is_grad_enabled():
                self._nodes.setdefault(torch.autograd._get_sequence_nr() - 1, found)
        if found is None:
            return self._phase, None
        return self._names.get(id(found), ""), found
