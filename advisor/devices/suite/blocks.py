"""The parts that networks of today are made of, at any width: what a device profile is measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "hardswish": lambda: nn.Hardswish(inplace=True),
    "gelu": nn.GELU,
    "none": nn.Identity,
}


def unit(c_in: int, c_out: int, k: int = 1, s: int = 1, g: int = 1, *, act: str = "relu", norm: bool) -> nn.Sequential:
    """Convolution, batch norm (folded away where not `norm`), activation."""
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, k, s, k // 2, groups=g, bias=not norm)]
    layers += [nn.BatchNorm2d(c_out)] if norm else []
    layers += [ACTIVATIONS[act]()] if act != "none" else []
    return nn.Sequential(*layers)


class Excite(nn.Module):
    """Squeeze and excitation, with 1x1 convolutions or with linear layers."""

    def __init__(self, channels: int, squeezed: int, gate: str = "sigmoid") -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = nn.ReLU(), nn.Sigmoid() if gate == "sigmoid" else nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Any:
        return self.gate(self.fc2(self.act(self.fc1(self.pool(x))))) * x


class Basic(nn.Module):
    """Two 3x3 and a shortcut (ResNet-18)."""

    def __init__(self, c_in: int, c_out: int, s: int, *, norm: bool) -> None:
        super().__init__()
        self.one, self.two = unit(c_in, c_out, 3, s, norm=norm), unit(c_out, c_out, 3, act="none", norm=norm)
        self.side = unit(c_in, c_out, 1, s, act="none", norm=norm) if s > 1 or c_in != c_out else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        out = self.two(self.one(x))
        out += x if self.side is None else self.side(x)
        return self.act(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 in groups, 1x1 and a shortcut (ResNet-50, ResNeXt, RegNet)."""

    def __init__(
        self, c_in: int, mid: int, c_out: int, s: int, g: int, *, squeezed: int, act: str = "relu", norm: bool
    ) -> None:
        super().__init__()
        self.one, self.two = unit(c_in, mid, act=act, norm=norm), unit(mid, mid, 3, s, g, act=act, norm=norm)
        self.excite = Excite(mid, squeezed) if squeezed else None
        self.three = unit(mid, c_out, act="none", norm=norm)
        self.side = unit(c_in, c_out, 1, s, act="none", norm=norm) if s > 1 or c_in != c_out else None
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Any:
        out = self.two(self.one(x))
        out = self.three(out if self.excite is None else self.excite(out))
        out += x if self.side is None else self.side(x)
        return self.act(out)


class Inverted(nn.Module):
    """1x1 wider, depthwise, 1x1 narrower (MobileNet, EfficientNet, MNASNet)."""

    def __init__(
        self, c_in: int, c_out: int, expand: int, k: int, s: int, *, act: str, squeezed: int, norm: bool
    ) -> None:
        super().__init__()
        mid = c_in * expand
        self.one = unit(c_in, mid, act=act, norm=norm) if expand > 1 else nn.Identity()
        self.two = unit(mid, mid, k, s, mid, act=act, norm=norm)
        gate = "hard" if act == "hardswish" else "sigmoid"
        self.excite = Excite(mid, squeezed, gate) if squeezed else None
        self.three, self.adds = unit(mid, c_out, act="none", norm=norm), s == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Any:
        out = self.two(self.one(x))
        out = self.three(out if self.excite is None else self.excite(out))
        return x + out if self.adds else out


class Grown(nn.Module):
    """Norm before each convolution, results appended (DenseNet)."""

    def __init__(self, c_in: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(layers):
            c = c_in + i * growth
            self.layers.append(
                nn.Sequential(
                    nn.BatchNorm2d(c), nn.ReLU(inplace=True), nn.Conv2d(c, 4 * growth, 1, bias=False),
                    nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True),
                    nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
                )
            )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        held = [x]
        for layer in self.layers:
            held.append(layer(torch.cat(held, 1)))
        return torch.cat(held, 1)


class Shuffled(nn.Module):
    """Half of the channels worked on, then shuffled (ShuffleNet V2)."""

    def __init__(self, channels: int, k: int, *, norm: bool) -> None:
        super().__init__()
        c = channels // 2
        self.work = nn.Sequential(
            unit(c, c, norm=norm), unit(c, c, k, 1, c, act="none", norm=norm), unit(c, c, norm=norm)
        )

    def forward(self, x: Tensor) -> Any:
        left, right = x.chunk(2, dim=1)
        out = torch.cat((left, self.work(right)), dim=1)
        b, c, h, w = out.shape
        return out.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class Branches(nn.Module):
    """Ways of several kernels beside each other, appended (GoogLeNet, Inception, SqueezeNet, HRNet's stems)."""

    def __init__(self, c_in: int, widths: tuple[int, ...], *, long: int, pooled: str, norm: bool) -> None:
        super().__init__()
        a, b, c, d = widths
        self.ways = nn.ModuleList([unit(c_in, a, norm=norm)])
        self.ways.append(nn.Sequential(unit(c_in, b, norm=norm), unit(b, 2 * b, 3, norm=norm)))
        if long:  # kernels of one row or one column
            along = nn.Conv2d(c, c, (1, long), padding=(0, long // 2))
            down = nn.Conv2d(c, c, (long, 1), padding=(long // 2, 0))
            parts = [unit(c_in, c, norm=norm), along, nn.ReLU(inplace=True), down, nn.ReLU(inplace=True)]
            self.ways.append(nn.Sequential(*parts))
        elif c:
            self.ways.append(nn.Sequential(unit(c_in, c, norm=norm), unit(c, c, 5, norm=norm)))
        if d:
            pool = nn.MaxPool2d(3, 1, 1) if pooled == "max" else nn.AvgPool2d(3, 1, 1)
            self.ways.append(nn.Sequential(pool, unit(c_in, d, norm=norm)))

    def forward(self, x: Tensor) -> Any:
        return torch.cat([way(x) for way in self.ways], 1)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of images."""

    def forward(self, x: Tensor) -> Any:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Depthwise, layer norm, two linear layers on channels-last, scaled and added (ConvNeXt)."""

    def __init__(self, channels: int, k: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, k, padding=k // 2, groups=channels)
        self.norm, self.act = nn.LayerNorm(channels), nn.GELU()
        self.one, self.two = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Any:
        out = self.norm(self.deep(x).permute(0, 2, 3, 1))
        out = self.two(self.act(self.one(out))).permute(0, 3, 1, 2)
        return x + self.scale * out


class Attention(nn.Module):
    """Self-attention over tokens, by torch's fused product or in parts (timm)."""

    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Any:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).reshape(b, n, c))


class TokenBlock(nn.Module):
    """Layer norm and attention, layer norm and two linear layers (ViT, DeiT, BERT)."""

    def __init__(self, width: int, heads: int, ratio: int, *, attention: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.torchs = attention == "torch"
        self.attention: nn.Module = (
            nn.MultiheadAttention(width, heads, batch_first=True)
            if self.torchs
            else Attention(width, heads, fused=attention == "fused")
        )
        self.one, self.act, self.two = nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Any:
        y = self.norm1(x)
        x = x + (self.attention(y, y, y, need_weights=False)[0] if self.torchs else self.attention(y))
        return x + self.two(self.act(self.one(self.norm2(x))))


class WindowBlock(nn.Module):
    """Attention inside windows of a channels-last image, rolled by half a window (Swin)."""

    def __init__(self, width: int, heads: int, window: int, *, rolled: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.window, self.rolled = Attention(width, heads, fused=False), window, rolled
        self.one, self.act, self.two = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Any:
        b, h, w, c = x.shape
        n, y = self.window, self.norm1(x)
        if self.rolled:
            y = torch.roll(y, (-(n // 2), -(n // 2)), (1, 2))
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        y = self.attention(y).view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        if self.rolled:
            y = torch.roll(y, (n // 2, n // 2), (1, 2))
        x = x + y
        return x + self.two(self.act(self.one(self.norm2(x))))
