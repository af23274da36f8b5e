"""What all sparse layers share: storage, checkpoints, and by which method a call runs."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from advisor.errors import PlanError, unknown
from advisor.runtime import sparse_reference as reference
from advisor.runtime.connections import Connections
from advisor.runtime.methods import GATHER_BLOCK
from advisor.runtime.packed import differ
from advisor.runtime.sparse_kernels import has_kernels, types_of

SparseMethod = Literal["direct", "gather", "dense"]


class Sparse(nn.Module):
    """A layer with `weight` (rows, *kernel, B): the kept weights in the order in which the kernels read them.

    Attributes:
        indptr: (blocks + 1,) and `inputs` (rows,), int32: which input channels each block of B outputs reads.
        method: "direct" (the sparse kernels of the device), "gather" (inputs picked by index, then a small dense
            product per block; lists of one length), "dense" (zeros filled in at each call). Where a method cannot
            run (no kernels, another type than float32), the next one does: `runs_by` says which.
        activation: applied to the output: "none", "relu", "relu6" or "silu".
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    indptr: Tensor
    inputs: Tensor
    groups = 1
    method: SparseMethod
    activation: str

    def _adopt(self, dense: nn.Module, connections: Connections, method: SparseMethod) -> None:
        weight = dense.get_parameter("weight")
        connections.check(tuple(weight.shape), self.groups)
        if method not in get_args(SparseMethod):
            raise PlanError(unknown("method", method, get_args(SparseMethod)))
        if method == "gather" and not connections.kept:
            raise PlanError("blocks that read different numbers of inputs cannot gather; use the method 'direct'")
        # The truth beside the buffers, which have no content on meta and garbage after `to_empty`.
        self.connections = connections
        self.dense_shape = tuple(weight.shape)
        self.method, self.activation = method, "none"
        self.blocks, self.block, self.kept = connections.blocks, connections.block, connections.kept
        for name, chosen in self.chosen().items():
            self.register_buffer(name, chosen.to(weight.device))
        self.weight = nn.Parameter(self._pick(weight.detach()), weight.requires_grad)
        self.register_parameter("bias", dense._parameters["bias"])
        self.training = dense.training
        copy_hooks(dense, self)

    def chosen(self) -> dict[str, Tensor]:
        """What `indptr` and `inputs` must hold, on the CPU."""
        held = self.connections
        return {"indptr": torch.from_numpy(held.indptr.copy()), "inputs": torch.from_numpy(held.inputs.copy())}

    def _pick(self, dense: Tensor) -> Tensor:
        chosen = {name: value.to(dense.device) for name, value in self.chosen().items()}
        return reference.kept_weight(dense, chosen["indptr"], chosen["inputs"], self.groups)

    def dense_weight(self) -> Tensor:
        """The weight in the dense layer's stored shape, zero where no connection is."""
        channels = self.dense_shape[1] * self.groups
        return reference.dense_weight(self.weight, self.indptr, self.inputs, channels, self.groups)

    def by_row(self, values: Tensor) -> Tensor:
        """A number per output (C_out,) as a factor of `weight`: (rows, 1..., B)."""
        rows, taps = len(self.weight), (1,) * (self.weight.dim() - 2)
        blocks = values.view(self.blocks, self.block)
        return blocks.repeat_interleave(self.indptr.diff(), 0, output_size=rows).view(rows, *taps, self.block)

    def to_dense(self) -> nn.Module:
        """A plain layer with `dense_weight`, tied to the same bias.

        Raises:
            PlanError: an activation was fused into this layer, which no plain layer has.
        """
        raise NotImplementedError

    def _fill(self, dense: nn.Module) -> nn.Module:
        if self.activation != "none":
            raise PlanError(
                f"{type(self).__name__} has {self.activation} fused into it; take the module from before it was fused"
            )
        dense.weight = nn.Parameter(self.dense_weight().detach(), self.weight.requires_grad)
        dense.register_parameter("bias", self.bias)
        dense.training = self.training
        copy_hooks(self, dense)
        return dense

    def runs_by(self, x: Tensor | None = None) -> SparseMethod:
        """What a call with `x` runs by, or with an input of the weight's own type and device."""
        if self.method == "direct" and self._has_kernels(self.weight if x is None else x):
            return "direct"
        if self.kept and self.method != "dense" and (self.method == "gather" or self.block >= GATHER_BLOCK):
            return "gather"
        return "dense"

    def _has_kernels(self, x: Tensor) -> bool:
        """Whether the device of `x` has kernels for this; what autocast narrowed is widened again."""
        weight = self.weight
        if forward_ad._current_level >= 0:
            return False  # the operators know no forward mode
        if x.is_cpu and weight.is_cpu and x.dtype == weight.dtype == torch.float32:
            return bool(has_kernels("cpu"))  # said again by what follows, which takes longer
        device = x.device.type
        if device == "cuda" and self.block < GATHER_BLOCK:
            return False  # its kernels fill narrower blocks up to 16: right, but more work than a dense layer's
        same = x.dtype == weight.dtype or (x.is_floating_point() and torch.is_autocast_enabled(device))
        return same and x.device == weight.device and weight.dtype in types_of(device) and has_kernels(device)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """`.to(memory_format=torch.channels_last)` means images; kept weights stay as the kernels read them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weight.is_contiguous():
            self.weight.data = self.weight.data.contiguous()
        return self

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Takes a dense layer's weight, too, and refuses kept weights of other connections."""
        weight, errors, own = state.get(prefix + "weight"), rest[-1], self.chosen()
        held = {name: state.get(prefix + name) for name in own}
        if isinstance(weight, Tensor) and tuple(weight.shape) == self.dense_shape and held["inputs"] is None:
            state[prefix + "weight"] = self._pick(weight)
            for name, chosen in own.items():
                state[prefix + name] = chosen.to(weight.device)
        elif any(isinstance(value, Tensor) and differ(value, own[name]) for name, value in held.items()):
            errors.append(
                f"{prefix}weight: reads other inputs than the checkpoint's; apply the plan that it was made with"
            )
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        channels = self.dense_shape[1] * self.groups
        density = self.weight.numel() / prod(self.dense_shape)
        after = f", activation={self.activation}" if self.activation != "none" else ""
        return (
            f"{channels}, {self.dense_shape[0]}, block={self.block}, rows={self.connections.rows}, "
            f"density={density:.3g}, method={self.method}, bias={self.bias is not None}{after}"
        )


def copy_hooks(source: nn.Module, target: nn.Module) -> None:
    """Lets the forward and backward hooks of `source` also run with `target`."""
    for side in ("forward", "backward"):
        for name in (
            f"_{side}_hooks",
            f"_{side}_pre_hooks",
            f"_{side}_hooks_with_kwargs",
            f"_{side}_pre_hooks_with_kwargs",
        ):
            if hasattr(source, name):
                getattr(target, name).update(getattr(source, name))
