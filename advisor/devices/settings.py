"""What a time depends on beside the work itself: the settings it was taken under, and the machine."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.errors import DeviceError

# The instruction sets that the kernels under torch choose between; the other hundred flags say nothing about speed.
_SPEED_FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "neon", "asimd", "asimddp", "sve", "bf16", "i8mm")
_SPEED_PREFIXES = ("avx512", "avx_vnni", "amx")
ANY_BATCH = 0  # of a device profile: what it was measured on has batch sizes of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a profile was measured. Two times compare only when these are equal."""

    device: str  # "cpu" or "cuda"
    batch: int  # images per call; ANY_BATCH
    threads: int  # CPU threads of one operator
    dtype: str
    training: bool  # forward and backward instead of inference
    kernels: str = ""  # the sparse kernels that were there, as `methods.kernels` names them; "": none
    number: str = ""  # of a GPU, one of `cuda.forms.NUMBERS` in which it ran; "": as given, as torch is set
    channels_last: bool = False  # images and weights lie with their channels together
    flush_l2: bool = False  # the GPU's L2 was emptied before each run

    @property
    def one_batch(self) -> int | None:
        """The batch size, None where any is meant."""
        return None if self.batch == ANY_BATCH else self.batch

    @property
    def text(self) -> str:
        """One line for people: "cpu, batch 1, 2 threads, float32, inference, sparse kernels avx2 v3"."""
        threads = f"{self.threads} thread" + ("" if self.threads == 1 else "s")
        kind = "training" if self.training else "inference"
        kernels = f", sparse kernels {self.kernels}" if self.kernels else ""
        batch = "any batch" if self.batch == ANY_BATCH else f"batch {self.batch}"
        number = {"fp32": " without TF32", "tf32": " as TF32"}.get(self.number, "")
        form = (", channels last" if self.channels_last else "") + (", cold L2" if self.flush_l2 else "")
        return f"{self.device}, {batch}, {threads}, {self.dtype}{number}, {kind}{form}{kernels}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured. `name` is the CPU model or the GPU."""

    name: str
    flags: tuple[str, ...]  # CPU instruction sets, or the GPU's compute capability and where TF32 is allowed
    cores: int
    torch: str
    system: str


def cpu_info() -> tuple[str, tuple[str, ...]]:
    """The CPU's model and its instruction sets that matter for speed, sorted."""
    name, found = platform.processor() or platform.machine(), set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        label, _, value = line.partition(":")
        if label.strip() == "model name" and value.strip():
            name = value.strip()
        elif label.strip() in ("flags", "Features"):
            found.update(value.split())
    flags = (flag for flag in found if flag in _SPEED_FLAGS or flag.startswith(_SPEED_PREFIXES))
    return name, tuple(sorted(flags))


def this_machine(device: str = "cpu") -> Machine:
    """Describes the machine that runs now, for "cpu" or "cuda[:i]"."""
    import psutil
    import torch

    flags: tuple[str, ...]
    cores = psutil.cpu_count(logical=True) or 1
    system = f"{platform.system()} {platform.machine()}"
    if device_type(device) == "cuda":
        place = torch.device(device)
        major, minor = torch.cuda.get_device_capability(place)
        name, flags = torch.cuda.get_device_name(place), (f"sm_{major}{minor}", *_tensor_float())
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        system += f", CUDA {torch.version.cuda}, cuDNN {cudnn}"
    else:
        name, flags = cpu_info()
    return Machine(name=name, flags=flags, cores=cores, torch=str(torch.__version__), system=system)


def _tensor_float() -> tuple[str, ...]:
    """Where float32 products may run in TF32, which is faster and rounds to 10 bits: as torch is set now.

    torch from 2.9 on has a newer setting, `fp32_precision`, and refuses to read the older one where a user set the
    newer one alone; then the newer one says it.
    """
    import torch

    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    parts = (("convolution", cudnn, getattr(cudnn, "conv", None)), ("matmul", matmul, matmul))
    return tuple(f"tf32-{part}" for part, older, newer in parts if _allowed(older, newer))


def _allowed(older: Any, newer: Any) -> bool:
    try:
        return bool(older.allow_tf32)
    except RuntimeError:
        return getattr(newer, "fp32_precision", "ieee") == "tf32"


def device_type(device: str) -> str:
    """ "cuda:1" → "cuda"."""
    return device.partition(":")[0]


def check_device(device: str) -> str:
    """Returns `device` as torch spells it.

    Raises:
        DeviceError: it is no device that can be timed, or this machine does not have it.
    """
    import torch

    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()) or (kind == "cpu" and index):
        raise DeviceError(f"unknown device {device!r}; expected cpu, cuda or cuda:INDEX")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"device {device}: this torch ({torch.__version__}) sees no CUDA device; "
                "run on a machine with an NVIDIA GPU and its driver, or use --device cpu"
            )
        if index and int(index) >= count:
            raise DeviceError(f"device {device}: this machine has {count} CUDA devices, 0 to {count - 1}")
    return device


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[int]:
    """Sets torch's threads and puts the old number back; yields the number in force."""
    import torch

    before: int = torch.get_num_threads()
    try:
        if threads is not None:
            if threads < 1:
                raise DeviceError(f"threads={threads}; expected 1 or more")
            torch.set_num_threads(threads)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def machine_differences(made: Machine, here: Machine) -> tuple[str, ...]:
    """What differs between the machine of a profile and another one, as sentences; empty where nothing does."""
    found: list[str] = []
    pairs: tuple[tuple[str, Any, Any], ...] = (("device", made.name, here.name), ("torch", made.torch, here.torch))
    for what, then, now in pairs:
        if then != now:
            found.append(f"the profile was made with {what} {then}, here it is {now}: its times may not hold")
    lost, gained = set(made.flags) - set(here.flags), set(here.flags) - set(made.flags)
    if lost or gained:
        parts = [f"{text} {', '.join(sorted(flags))}" for text, flags in (("without", lost), ("with", gained)) if flags]
        found.append(f"this machine differs from the profile's in instruction sets: {' and '.join(parts)}")
    return tuple(found)


def kernel_differences(made: Settings) -> tuple[str, ...]:
    """How the sparse kernels here differ from those of a profile, as a sentence; empty where they do not."""
    from advisor.runtime.methods import kernels, why_no_kernels

    here = kernels(made.device)
    if here == made.kernels:
        return ()
    if not here:
        why = why_no_kernels(made.device)
        return (
            f"the profile was made with sparse kernels ({made.kernels}) that are missing here ({why}): layers that a "
            "plan runs by them run otherwise here, and slower",
        )
    if not made.kernels:
        return (
            f"the profile holds no times of the sparse kernels that are here ({here}), so plans made with it do not "
            "use them; make it anew (advisor profile)",
        )
    return (f"the profile was made with sparse kernels {made.kernels}, here they are {here}: its times may not hold",)
