"""A layer in each of the ways that a GPU has a kernel for, ready to be timed beside its dense form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from advisor.devices.cuda.forms import Number, converted
from advisor.devices.cuda.ways import BSR_BLOCKS, GpuWay, Way, layer_ways
from advisor.errors import KernelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from advisor.devices.cuda.facts import Facts
    from advisor.runtime.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way of one layer at one density: `call` runs it; or `problem` says why it does not.

    `execution` names the work as a profile does, where it has a name (2:4 and bsr have none yet).
    """

    way: Way
    density: float
    call: Callable[[], Tensor] | None
    execution: Execution | None
    problem: str = ""


def gpu_candidates(
    execution: Execution,
    facts: Facts,
    *,
    density: float = 0.5,
    number: Number = "fp16",
    device: str = "cuda",
    channels_last: bool = False,
    block: int = 16,
) -> tuple[Candidate, ...]:
    """Every way for the dense layer `execution`, each run once, so that what torch refuses says so here.

    Args:
        execution: dense.
        density: kept share; 2:4 keeps half whatever it says; a grouped layer has the nearest number of groups.
        block: outputs that share one list of inputs ("gather", "triton"), and the square blocks of bsr.
    """
    if execution.method != "dense":
        raise KernelError(f"{execution.key}: expected a dense layer")
    found = []
    for way in layer_ways(execution, facts, number):
        if way.way == "zeros":
            continue
        if not way.kernel:
            found.append(_absent(way, density))
            continue
        found.append(_tried(way.way, execution, density, number, device, block, channels_last))
    return tuple(found)


def _absent(way: GpuWay, density: float) -> Candidate:
    return Candidate(way=way.way, density=density, call=None, execution=None, problem=way.reason)


def _tried(
    way: Way, execution: Execution, density: float, number: Number, device: str, block: int, channels_last: bool
) -> Candidate:
    import torch

    named: Execution | None = None
    try:
        if way in ("2:4", "bsr"):
            module, x, density = _product(way, execution, density, number, device, block, channels_last)
        else:
            named = _named(way, execution, density, block)
            plain, inputs = named.build()
            moved, (x,) = converted(plain.to(device), (inputs.to(device),), number, channels_last=channels_last)
            module = moved.eval()
            density = named.macs / execution.macs

        def call() -> Tensor:
            with torch.no_grad():  # torch's block-sparse product does not run in inference mode
                made: Tensor = module(x)
                return made

        call()
    except (RuntimeError, KernelError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Candidate(way=way, density=density, call=None, execution=named, problem=reason)
    return Candidate(way=way, density=density, call=call, execution=named)


def _named(way: Way, e: Execution, density: float, block: int) -> Execution:
    """The execution of a way that has one."""
    if way == "narrower":
        # Half of the thinning on each side, as `width` does: MACs fall with the square of the kept share.
        share = density**0.5
        outputs = _whole(e.out_channels, share, e.groups)
        inputs = _whole(e.in_channels, share, e.groups)
        shape = (*e.input_shape[:-1], inputs) if e.kind == "linear" else (e.input_shape[0], inputs, *e.input_shape[2:])
        weight = (inputs, outputs // e.groups) if e.transposed else (outputs, inputs // e.groups)
        return replace(e, input_shape=shape, weight_shape=(*weight, *e.weight_shape[2:]))
    if way == "grouped":
        groups = e.groups * _groups(e, density)
        return replace(e, groups=groups, weight_shape=(e.out_channels, e.in_channels // groups, *e.weight_shape[2:]))
    return sparse_execution(e, "gather" if way == "gather" else "direct", density, block)


def sparse_execution(e: Execution, method: Literal["gather", "direct"], density: float, block: int) -> Execution:
    """A dense layer whose blocks of outputs keep a share of the inputs, one at least, by one of the sparse methods."""
    kept = max(1, round(density * e.weight_shape[1]))
    lists = 1 if method == "gather" else e.out_channels // block
    return replace(e, method=method, kept=kept * lists, block=block)


def _whole(channels: int, share: float, groups: int) -> int:
    """Channels that are left, in multiples of 8 where there are as many: tensor cores take them by eight."""
    step = groups * (8 if channels >= 16 * groups else 1)
    return max(step, round(channels * share / step) * step)


def _groups(e: Execution, density: float) -> int:
    """The number of groups whose share of the connections is nearest to `density`, and that divides the channels."""
    inputs, outputs = e.weight_shape[1], e.out_channels // e.groups
    fits = [g for g in range(2, min(inputs, outputs) + 1) if inputs % g == 0 and outputs % g == 0]
    if not fits:
        raise KernelError(f"no number of groups divides {inputs} inputs and {outputs} outputs")
    return min(fits, key=lambda g: (abs(1 / g - density), g))


def _product(
    way: Way, e: Execution, density: float, number: Number, device: str, block: int, channels_last: bool
) -> tuple[torch.nn.Module, Any, float]:
    """A linear layer or 1x1 convolution on a weight that torch stores sparsely."""
    import torch

    from advisor.devices.cuda.bsr import block_sparse
    from advisor.runtime.gpu.semi import semi_structured

    plain, inputs = e.build()
    with torch.no_grad():
        weight = plain.get_parameter("weight")
        if way == "2:4":
            fours = weight.reshape(weight.shape[0], -1, 4)
            fours.scatter_(2, fours.abs().argsort(2)[:, :, :2], 0.0)
            density = 0.5
        else:
            block = max(size for size in BSR_BLOCKS if size <= max(block, BSR_BLOCKS[0]) and _divides(size, e))
            grid = (e.out_channels // block, e.weight_shape[1] // block)
            order = torch.randperm(prod(grid), generator=torch.Generator().manual_seed(0))
            kept = max(1, round(density * prod(grid)))
            mask = torch.zeros(prod(grid), dtype=weight.dtype).index_fill_(0, order[:kept], 1.0).view(grid)
            weight.view(e.weight_shape[:2]).mul_(mask.repeat_interleave(block, 0).repeat_interleave(block, 1))
            density = kept / prod(grid)
    module, (x,) = converted(plain.to(device), (inputs.to(device),), number, channels_last=channels_last)
    module.eval()
    return (semi_structured(module) if way == "2:4" else block_sparse(module, block)), x, density


def _divides(size: int, e: Execution) -> bool:
    return e.out_channels % size == 0 and e.weight_shape[1] % size == 0
