"""Sparse convolutions of every geometry, and what they must give: dense ones of the masked weight, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from advisor.runtime import native
from advisor.runtime.native import calls, library, tuner, tuning
from advisor.runtime.native.tuning import Tuning

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda v: v,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
}
BLOCKS = (1, 2, 3, 4, 6, 8, 16, 32)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t.contiguous(),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "columns first": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "channels first": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "every other column": lambda t: t.repeat_interleave(2, 3)[..., ::2],
    "part of wider rows": lambda t: F.pad(t, (1, 2), value=float("nan"))[..., 1 : t.shape[3] + 1],
    "part of more channels": lambda t: F.pad(t, (0, 0, 0, 0, 2, 1), value=float("nan"))[:, 2 : t.shape[1] + 2],
    "last, part of channels": lambda t: F.pad(t, (0, 0, 0, 0, 1, 1), value=float("nan")).contiguous(
        memory_format=torch.channels_last
    )[:, 1 : t.shape[1] + 1],
}


@dataclass(frozen=True)
class Case:
    """A sparse convolution; lists and values follow from the seed."""

    channels: int = 6
    block: int = 4
    blocks: int = 2
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    batch: int = 2
    size: tuple[int, int] = (7, 9)
    density: float = 0.5
    layout: str = "contiguous"
    seed: int = 0

    @property
    def conv(self) -> native.Conv:
        return native.Conv(stride=self.stride, padding=self.padding, dilation=self.dilation)

    @property
    def outputs(self) -> int:
        return self.block * self.blocks

    def lists(self) -> tuple[Tensor, Tensor]:
        """Ragged, some of them empty and some full; indptr and inputs."""
        generator = torch.Generator().manual_seed(self.seed)
        kept = torch.rand(self.blocks, self.channels, generator=generator) < self.density
        indptr = F.pad(kept.sum(1).cumsum(0), (1, 0)).to(torch.int32)
        return indptr, kept.nonzero()[:, 1].to(torch.int32)

    def tensor(self, *shape: int, salt: int = 1) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(1000 * self.seed + salt))

    def layer(self) -> tuple[Tensor, Tensor, Tensor]:
        """Kept weight, indptr, inputs."""
        indptr, inputs = self.lists()
        return self.tensor(len(inputs), *self.kernel, self.block), indptr, inputs

    def x(self) -> Tensor:
        return LAYOUTS[self.layout](self.tensor(self.batch, self.channels, *self.size, salt=2))

    def out_shape(self) -> tuple[int, ...]:
        return (self.batch, self.outputs, *self.conv.output(self.size, self.kernel))

    def dense(self, weight: Tensor, indptr: Tensor, inputs: Tensor) -> Tensor:
        """The masked dense weight, float64."""
        whole = torch.zeros(self.blocks, self.block, self.channels, *self.kernel, dtype=torch.float64)
        rows = torch.repeat_interleave(torch.arange(self.blocks), indptr.diff().long())
        whole[rows, :, inputs.long()] = weight.double().permute(0, 3, 1, 2)
        return whole.flatten(0, 1)

    def kept(self, dense: Tensor, indptr: Tensor, inputs: Tensor) -> Tensor:
        """The other way round."""
        rows = torch.repeat_interleave(torch.arange(self.blocks), indptr.diff().long())
        return dense.unflatten(0, (self.blocks, self.block))[rows, :, inputs.long()].permute(0, 2, 3, 1)

    def expected(self, x: Tensor, dense: Tensor) -> Tensor:
        (h, w), shape = self.padding, self.out_shape()
        if not all(shape):
            return x.new_zeros(shape, dtype=torch.float64)
        return F.conv2d(F.pad(x.double(), (w, w, h, h)), dense, stride=self.stride, dilation=self.dilation)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Small ones of all kinds: padding may exceed the kernel, maps may be one pixel or none."""
    block = draw(st.sampled_from(BLOCKS))
    kernel = draw(st.one_of(st.just((1, 1)), st.just((3, 3)), pairs(1, 3), st.sampled_from([(1, 7), (7, 1), (5, 5)])))
    dilation, stride = draw(st.one_of(st.just((1, 1)), pairs(1, 3))), draw(st.one_of(st.just((1, 1)), pairs(1, 3)))
    padding = draw(st.one_of(st.just((0, 0)), st.just((1, 1)), pairs(0, 4)))
    size = draw(st.one_of(pairs(0, 12), pairs(10, 40)))
    reach = [max(n, d * (k - 1) + 1 - 2 * p) for n, d, k, p in zip(size, dilation, kernel, padding, strict=True)]
    values: dict[str, Any] = {
        "channels": draw(st.integers(1, 20)),
        "block": block,
        "blocks": draw(st.integers(1, 5 if block < 8 else 2)),
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "batch": draw(st.sampled_from((1, 1, 2, 3, 0))),
        "size": (reach[0], reach[1]),
        "density": draw(st.sampled_from((0.5, 0.25, 0.1, 0.9, 1.0, 0.0))),
        "layout": draw(st.sampled_from(tuple(LAYOUTS))),
        "seed": draw(st.integers(0, 1000)),
    }
    return Case(**{**values, **fixed})


def isas() -> list[str]:
    """Instruction sets that this CPU has."""
    return list(library.ISAS[: int(library.kernels().isa()) + 1])


@contextmanager
def tiled(isa: str, pick: int = 0) -> Iterator[list[Tuning]]:
    """Calls run on `isa` by the candidate number `pick` of those the tuner would try; gives the ones that were used."""
    used: list[Tuning] = []

    def choose(kind: tuner.Kind, job: Any, number: int, run: Any) -> Tuning:
        found = list(tuner._candidates(kind, job, number))
        if kind != "grad_weight":
            like = tuning.reversed_job(job) if kind == "grad_input" else job
            found += [finer for tile in found for finer in tuning.refinements(like, tile)]
            found = list(dict.fromkeys(found))
        used.append(found[pick % len(found)])
        return used[-1]

    with mock.patch.object(tuner, "choose", choose), mock.patch.dict("os.environ", {"ADVISOR_ISA": isa}):
        calls.forget()
        try:
            yield used
        finally:
            calls.forget()


def assert_close(got: Tensor, expected: Tensor, sums: Tensor) -> None:
    """`sums`: what the sum of absolute terms would be, against which rounding is measured."""
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    error = (got.double() - expected).abs()
    assert bool((error <= 1e-6 * sums + 1e-30).all()), (
        f"off by {float((error / (sums + 1e-30)).max()):.2g} of the terms"
    )
