"""Layers that keep some of their connections: the kept weights are the parameter, and kernels read nothing else."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from advisor.errors import KernelError, PlanError
from advisor.runtime import sparse_reference as reference
from advisor.runtime.connections import Connections
from advisor.runtime.sparse_kernels import geometry, kernels_of
from advisor.runtime.sparse_layer import Sparse, SparseMethod
from advisor.runtime.sparse_ops import is_unwatched, sparse_conv2d, sparse_linear, wants_gradients

__all__ = ["Sparse", "SparseConv", "SparseLinear", "SparseMethod", "can_replace", "sparse"]

_FORWARDS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, nn.Linear.forward)


def can_replace(module: nn.Module) -> bool:
    """Whether `module` is a plain convolution or linear layer; a subclass with its own forward may do more."""
    return type(module).forward in _FORWARDS and "weight" in module._parameters


def sparse(module: nn.Module, indptr: Any, inputs: Any, block: int, *, method: SparseMethod = "direct") -> Sparse:
    """The same layer reading only the listed inputs, its weights taken from `module`.

    Args:
        module: a plain convolution (not transposed) or linear layer.
        indptr: (blocks + 1,) integers; the list of block b is `inputs[indptr[b]:indptr[b + 1]]`.
        inputs: (rows,) input channels counted over all groups, ascending within a list.
        block: outputs of a block; blocks * block == C_out.
        method: see `Sparse`.

    Raises:
        PlanError: the lists do not fit the layer, or there is no sparse form of it.
    """
    connections = Connections.of(indptr, inputs, block)
    if isinstance(module, nn.Linear):
        return SparseLinear(module, connections, method)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return SparseConv(module, connections, method)
    raise PlanError(f"{type(module).__name__} has no sparse form; expected Conv1d to Conv3d or Linear")


class SparseConv(Sparse):
    """A convolution, 1d to 3d; B C *spatial → B C_out *spatial."""

    def __init__(self, dense: _ConvNd, connections: Connections, method: SparseMethod = "direct") -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = dense.in_channels, dense.out_channels, dense.groups
        self.kernel_size, self.stride, self.dilation = dense.kernel_size, dense.stride, dense.dilation
        self.padding, self.padding_mode = dense.padding, dense.padding_mode
        # Last axis first, before and after, as F.pad takes them.
        pads = tuple(dense._reversed_padding_repeated_twice)
        even = dense.padding_mode == "zeros" and pads[::2] == pads[1::2]
        self._pads = () if even else pads
        self._around = pads[::-2] if even else (0,) * len(self.kernel_size)
        self._adopt(dense, connections, method)
        if len(self.kernel_size) == 1:
            self._geometry: Any = ((1, *self.stride), (0, *self._around), (1, *self.dilation))
        else:
            self._geometry = (self.stride, self._around, self.dilation)
        self._at = geometry(*self._geometry) if len(self.kernel_size) < 3 else None

    def forward(self, x: Tensor, residual: Tensor | None = None, activation: str | None = None) -> Tensor:
        """activation(conv(x) + bias + residual).

        Args:
            x: B C *spatial, or C *spatial.
            residual: as the output.
            activation: for this call; the layer's own otherwise.
        """
        activation = activation or self.activation
        if x.dim() == len(self.kernel_size) + 1:
            added = None if residual is None else residual.unsqueeze(0)
            return self.forward(x.unsqueeze(0), added, activation).squeeze(0)
        if x.dim() != len(self.kernel_size) + 2 or (_sizes_are_numbers() and x.shape[1] != self.in_channels):
            # No kernel sees that: the lists fit an input of more channels as well.
            raise KernelError(
                f"input of shape {tuple(x.shape)}; expected {self.in_channels} channels and {len(self.kernel_size)} "
                "sizes after them, with or without a batch"
            )
        if self._pads:
            x = F.pad(x, self._pads, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)
        method = self.runs_by(x)
        if method == "direct":
            return self._direct(x, residual, activation)
        at = (self.stride, self._around, self.dilation)
        if method == "gather":
            out = reference.gather_conv(x, self.weight, self.blocks, self.inputs, self.bias, *at)
        else:
            out = reference.dense_conv(x, self.weight, self.indptr, self.inputs, self.bias, *at, self.groups)
        return reference.finish(out, residual, activation)

    def _direct(self, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
        weight, bias = self.weight, self.bias
        # A line of pixels is an image one pixel high.
        flat = len(self.kernel_size) == 1
        if flat:
            x, residual = x.unsqueeze(2), None if residual is None else residual.unsqueeze(2)
        kept = weight.unsqueeze(1) if flat else weight
        if x.dtype is not weight.dtype or residual is not None:
            x, residual = x.to(weight.dtype), None if residual is None else residual.to(weight.dtype)
        if _past_dispatcher(x, weight, bias, residual):
            call = kernels_of(x).conv_forward
            out = call(x, kept, self.indptr, self.inputs, bias, residual, activation, self._at)
        else:
            out = sparse_conv2d(x, kept, self.indptr, self.inputs, bias, residual, *self._geometry, activation)
        return out.squeeze(2) if flat else out

    def _has_kernels(self, x: Tensor) -> bool:
        return len(self.kernel_size) < 3 and super()._has_kernels(x)

    def to_dense(self) -> nn.Module:
        kind: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(self.kernel_size)]
        dense = kind(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias is not None,
            self.padding_mode,
            device="meta",
        )
        return self._fill(dense)


class SparseLinear(Sparse):
    """A linear layer; * C → * C_out."""

    def __init__(self, dense: nn.Linear, connections: Connections, method: SparseMethod = "direct") -> None:
        super().__init__()
        self.in_features, self.out_features = dense.in_features, dense.out_features
        self._adopt(dense, connections, method)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """activation(x W + bias); `activation` for this call, the layer's own otherwise."""
        activation = activation or self.activation
        if _sizes_are_numbers() and x.shape[-1] != self.in_features:
            raise KernelError(f"input of shape {tuple(x.shape)}; expected {self.in_features} features at the end")
        rows, method = x.reshape(-1, self.in_features), self.runs_by(x)
        if method == "direct":
            rows = rows.to(self.weight.dtype)
            past = _past_dispatcher(rows, self.weight, self.bias)
            call: Any = kernels_of(rows).linear_forward if past else sparse_linear
            out: Tensor = call(rows, self.weight, self.indptr, self.inputs, self.bias, activation)
        elif method == "gather":
            out = reference.gather_linear(rows, self.weight, self.blocks, self.inputs, self.bias)
            out = reference.finish(out, None, activation)
        else:
            out = reference.dense_linear(rows, self.weight, self.indptr, self.inputs, self.bias)
            out = reference.finish(out, None, activation)
        return out.reshape(*x.shape[:-1], self.out_features)

    def to_dense(self) -> nn.Module:
        return self._fill(nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta"))


def _sizes_are_numbers() -> bool:
    """Whether shapes can be compared: under `torch.jit.trace` they are tensors."""
    return torch.compiler.is_compiling() or not torch._C._get_tracing_state()


def _past_dispatcher(*args: Tensor | None) -> bool:
    """Whether the kernels may be called at once: nobody has to see the call, or wants gradients."""
    return is_unwatched(args) and not wants_gradients(args)
