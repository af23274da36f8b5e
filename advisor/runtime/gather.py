"""Layers whose blocks of outputs share one set of inputs: pick the inputs by index, then one small dense product."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.conv import _ConvNd

from advisor.errors import PlanError
from advisor.runtime.packed import differ

Kernel = Literal["product", "grouped"]
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_FORWARDS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, nn.Linear.forward)


def kernel_of(taps: int, padding: int) -> Kernel:
    """Which implementation runs a block: the one place to name a faster one.

    One tap without padding is a batch of matrix products ("product"), everything else a grouped convolution
    ("grouped"). Measured on a 2-core AVX2 CPU, one thread, medians of interleaved runs, 64>256 @56 to 2048>512 @7,
    blocks of 16, 32 and 64, densities 0.5 and 0.125, batch 1 and 8: products won 46 of 48 cases, by 1.23 in the middle.
    """
    return "product" if taps == 1 and padding == 0 else "grouped"


def can_replace(module: nn.Module) -> bool:
    """Whether `module` is a plain convolution or linear layer; a subclass with its own forward may do more."""
    return type(module).forward in _FORWARDS and "weight" in module._parameters


def gathered(module: nn.Module, index: torch.Tensor) -> Gathered:
    """The same layer reading only the chosen inputs, its weights taken from `module`.

    Args:
        module: a plain convolution (not transposed) or linear layer.
        index: (blocks, kept) int64, the inputs of each block of outputs, counted within the block's group.
    """
    if isinstance(module, nn.Linear):
        return GroupLinear(module, index)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return GroupConv(module, index)
    raise PlanError(f"{type(module).__name__} has no gathering form; expected Conv1d to Conv3d or Linear")


class Gathered(nn.Module):
    """Weights `(C_out, kept, *kernel)`, and `index` `(blocks * kept,)`: which of all input channels they multiply."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    index: torch.Tensor
    groups = 1

    def _adopt(self, dense: nn.Module, index: torch.Tensor) -> None:
        weight = dense.get_parameter("weight")
        self.blocks, self.kept = (int(size) for size in index.shape)
        self.dense_shape = tuple(weight.shape)
        if weight.shape[0] % self.blocks or self.blocks % self.groups:
            raise PlanError(
                f"{self.blocks} blocks do not divide {weight.shape[0]} outputs in {self.groups} groups; "
                "choose a block that divides the outputs of a group"
            )
        if not 1 <= self.kept <= weight.shape[1] or int(index.min()) < 0 or int(index.max()) >= weight.shape[1]:
            raise PlanError(f"inputs of a block lie outside the {weight.shape[1]} inputs of its group")
        self.block = weight.shape[0] // self.blocks
        offsets = torch.arange(self.blocks) // (self.blocks // self.groups) * weight.shape[1]
        flat = (index.cpu().long() + offsets[:, None]).reshape(-1)
        # The truth beside the buffer, which has no content on meta and garbage after `to_empty`.
        self._chosen = flat.numpy().copy()
        self.register_buffer("index", self.chosen().to(weight.device))
        self.weight = nn.Parameter(self._pick(weight.detach(), flat.to(weight.device)), weight.requires_grad)
        self.register_parameter("bias", dense._parameters["bias"])
        self.training = dense.training
        _copy_hooks(dense, self)

    def chosen(self) -> torch.Tensor:
        """What `index` must hold, on the CPU."""
        return torch.from_numpy(self._chosen.copy())

    def _within(self, flat: torch.Tensor) -> torch.Tensor:
        """Input within the group, for each output and kept slot: (C_out, kept)."""
        within = flat.view(self.blocks, self.kept) % self.dense_shape[1]
        return within.repeat_interleave(self.block, 0)

    def _pick(self, dense: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        taps = dense.shape[2:]
        places = self._within(flat).view(-1, self.kept, *(1,) * len(taps)).expand(-1, -1, *taps)
        return dense.gather(1, places)

    def dense_weight(self) -> torch.Tensor:
        """The weight in the dense layer's stored shape, zero where no connection is."""
        taps = self.dense_shape[2:]
        places = self._within(self.index).view(-1, self.kept, *(1,) * len(taps)).expand(-1, -1, *taps)
        return self.weight.new_zeros(self.dense_shape).scatter(1, places, self.weight)

    def to_dense(self) -> nn.Module:
        """A plain layer with `dense_weight`, tied to the same bias."""
        raise NotImplementedError

    def _fill(self, dense: nn.Module) -> nn.Module:
        dense.weight = nn.Parameter(self.dense_weight().detach(), self.weight.requires_grad)
        dense.register_parameter("bias", self.bias)
        dense.training = self.training
        _copy_hooks(self, dense)
        return dense

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Takes a dense layer's weight, too, and refuses kept weights of other connections."""
        weight, index, errors = state.get(prefix + "weight"), state.get(prefix + "index"), rest[-1]
        if isinstance(weight, torch.Tensor) and index is None and tuple(weight.shape) == self.dense_shape:
            chosen = self.chosen().to(weight.device)
            state[prefix + "weight"] = self._pick(weight, chosen)
            state[prefix + "index"] = chosen
        elif isinstance(index, torch.Tensor) and differ(index, self.chosen()):
            errors.append(
                f"{prefix}weight: reads other inputs than the checkpoint's; apply the plan that it was made with"
            )
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        inputs = self.dense_shape[1] * self.groups
        return f"{inputs}, {self.dense_shape[0]}, blocks={self.blocks}, kept={self.kept}, bias={self.bias is not None}"


def _copy_hooks(source: nn.Module, target: nn.Module) -> None:
    for side in ("forward", "backward"):
        for name in (
            f"_{side}_hooks",
            f"_{side}_pre_hooks",
            f"_{side}_hooks_with_kwargs",
            f"_{side}_pre_hooks_with_kwargs",
        ):
            if hasattr(source, name):
                getattr(target, name).update(getattr(source, name))


class GroupConv(Gathered):
    """A convolution, 1d to 3d; input B C *spatial."""

    def __init__(self, dense: _ConvNd, index: torch.Tensor) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = dense.in_channels, dense.out_channels, dense.groups
        self.kernel_size, self.stride, self.dilation = dense.kernel_size, dense.stride, dense.dilation
        self.padding, self.padding_mode = dense.padding, dense.padding_mode
        self._pads = list(dense._reversed_padding_repeated_twice)
        self._adopt(dense, index)
        taps = 1
        for size in self.kernel_size:
            taps *= size
        # 'same' padding of a single tap pads nothing, whatever the stride.
        self.kernel = kernel_of(taps, max(self._pads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == len(self.kernel_size) + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if self.kernel == "product":
            return self._product(x)
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._pads, mode=self.padding_mode), (0,) * len(self.kernel_size)
        convolve: Any = _CONVOLVE[len(self.kernel_size)]
        picked = x.index_select(1, self.index)
        out: torch.Tensor = convolve(picked, self.weight, self.bias, self.stride, padding, self.dilation, self.blocks)
        return out

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        if max(self.stride) > 1:
            x = x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]
        flat = x.flatten(2)
        weight = self.weight.view(self.blocks, self.block, self.kept)
        if x.device.type == "cpu":
            # One image at a time keeps the gathered copy small: faster than one batched product, 1.0 to 3 times.
            images = [self._image(weight, flat[i]) for i in range(flat.shape[0])]
            out = images[0].unsqueeze(0) if len(images) == 1 else torch.stack(images)
        else:
            picked = flat.index_select(1, self.index).view(flat.shape[0], self.blocks, self.kept, -1)
            out = torch.matmul(weight, picked)
            if self.bias is not None:
                out = out + self.bias.view(self.blocks, self.block, 1)
        return out.reshape(x.shape[0], self.out_channels, *x.shape[2:])

    def _image(self, weight: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        picked = image.index_select(0, self.index).view(self.blocks, self.kept, -1)
        if self.bias is None:
            return torch.bmm(weight, picked)
        return torch.baddbmm(self.bias.view(self.blocks, self.block, 1), weight, picked)

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


class GroupLinear(Gathered):
    """A linear layer; input * C."""

    def __init__(self, dense: nn.Linear, index: torch.Tensor) -> None:
        super().__init__()
        self.in_features, self.out_features = dense.in_features, dense.out_features
        self._adopt(dense, index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features)
        count = rows.shape[0]
        weight = self.weight.view(self.blocks, self.block, self.kept).transpose(1, 2)
        if count == 1:
            picked = rows.index_select(1, self.index).view(self.blocks, 1, self.kept)
        else:
            # Whole rows of the transposed input copy faster than single numbers: 1.3 times at 8 and more rows.
            turned = rows.t().contiguous().index_select(0, self.index)
            picked = turned.view(self.blocks, self.kept, count).transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(picked, weight)
        else:
            out = torch.baddbmm(self.bias.view(self.blocks, 1, self.block), picked, weight)
        return out.transpose(0, 1).reshape(*x.shape[:-1], self.out_features)

    def to_dense(self) -> nn.Module:
        return self._fill(nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta"))
