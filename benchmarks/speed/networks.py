"""Section network: whole networks, planned and applied for inference, beside what torch makes of the dense ones."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import advisor
from advisor.models import load_model
from advisor.network import Network
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.build import build_table
from advisor.planning.menu.options import menu
from advisor.plans.plan import Plan
from advisor.runtime.fold import fold
from advisor.runtime.sparse import Sparse
from speed.clock import Work, interleaved
from speed.contenders import Kind

_BASELINE = Quality(objective=math.nan, bound=math.nan, gap=math.nan, seconds=0.0, status="baseline")


def opened(name: str, batch: int) -> Network:
    """NAME as `advisor` knows it, or NAME#PART for a submodule that takes the network's input (…:vgg16#features)."""
    model, _, part = name.partition("#")
    loaded = load_model(model, device="cpu", seed=0)
    module = loaded.module.eval().requires_grad_(False)
    inputs = [x.expand(batch, *x.shape[1:]).contiguous() for x in loaded.example_inputs]
    return advisor.analyze(module.get_submodule(part) if part else module, tuple(torch.randn_like(x) for x in inputs))


def uniform(network: Network, kind: Kind, density: float) -> Plan:
    """Every layer that the pattern covers at one density; the first convolution and the classifier stay dense.

    A layer whose outputs the block does not divide takes the largest smaller block that the planner offers.
    """
    pattern = "channel" if kind.block == 1 else "group"
    choices = menu(network, [pattern])
    built = build_table(network, choices)
    choice = []
    for options in built.table.options:
        fits = [
            (int(option.parameters.get("block", 1)), place)
            for place, option in enumerate(options)
            if option.pattern == pattern and math.isclose(option.density, density)
        ]
        small = [item for item in fits if item[0] <= kind.block]
        choice.append(max(small or fits, default=(0, 0))[1])
    style = Style(patterns=(pattern,), sensitivity="erk")
    return assemble(network, built, choice, _BASELINE, style, limits={})


def measure(
    names: Sequence[str],
    *,
    kinds: Sequence[Kind],
    densities: Sequence[float],
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int,
    compiled: bool,
) -> Iterator[dict[str, object]]:
    """A row for each network, batch, threads and way of running it."""
    for name in names:
        for batch in batches:
            network = opened(name, batch)
            works, facts = _contenders(network, kinds, densities, compiled, f"{name} batch {batch}")
            for number in threads:
                with torch.inference_mode():
                    ms = interleaved(works, threads=number, repeats=repeats)
                best = min(ms[how] for how, fact in facts.items() if not fact and how != "compiled")
                for how, fact in facts.items():
                    row: dict[str, object] = {"network": name, "batch": batch, "threads": number, "how": how}
                    row |= {"ms": ms[how], "over_eager": ms["eager"] / ms[how], "over_best": best / ms[how]}
                    if "compiled" in ms:
                        row["over_compiled"] = ms["compiled"] / ms[how]
                    yield row | fact


@torch.inference_mode()
def _contenders(
    network: Network, kinds: Sequence[Kind], densities: Sequence[float], compiled: bool, title: str
) -> tuple[dict[str, Work], dict[str, dict[str, object]]]:
    module, inputs = network.module, network.example_inputs
    assert module is not None
    folded = fold(module, network)
    last = copy.deepcopy(folded).to(memory_format=torch.channels_last)
    inputs_last = tuple(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs)
    works: dict[str, Work] = {
        "eager": lambda: module(*inputs),
        "folded": lambda: folded(*inputs),
        "folded, channels last": lambda: last(*inputs_last),
    }
    if compiled:
        works["compiled"] = _compiled(module, inputs)
    facts: dict[str, dict[str, object]] = {how: {} for how in works}
    wanted = [(kind, density) for kind in kinds for density in densities]
    for kind, density in tqdm(wanted, desc=title, file=sys.stderr, leave=False):
        plan = uniform(network, kind, density)
        sparse = plan.apply(module, for_inference=True)
        how = f"{kind.name} {density:g}"
        works[how] = _call(sparse, inputs)
        facts[how] = {"error": _error(plan, module, sparse, inputs), "memory": _memory(sparse)}
    return works, facts


def _call(module: nn.Module, inputs: tuple[Any, ...]) -> Work:
    return lambda: module(*inputs)


def _compiled(module: nn.Module, inputs: tuple[Any, ...]) -> Work:
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    with inductor.patch(freezing=True):
        program = torch.compile(copy.deepcopy(module))
        program(*inputs)
    return lambda: program(*inputs)


def _error(plan: Plan, module: nn.Module, sparse: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Largest difference of outputs from the dense network with its weights masked, over the largest output."""
    masked = copy.deepcopy(module)
    for name, mask in plan.masks(masked).items():
        weight = masked.get_submodule(name).get_parameter("weight")
        weight.mul_(mask.to(weight.dtype))
    expected, got = masked(*inputs), sparse(*inputs)
    error = float((got - expected).abs().max() / expected.abs().max())
    if not error <= 1e-3:
        raise ArithmeticError(f"outputs are off by {error:.2g} from those of the masked dense network")
    return error


def _memory(network: nn.Module) -> float:
    """Bytes of the sparse layers' weights and lists, over those of their dense weights."""
    layers = [layer for layer in network.modules() if isinstance(layer, Sparse)]
    held = sum(t.numel() * t.element_size() for layer in layers for t in (layer.weight, layer.indptr, layer.inputs))
    return held / max(1, sum(4 * math.prod(layer.dense_shape) for layer in layers))
