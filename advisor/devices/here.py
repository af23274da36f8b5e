"""What this machine is, and how each pattern runs on it today."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advisor.network import Call, Layer
from advisor.patterns.option import DENSE, Option
from advisor.runtime.methods import DIRECT_DENSITY, GATHER_BLOCK, Method, kernels, method_of, why_no_kernels

_WORDS: dict[Method, str] = {
    "dense": "dense kernel, zeros and all: no faster",
    "direct": "sparse kernels, kept weights alone",
    "gather": "inputs picked by index, smaller dense product",
    "packed": "kept values scattered, dense kernel: no faster",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternRun:
    """How a pattern runs, in words. `faster`: whether inference multiplies less than the dense layer."""

    pattern: str
    inference: str
    training: str
    faster: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The compiled sparse kernels of this machine's CPU.

    Attributes:
        isa: the instruction set that they use: "avx512", "avx2" or "portable"; "" where there are none.
        why_not: why there are none, in one line.
        instead: what runs in their place, "" where they are there.
    """

    available: bool
    isa: str
    why_not: str
    instead: str

    def text(self) -> str:
        """One line for people."""
        if self.available:
            return f"sparse kernels: {self.isa}"
        return f"sparse kernels: none, {self.why_not}. Until then: {self.instead}"


def kernels_here() -> Kernels:
    """Which sparse kernels run on this CPU, asked of the place that `Plan.apply` asks, too."""
    isa = kernels("cpu").partition(" ")[0]
    wide = f"groups of {GATHER_BLOCK} outputs and more by gathering"
    instead = "" if isa else f"torch alone, {wide}, all else by dense kernels on weights with zeros"
    return Kernels(available=bool(isa), isa=isa, why_not=why_no_kernels("cpu"), instead=instead)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuKernels:
    """The Triton kernels for `group` on a GPU. `measured`: how fast they were, and where."""

    available: bool
    why_not: str
    measured: str

    def text(self) -> str:
        """One line for people."""
        state = "here" if self.available else f"none, {self.why_not}"
        return f"sparse kernels for GPUs: {state} ({self.measured})"


def gpu_kernels_here() -> GpuKernels:
    """Whether `group` layers have kernels on a GPU of this machine."""
    from advisor.runtime import gpu

    return GpuKernels(available=gpu.available(), why_not=gpu.why_not(), measured=gpu.measured())


def pattern_runs() -> tuple[PatternRun, ...]:
    """How every pattern runs on the CPU where no profile decides, asked of the place that `Plan.apply` asks, too.

    The samples are convolutions of nine taps and of one, at a density at which sparse kernels are worth their while.
    """
    from advisor.patterns.base import pattern, pattern_names

    found = [PatternRun(pattern="dense", inference="dense kernel", training="dense kernel", faster=False)]
    for name in pattern_names():
        if name == "dense":
            continue
        if name == "width":
            words = "narrower tensors, dense kernel"
            found.append(PatternRun(pattern=name, inference=words, training=words, faster=True))
            continue
        layers = [_sample(3), _sample(1)]
        options = [_worthwhile(pattern(name).options(layer)) for layer in layers]
        runs = {
            training: [method_of(x, o, training=training) for x, o in zip(layers, options, strict=True)]
            for training in (False, True)
        }
        found.append(
            PatternRun(
                pattern=name,
                inference=_words(*runs[False]),
                training=_words(*runs[True]),
                faster=any(method in ("direct", "gather") for method in runs[False]),
            )
        )
    return tuple(found)


def _worthwhile(options: tuple[Option, ...]) -> Option:
    return next(
        (o for o in options if o.density <= DIRECT_DENSITY and o.parameters.get("block", GATHER_BLOCK) >= GATHER_BLOCK),
        DENSE,
    )


def _words(nine: Method, one: Method) -> str:
    return _WORDS[nine] if nine == one else f"1x1 and linear: {_WORDS[one]}; others: {_WORDS[nine]}"


def _sample(size: int) -> Layer:
    shape, taps = (1, 64, 16, 16), size * size
    macs = 64 * 64 * taps * 256
    return Layer(
        name="sample",
        kind="conv2d",
        params=64 * 64 * taps,
        macs=macs,
        activation_elements=64 * 256,
        input_shape=shape,
        output_shape=shape,
        calls=(Call(input_shape=shape, output_shape=shape, macs=macs),),
        weight="sample.weight",
        weight_shape=(64, 64, size, size),
        stride=(1, 1),
        padding=(size // 2, size // 2),
        dilation=(1, 1),
    )


def profiles_in(folder: Path) -> tuple[Path, ...]:
    """Files of a folder that say at their beginning that they are profiles, sorted; nothing else is read of them."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open("rb") as stream:
                if b"sparsity-advisor/profile" in stream.read(300):
                    found.append(path)
        except OSError:
            continue
    return tuple(found)
