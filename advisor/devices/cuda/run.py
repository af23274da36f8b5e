"""Measuring on a CUDA device in the form that was asked for: number format, order of axes, cold L2, launches apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from advisor.devices.cuda.clocks import clock_notes, clock_state
from advisor.devices.cuda.facts import facts_of
from advisor.devices.cuda.flush import FlushingClock, L2Flush
from advisor.devices.cuda.forms import autocast, checked_number, converted, gpu_form, number_format, why_not_number
from advisor.devices.cuda.graphs import time_graph
from advisor.devices.cuda.ways import option_way
from advisor.devices.measuring.timing import clock_for
from advisor.devices.settings import device_type
from advisor.errors import DeviceError, unknown

if TYPE_CHECKING:
    import torch

    from advisor.devices.measuring.clocks import Clock
    from advisor.network import Network
    from advisor.patterns.option import Option

# As users ask for them, and as `forms` calls them.
DTYPES = {"float32": "fp32", "tf32": "tf32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOptions:
    """What a user may ask for on a GPU. `number`: one of `forms.NUMBERS`; "": float32 as torch is set."""

    number: str = ""
    channels_last: bool = False
    flush_l2: bool = False
    cuda_graphs: bool = False


def gpu_options(
    device: str, *, dtype: str | None, channels_last: bool, flush_l2: bool, cuda_graphs: bool
) -> GpuOptions | None:
    """The options for a device; None on the CPU.

    Raises:
        DeviceError: an unknown dtype, or an option for GPUs on the CPU; names the first.
    """
    if dtype is not None and dtype not in DTYPES:
        raise DeviceError(unknown("dtype", dtype, tuple(DTYPES)))
    given = {
        f"--dtype {dtype}": dtype is not None,
        "--channels-last": channels_last,
        "--flush-l2": flush_l2,
        "--cuda-graphs": cuda_graphs,
    }
    if device_type(device) != "cuda":
        for name, asked in given.items():
            if asked:
                raise DeviceError(f"{name} is for GPUs, got --device {device}; leave it out, or use --device cuda")
        return None
    return GpuOptions(
        number=DTYPES[dtype] if dtype else "",
        channels_last=channels_last,
        flush_l2=flush_l2,
        cuda_graphs=cuda_graphs,
    )


class GpuRun:
    """Makes calls and clocks for one measuring run. Use as a context manager: torch's flags are put back at its end."""

    def __init__(self, options: GpuOptions, device: str) -> None:
        """Raises DeviceError where the GPU does not compute in this number format."""
        self.options, self._device = options, device
        self._stack, self._facts, self._before = ExitStack(), facts_of(device), clock_state(device)
        self._clock: Clock | None = None
        if options.number and (reason := why_not_number(checked_number(options.number), self._facts)):
            raise DeviceError(f"number format {options.number}: {reason}")

    def __enter__(self) -> GpuRun:
        if self.options.number:
            self._stack.enter_context(number_format(checked_number(self.options.number)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock = None
        self._stack.close()

    def clock(self) -> Clock:
        """CUDA events; with a cold L2 where that was asked for."""
        if self._clock is None:
            plain = clock_for(self._device)
            self._clock = FlushingClock(plain, L2Flush(self._device)) if self.options.flush_l2 else plain
        return self._clock

    def whole(self, module: torch.nn.Module, inputs: tuple[Any, ...], *, training: bool) -> Callable[[], object]:
        """One run of a network, in a copy where its form changes."""
        from advisor.devices.measuring.subject import forward_call, training_call

        if self.options.number:
            form = gpu_form(
                module,
                inputs,
                number=self.options.number,
                channels_last=self.options.channels_last,
                training=training,
            )
            return self._stack.enter_context(form).call
        if self.options.channels_last:
            module, inputs = converted(module, inputs, "fp32", channels_last=True)
        return training_call(module.train(), inputs) if training else forward_call(module.eval(), inputs)

    def layer(self, module: torch.nn.Module, inputs: torch.Tensor, *, training: bool) -> Callable[[], object]:
        """One layer alone. In mixed-precision training its input comes in the short format, as from its neighbours."""
        from advisor.devices.measuring.subject import layer_call

        number = checked_number(self.options.number or "fp32")
        mixed = training and number in ("fp16", "bf16")
        weights, _ = converted(module, (), "fp32" if mixed else number, channels_last=self.options.channels_last)
        _, (given,) = converted(module, (inputs,), number, channels_last=self.options.channels_last)
        cast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if mixed:
            cast = autocast(given.device.type, number)
        with cast():
            inner = layer_call(weights, given, training=training)

        def call() -> object:
            with cast():
                return inner()

        return call

    def graph(self, call: Callable[[], object], seconds: float) -> dict[str, Any]:
        """The call launched by Python and from a CUDA graph, as `GraphTiming.to_json`; empty where nobody asked."""
        if not self.options.cuda_graphs:
            return {}
        return {"graph": time_graph(call, self._device, clock=self.clock(), max_seconds=seconds).to_json()}

    def notes(self, network: Network, options: Mapping[str, tuple[Option, ...]]) -> tuple[str, ...]:
        """The clocks before and now, and which patterns have no kernel on this GPU, once each with the usual reason."""
        after = clock_state(self._device)
        state = (f"clocks: {self._before.text} before, {after.text} after",) if self._before and after else ()
        number = checked_number(self.options.number or "fp32")
        reasons: dict[str, Counter[str]] = {}
        for name, found in options.items():
            for option in found:
                way = option_way(network.layer(name), option, self._facts, number)
                if not way.kernel:
                    reasons.setdefault(option.pattern, Counter())[way.reason] += 1
        missing = tuple(
            f"pattern {pattern}: no kernel on {self._facts.name} for {counts.total()} of its options: "
            f"{counts.most_common(1)[0][0]}"
            for pattern, counts in sorted(reasons.items())
        )
        return (*state, *clock_notes(self._before, after), *missing)
