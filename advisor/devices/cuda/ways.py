"""The ways in which a layer can be thinned out so that a GPU runs faster, and "no kernel" with the reason for the rest.

| way | what runs | pattern |
| --- | --- | --- |
| narrower | the dense kernel on smaller tensors | width |
| grouped | the library's grouped convolution | none: the network is changed |
| gather | inputs picked by index, then a dense product for each block | group |
| triton | kernels that read the kept weights alone | group, blocks of 16 outputs and more |
| 2:4 | sparse tensor cores, through torch | n:m with 2 of 4 |
| bsr | block-sparse product, through torch | block, square blocks of 16 and more |
| zeros | the dense kernel on weights with zeros: no faster | every other |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal, get_args

from advisor.devices.cuda.forms import Number, why_not_number

if TYPE_CHECKING:
    from advisor.devices.cuda.facts import Facts
    from advisor.network import Layer
    from advisor.patterns.option import Option
    from advisor.runtime.execution import Execution

Way = Literal["narrower", "grouped", "gather", "triton", "2:4", "bsr", "zeros"]
WAYS: tuple[Way, ...] = get_args(Way)
BSR_BLOCKS = (16, 32, 64)
_SPARSE_CORES = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuWay:
    """One way on one GPU in one number format. `kernel` names what runs; "" where nothing does, and `reason` why."""

    way: Way
    kernel: str
    reason: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.way}: {self.kernel}" if self.kernel else f"{self.way}: no kernel, {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_KERNELS: dict[Way, str] = {
    "narrower": "cuDNN and cuBLAS on smaller tensors",
    "grouped": "cuDNN's grouped convolution",
    "gather": "index_select, then a product for each block (cuBLAS, cuDNN)",
    "triton": "Triton kernels of this package",
    "2:4": "torch.sparse.to_sparse_semi_structured",
    "bsr": "torch's product of a block-sparse matrix (BSR)",
    "zeros": "the dense kernel on weights with zeros: no faster",
}


def gpu_ways(facts: Facts, number: Number = "fp32") -> tuple[GpuWay, ...]:
    """Every way on this GPU: what it can do at all, whatever the layer."""
    return tuple(_way(way, _why_not_gpu(way, facts, number), facts) for way in WAYS)


def layer_ways(execution: Execution, facts: Facts, number: Number = "fp32") -> tuple[GpuWay, ...]:
    """Every way for the dense layer of `execution` on this GPU."""
    return tuple(_way(way, _why_not_gpu(way, facts, number) or _why_not_layer(way, execution), facts) for way in WAYS)


def option_way(layer: Layer, option: Option, facts: Facts, number: Number = "fp32") -> GpuWay:
    """By which way `option` of `layer` would gain on this GPU; with "no kernel" and the reason where none does."""
    from advisor.patterns.narrowed import thinned
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    layer, option = thinned(layer, option)
    way, wrong = _way_of(option)
    if wrong:
        return GpuWay(way=way, kernel="", reason=wrong)
    dense = next(iter(executions(layer, DENSE)))
    reason = _why_not_gpu(way, facts, number) or _why_not_layer(way, dense)
    if reason and way == "triton":  # gathering does the same anywhere
        return _way("gather", _why_not_layer("gather", dense), facts)
    if not layer.is_module and way not in ("narrower", "zeros"):
        reason = "its weight is used from outside its own module"
    return _way(way, reason, facts)


def _way(way: Way, reason: str, facts: Facts) -> GpuWay:
    if reason:
        return GpuWay(way=way, kernel="", reason=reason)
    behind = "" if way != "2:4" else " (cuSPARSELt)" if facts.cusparselt else " (CUTLASS)"
    return GpuWay(way=way, kernel=_KERNELS[way] + behind)


def _way_of(option: Option) -> tuple[Way, str]:
    """The way of a pattern, and what of its parameters no kernel takes."""
    get = option.parameters.get
    if option.pattern in ("dense", "width"):
        return "narrower", ""
    if option.pattern == "group":
        block = int(get("block", 1))
        if block < 16:
            return "triton", f"blocks of {block} outputs fill less than the 16 rows that tensor cores take at a time"
        return "triton", ""
    if option.pattern == "channel":
        return "triton", "each output reads inputs of its own, and tensor cores take 16 outputs at a time"
    if option.pattern == "n:m":
        kept, of = int(get("n", 0)), int(get("m", 0))
        return "2:4", "" if (kept, of) == (2, 4) else f"sparse tensor cores take 2 of 4, not {kept} of {of}"
    if option.pattern == "block":
        rows, columns = int(get("rows", 1)), int(get("columns", 1))
        if rows != columns or rows not in BSR_BLOCKS:
            return "bsr", f"torch's product takes square blocks of {_listed(BSR_BLOCKS)}, not {rows}x{columns}"
        return "bsr", ""
    return "zeros", "single weights have no kernel that beats the dense one in float32 up to three quarters zeros"


def _why_not_gpu(way: Way, facts: Facts, number: Number) -> str:
    if reason := why_not_number(number, facts):
        return reason
    if way == "triton":
        return facts.no_triton
    if way == "2:4":
        if facts.hip or facts.capability < _SPARSE_CORES:
            return f"{facts.name} has no sparse tensor cores; NVIDIA's have them from 8.0 (Ampere) on"
        if number not in ("fp16", "bf16"):
            return f"2:4 runs in fp16 and bf16, asked for {number}"
    if way == "bsr" and not facts.hip and facts.capability < _SPARSE_CORES:
        return f"{facts.name} has compute capability {facts.capability_text}; torch's kernels need 8.0 or newer"
    if way == "bsr" and facts.hip:
        return "torch's kernels for it are NVIDIA's alone"
    return ""


def _why_not_layer(way: Way, e: Execution) -> str:
    from advisor.runtime.gpu.semi import COLUMNS, ROWS

    outputs, inputs, taps = e.out_channels, e.weight_shape[1], prod(e.weight_shape[2:])
    if way in ("narrower", "zeros"):
        return ""
    if e.transposed or e.kind == "conv3d":
        return f"a {e.kind} has no such kernel"
    if way == "grouped":
        return "" if e.kind.startswith("conv") else "a linear layer has no groups"
    if way in ("gather", "triton"):
        return "" if (outputs // e.groups) % 16 == 0 else f"{outputs} outputs are not a multiple of 16"
    if taps != 1 or e.groups != 1:
        return f"a convolution of {taps} taps and {e.groups} groups is no matrix product; expected 1x1 and one group"
    if any(e.padding):
        return f"a 1x1 convolution with padding {e.padding} is no matrix product"
    if way == "2:4" and (outputs % ROWS or inputs % COLUMNS):
        return f"2:4 needs outputs in multiples of {ROWS} and inputs in multiples of {COLUMNS}, got {outputs}x{inputs}"
    if way == "bsr" and (outputs % BSR_BLOCKS[0] or inputs % BSR_BLOCKS[0]):
        return f"blocks of {BSR_BLOCKS[0]} do not divide {outputs}x{inputs}"
    return ""


def _listed(sizes: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]}"
