"""What other counters say about a network, module by module: fvcore's and torch's own."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from advisor.counting.arguments import base_name
from advisor.counting.handlers import handler_of
from advisor.network import Network
from advisor.quiet import quiet
from advisor.trace import evaluation, one_line

# What fvcore adds to the products, with one "flop" or more per element.
_NO_PRODUCTS = (
    "batch_norm",
    "group_norm",
    "layer_norm",
    "instance_norm",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "adaptive_avg_pool2d",
    "grid_sampler",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCount:
    """One counter's answer. `macs` is None where it failed, and `failure` says why.

    Attributes:
        macs: multiply-adds of convolutions and matrix products alone, so that it can be compared with ours.
        modules: dotted name → MACs of what the module itself runs, its children left out.
        extra: operators that are no products but that it counts, with its number.
        missed: module → operators with products that it has no formula for, with the number of their calls.
        ran_on: "meta", "cpu", "cuda".
    """

    name: str
    macs: int | None
    modules: Mapping[str, int]
    extra: Mapping[str, int]
    missed: Mapping[str, Mapping[str, int]]
    ran_on: str
    failure: str = ""


def count_with(
    name: str, count: Callable[[torch.nn.Module, tuple[Any, ...]], OtherCount], network: Network
) -> OtherCount:
    """Asks one counter; on a real copy with arbitrary weights where it cannot work on the meta device."""
    if network.module is None:
        return _failed(name, "the network was not kept with its counts")
    try:
        return _ask(count, network.module, network.example_inputs)
    except Exception as error:
        failure = one_line(error)
        if not any(t.is_meta for t in (*network.module.parameters(), *network.module.buffers())):
            return _failed(name, failure)
    try:
        return _ask(count, *_on_cpu(network.module, network.example_inputs))
    except Exception as error:
        return _failed(name, f"on meta tensors: {failure}; on real ones: {one_line(error)}")


def _failed(name: str, failure: str) -> OtherCount:
    return OtherCount(name=name, macs=None, modules={}, extra={}, missed={}, ran_on="", failure=failure)


def _ask(
    count: Callable[[torch.nn.Module, tuple[Any, ...]], OtherCount], module: torch.nn.Module, inputs: tuple[Any, ...]
) -> OtherCount:
    with quiet(), torch.no_grad(), evaluation(module):
        return count(module, inputs)


def _on_cpu(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    real = copy.deepcopy(module).to_empty(device="cpu")
    for tensor in (*real.parameters(), *real.buffers()):
        tensor.data.zero_()
    return real, tree_map_only(torch.Tensor, lambda t: torch.zeros(t.shape, dtype=t.dtype), inputs)


def _own(totals: Mapping[str, float]) -> dict[str, int]:
    """From sums over whole subtrees to what each module runs itself."""
    own = {name: round(total) for name, total in totals.items()}
    for name, total in totals.items():
        parent = name
        while parent:
            parent = parent.rpartition(".")[0]
            if parent in own:  # a container that is never called (ModuleList) has no sum of its own
                own[parent] -= round(total)
                break
    return {name: macs for name, macs in own.items() if macs}


def fvcore_count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> OtherCount:
    """fvcore (its "flops" are MACs), by tracing to TorchScript."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    extra: Counter[str] = Counter()
    totals: dict[str, float] = {}
    missed: dict[str, dict[str, int]] = {}
    for name, by_operator in analysis.by_module_and_operator().items():
        totals[name] = sum(number for op, number in by_operator.items() if op not in _NO_PRODUCTS)
        if not name:
            extra.update({op: round(n) for op, n in by_operator.items() if op in _NO_PRODUCTS and n})
        unsupported = analysis.unsupported_ops(name)
        missed[name] = {
            base_name(op.replace("::", ".")): n
            for op, n in unsupported.items()
            if handler_of(op.replace("::", ".") + ".default") is not None
        }
    return OtherCount(
        name="fvcore",
        macs=round(totals[""]),
        modules=_own(totals),
        extra=dict(extra),
        missed={name: ops for name, ops in missed.items() if ops},
        ran_on=_device(module),
    )


class _Uncounted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators with products that reach the device and that torch's counter has no formula for."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counter = counter
        self.missed: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket not in self.counter.flop_registry and handler_of(str(func)) is not None:
            for parent in set(self.counter.mod_tracker.parents):
                self.missed[_dotted(parent)][base_name(str(func))] += 1
        return func(*args, **(kwargs or {}))


def torch_count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> OtherCount:
    """torch.utils.flop_counter, by running the network; half its FLOPs are MACs."""
    counter = FlopCounterMode(display=False)
    uncounted = _Uncounted(counter)
    with uncounted, counter:
        module(*inputs)
    totals: dict[str, float] = {}
    for path, by_operator in counter.get_flop_counts().items():
        if path != "Global":
            totals[_dotted(path)] = sum(by_operator.values()) / 2
    return OtherCount(
        name="torch",
        macs=counter.get_total_flops() // 2,
        modules=_own(totals),
        extra={},
        missed={name: dict(sorted(ops.items())) for name, ops in sorted(uncounted.missed.items())},
        ran_on=_device(module),
    )


def _dotted(path: str) -> str:
    # "ResNet.layer1.0.conv1" → "layer1.0.conv1", "Global" and "ResNet" → ""
    return path.partition(".")[2]


def _device(module: torch.nn.Module) -> str:
    return next((t.device.type for t in (*module.parameters(), *module.buffers())), "cpu")
