"""The form in which a network runs on a GPU: number format and order of axes, set up and put back.

Number formats. *fp32* multiplies float32 exactly, TF32 switched off. *tf32* keeps float32 tensors and lets products and
convolutions round their inputs to 10 bits. *fp16* and *bf16* at inference convert weights and inputs once (as
`model.half()`, what a deployed network does: no operator converts anything at run time, and 2:4 takes nothing else); in
training they run under autocast with float32 weights, as mixed-precision training does, so the conversions are in the
time. The gradient scaler that fp16 training adds is left out: it belongs to the optimiser's step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from advisor.errors import DeviceError, unknown

if TYPE_CHECKING:
    import torch

    from advisor.devices.cuda.facts import Facts

Number = Literal["fp32", "tf32", "fp16", "bf16"]
NUMBERS: tuple[Number, ...] = get_args(Number)
_DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# The first compute capability that computes in it at all; fp16 is fast from 7.0 (tensor cores) on.
_OLDEST = {"fp32": (0, 0), "tf32": (8, 0), "fp16": (5, 3), "bf16": (8, 0)}


def checked_number(number: str) -> Number:
    """Raises DeviceError for a format that is none of `NUMBERS`."""
    for known in NUMBERS:
        if number == known:
            return known
    raise DeviceError(unknown("number format", number, NUMBERS))


def dtype_name(number: Number) -> str:
    """As torch spells it: "float16"."""
    return _DTYPES[number]


def why_not_number(number: Number, facts: Facts) -> str:
    """Why a GPU does not compute in this format, in one line; "" where it does."""
    if facts.capability < _OLDEST[number]:
        major, minor = _OLDEST[number]
        return f"{facts.name} has compute capability {facts.capability_text}; {number} needs {major}.{minor} or newer"
    return ""


@contextmanager
def number_format(number: Number) -> Iterator[None]:
    """Lets float32 products and convolutions run in TF32 or forbids it, and puts torch's flags back as they were.

    The older flags are set, since other code reads them and torch refuses that once the newer ones were set alone. Both
    kinds are put back, where torch has both (2.9 and later) and let the older be read: the newer tell apart what the
    older cannot, and torch keeps the older besides; where the two disagree, reading them fails, and so `torch.export`.
    """
    import torch

    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    parts: tuple[Any, ...] = (matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None))
    modern = [part for part in parts if hasattr(part, "fp32_precision")]
    before = [part.fp32_precision for part in modern]
    older = []
    for part in (matmul, cudnn):
        with suppress(RuntimeError):  # mixed by the user: there is nothing older to put back
            older.append((part, part.allow_tf32))
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = number != "fp32"
        yield
    finally:
        for part, allowed in older:
            part.allow_tf32 = allowed
        for part, value in zip(modern, before, strict=True):
            part.fp32_precision = value


def converted(
    module: torch.nn.Module, inputs: tuple[Any, ...], number: Number, *, channels_last: bool = False
) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    """A copy of `module` and of `inputs` with floating-point numbers in this format; integers stay.

    Args:
        channels_last: images (B C H W) and weights of 2d convolutions lie with their channels together.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    kind = getattr(torch, _DTYPES[number])
    made = copy.deepcopy(module).to(kind)  # integers and booleans stay what they are

    def tensor(value: torch.Tensor) -> torch.Tensor:
        value = value.to(kind) if value.is_floating_point() else value
        image = channels_last and value.ndim == 4 and value.is_floating_point()
        return value.contiguous(memory_format=torch.channels_last) if image else value

    if channels_last:
        made = made.to(memory_format=torch.channels_last)
    given: tuple[Any, ...] = tree_map_only(torch.Tensor, tensor, inputs)
    return made, given


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuForm:
    """A network in one form. `call` runs it once: one inference, or forward and backward without an optimiser."""

    module: torch.nn.Module
    inputs: tuple[Any, ...]
    call: Callable[[], object]
    number: Number
    channels_last: bool

    @property
    def text(self) -> str:
        """ "fp16, channels last"."""
        return f"{self.number}, {'channels last' if self.channels_last else 'channels first'}"


@contextmanager
def gpu_form(
    module: torch.nn.Module,
    inputs: tuple[Any, ...],
    *,
    number: str = "fp32",
    channels_last: bool = False,
    training: bool = False,
) -> Iterator[GpuForm]:
    """`module` on its device in a number format and order of axes; the given one and torch's flags stay as they were.

    Args:
        module, inputs: on the device where they shall run; copied.
        number: one of `NUMBERS`; see above for what each means.
        training: `call` is forward and backward from the sum of all outputs.

    Raises:
        DeviceError: an unknown format, or one that the module's GPU does not compute in.
    """
    from advisor.devices.cuda.facts import facts_of
    from advisor.devices.measuring.subject import forward_call, training_call

    wanted = checked_number(number)
    place = next((t.device for t in (*module.parameters(), *module.buffers())), None)
    if place is not None and place.type == "cuda" and (reason := why_not_number(wanted, facts_of(str(place)))):
        raise DeviceError(f"number format {number}: {reason}")
    mixed = training and wanted in ("fp16", "bf16")
    made, given = converted(module, inputs, "fp32" if mixed else wanted, channels_last=channels_last)
    with number_format(wanted):
        if training:
            inner = training_call(made.train(), given)
            cast = autocast(place.type if place is not None else "cuda", wanted) if mixed else nullcontext
        else:
            inner, cast = forward_call(made.eval(), given), nullcontext

        def call() -> object:
            with cast():
                return inner()

        yield GpuForm(module=made, inputs=given, call=call, number=wanted, channels_last=channels_last)


def autocast(device: str, number: Number) -> Callable[[], AbstractContextManager[Any]]:
    """Makes contexts in which matrix products and convolutions run in this format."""
    import torch

    # The cache of converted weights must be off for a CUDA graph; it would only serve weights that are used twice.
    return lambda: torch.autocast(device, getattr(torch, _DTYPES[number]), cache_enabled=False)
