"""What one GPU is, as far as the choice of kernels asks: plain values, so that any GPU can be asked about anywhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from advisor.devices.cuda.flush import l2_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A CUDA device. `no_triton` says why the Triton kernels do not run on it; "" where they do."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    l2_bytes: int | None = None
    hip: bool = False  # AMD: no kernel here was tried on one
    no_triton: str = ""
    cusparselt: bool = False  # torch brings NVIDIA's library for 2:4 products (else CUTLASS)

    @property
    def capability_text(self) -> str:
        return f"{self.capability[0]}.{self.capability[1]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def facts_of(device: str = "cuda") -> Facts:
    """Of a device of this machine.

    Raises:
        DeviceError: there is no such device.
    """
    import torch

    from advisor.devices.settings import check_device
    from advisor.runtime import gpu

    place = torch.device(check_device(device))
    found = torch.cuda.get_device_properties(place)
    backends: Any = torch.backends
    library = getattr(backends, "cusparselt", None)
    return Facts(
        name=str(found.name),
        capability=(int(found.major), int(found.minor)),
        multiprocessors=int(found.multi_processor_count),
        memory_bytes=int(found.total_memory),
        l2_bytes=l2_bytes(found),
        hip=bool(torch.version.hip),
        no_triton=gpu.why_not(),
        cusparselt=bool(library is not None and library.is_available()),
    )
