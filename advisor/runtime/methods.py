"""How an option of a layer can run, and by which method it does: the one place that costs, timings and apply ask."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from math import prod
from typing import Literal, get_args

from advisor.network import Layer
from advisor.patterns.narrowed import thinned
from advisor.patterns.option import Option

Method = Literal["dense", "direct", "gather", "packed"]
METHODS: tuple[Method, ...] = get_args(Method)
# Where no profile says which method is the fastest: the densities up to which the sparse kernels beat the best dense
# layers of every network, pattern and batch size in the sum (benchmarks/README.md; single layers can lose, above all
# linear ones that get one row and keep a list for each output), and the outputs per block from which gathering does.
DIRECT_DENSITY = 0.5
GPU_DENSITY = 0.25  # the same for a GPU's kernels, in float32
GATHER_BLOCK = 16

_PER_TAP = ("block", "n:m", "unstructured")  # patterns that choose each tap on its own


def kernels(device: str = "cpu") -> str:
    """The sparse kernels of a device here: "avx2 v3" (instruction set, version of their speed); "" without any."""
    return _probe(device.partition(":")[0])[0]


def why_no_kernels(device: str = "cpu") -> str:
    """Why `kernels` found none, in one line; "" where it did."""
    return _probe(device.partition(":")[0])[1]


def _probe(kind: str) -> tuple[str, str]:
    """What `kernels` and `why_no_kernels` say of "cpu" or "cuda"; tests switch the kernels off and on here."""
    if kind == "cpu":
        from advisor.runtime import native
        from advisor.runtime.native.tuner import VERSION

        return (f"{native.isa()} v{VERSION}", "") if native.available() else ("", native.why_not())
    from advisor.runtime import gpu

    return (f"triton {_triton()}", "") if gpu.available() else ("", gpu.why_not())


@lru_cache
def _triton() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("triton")
    except PackageNotFoundError:
        return "unknown"


def stands_alone(layer: Layer) -> bool:
    """Whether `advisor.runtime.sparse` has a module for this layer; its weight must be used by its own module alone."""
    return layer.is_module and not layer.transposed and (layer.is_conv or layer.kind == "linear")


def ways(layer: Layer, option: Option, *, training: bool = False, device: str = "cpu") -> tuple[Method, ...]:
    """Every method that computes `option` of `layer` rightly, on whatever machine; the last one always runs.

    "dense" and `width` are plain layers; a pattern within width runs as in any layer of those channels. A pattern
    without a method of its own runs the dense kernel on a weight with zeros ("dense"); in training its kept values are
    scattered into that weight each step ("packed").
    """
    layer, option = thinned(layer, option)
    if option.pattern == "dense":
        return ("dense",)
    found: list[Method] = []
    if stands_alone(layer):
        if layer.kind != "conv3d" and _has_kernel(layer, option, device):
            found.append("direct")
        if option.pattern == "group":
            found.append("gather")
    return (*found, "packed" if training else "dense")


def _has_kernel(layer: Layer, option: Option, device: str) -> bool:
    if device.partition(":")[0] != "cpu":
        # Triton's kernels fill narrower blocks up to that many outputs: more work than the dense layer's.
        return option.pattern == "group" and int(option.parameters["block"]) >= GATHER_BLOCK
    connections = option.pattern in ("channel", "group")  # the same at all taps
    return connections or (option.pattern in _PER_TAP and prod(layer.kernel) == 1)


def methods_of(
    layer: Layer, option: Option, *, training: bool = False, device: str = "cpu", have: bool | None = None
) -> tuple[Method, ...]:
    """The candidates of `ways` that a machine can run and that are worth timing: a profile measures each.

    Where the CPU's sparse kernels are there, gathering is not among them: it does the same work, slower. On a GPU
    either may be the faster one.

    Args:
        have: whether the machine has sparse kernels for `device`; this one is asked where None.
    """
    found = ways(layer, option, training=training, device=device)
    if "direct" not in found:
        return found
    if not (bool(kernels(device)) if have is None else have):
        return tuple(method for method in found if method != "direct")
    if device.partition(":")[0] == "cpu":
        return tuple(method for method in found if method != "gather")
    return found


def method_of(
    layer: Layer, option: Option, *, training: bool = False, device: str = "cpu", have: bool | None = None
) -> Method:
    """Which method runs `option` where no profile has timed the candidates.

    The sparse kernels up to the density below which they win; gathering from the block on from which it does; else
    the dense kernel. A GPU's kernels win in plain float32 alone, and at lower densities (an H100 at a quarter: 1.1 to
    3.7 times as fast as dense, gathering 0.3 to 1.7 times).
    """
    layer, option = thinned(layer, option)
    found = methods_of(layer, option, training=training, device=device, have=have)
    on_cpu = device.partition(":")[0] == "cpu"
    if "direct" in found and option.density <= (DIRECT_DENSITY if on_cpu else GPU_DENSITY):
        return "direct"
    if "direct" in found and not on_cpu:
        return found[-1]
    if "gather" in found and int(option.parameters["block"]) >= GATHER_BLOCK:
        return "gather"
    return found[-1]


def method_here(
    layer: Layer,
    option: Option,
    recorded: Method | None,
    *,
    training: bool = False,
    device: str = "cpu",
    have: bool | None = None,
) -> tuple[Method, str]:
    """Which method runs `option` on this machine under a plan, and why that is not the one that the plan recorded.

    Args:
        recorded: what a profile found the fastest, at inference or in training ("packed" and "dense" stand for each
            other); None where none was asked.

    Returns:
        The method, and one line where it is another one than recorded, "" otherwise.
    """
    found = ways(layer, option, training=training, device=device)
    if recorded is None:
        return method_of(layer, option, training=training, device=device, have=have), ""
    if recorded in ("dense", "packed"):
        return found[-1], ""
    if recorded not in found:
        return found[-1], f"a {layer.kind} with pattern {option.pattern!r} has no method {recorded!r} on {device}"
    if recorded == "direct" and not (bool(kernels(device)) if have is None else have):
        other = method_of(layer, option, training=training, device=device, have=False)
        return other, f"the sparse kernels that the plan counts on are missing ({why_no_kernels(device)})"
    return recorded, ""


def known_methods(measured: Collection[Method], found: tuple[Method, ...]) -> tuple[Method, ...]:
    """Those of `found` that a profile which timed the methods `measured` can speak of; the last one always."""
    return tuple(method for method in found[:-1] if method in measured) + found[-1:]
