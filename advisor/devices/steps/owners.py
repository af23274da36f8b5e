"""Which module a step belongs to: in the forward pass, in the backward pass, and in the optimiser's update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from advisor.recording import Paths


class Owners:
    """Asked once for each step of a run, in order; `modules` are the answers.

    Forward steps belong to the module that runs. Backward ones belong to the module in whose forward pass autograd made
    their node: nodes are numbered in the order in which they are made, and the number says which forward step made one.
    An update belongs to the module of the parameter that it ends with (momentum first, then the weight).

    Args:
        paths: follows the forward pass.
        module: whose parameters are updated; as it is during the run.
    """

    def __init__(self, paths: Paths, module: torch.nn.Module) -> None:
        self.modules: list[str] = []
        self._paths = paths
        self._made_in: dict[int, str] = {}  # number of a node → module
        self._last = _nodes_made()
        self._backward = ""  # the module of the last backward step, "" before any
        self._went_back = False
        self._held = {
            _memory(tensor): name.rpartition(".")[0]
            for name, tensor in module.named_parameters(remove_duplicate=False)
            if not tensor.is_meta
        }
        self._pending: list[int] = []  # update steps whose parameter has not come yet

    def note(self, args: tuple[Any, ...]) -> None:
        """A step has run with these arguments."""
        node = torch._C._current_autograd_node()
        if node is not None:
            self._went_back = True
            number = getattr(node, "_sequence_nr", int)()
            # What only adds up gradients has no number of its own.
            self._backward = self._made_in.get(number, self._backward)
            self.modules.append(self._backward)
            return
        here = self._paths.here
        made = _nodes_made()
        for number in range(self._last, made):
            self._made_in[number] = here
        self._last = made
        self.modules.append(here)
        if self._went_back and not here:
            self._update(args)

    def _update(self, args: tuple[Any, ...]) -> None:
        self._pending.append(len(self.modules) - 1)
        first = args[0] if args else None
        owner = self._held.get(_memory(first)) if isinstance(first, torch.Tensor) else None
        if owner is not None:
            for index in self._pending:
                self.modules[index] = owner
            self._pending.clear()


def _nodes_made() -> int:
    found: int = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
    return found


def _memory(tensor: torch.Tensor) -> int | None:
    try:
        address: int = tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None
    return address
