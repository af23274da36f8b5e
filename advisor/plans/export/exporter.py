"""What an exporter is, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from advisor.errors import PlanError, unknown
from advisor.plans.schedules import MaskSchedule

if TYPE_CHECKING:
    from torch import nn

    from advisor.plans.plan import Plan, PlanLayer

EXPORTERS: dict[str, Exporter] = {}
_FILES = ("masks", "torch_prune", "torch_pruning", "modelopt", "llm_compressor", "onnx", "schedule")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an exporter may look at.

    Attributes:
        plan: consistent with itself, of a network, and its width layers say which channels they keep.
        stem: what the files are called, without ending.
        module: the dense network, compared with the plan already; None where nobody gave one.
        example_inputs: what `module` runs on; None: random numbers in the plan's input shapes.
        schedule: how masks change while training; only where the exporter asks for one.
    """

    plan: Plan
    stem: str
    module: nn.Module | None = None
    example_inputs: Any = None
    schedule: MaskSchedule | None = None

    @property
    def label(self) -> str:
        return f"plan for {self.plan.model!r}"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The content of the files of an export; nothing has been written yet.

    Attributes:
        data: of the file itself.
        beside: ending → content of the files that it needs beside it, each named after `Source.stem`.
        numbers: what was exported, for people: layers, weights.
        notes: what the format cannot say, and what follows from it.
    """

    data: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Exporter(ABC):
    """One format. An exporter either gives the content of all its files or raises; it writes nothing itself.

    Attributes:
        name: as in `--to`.
        suffix: ending of the file.
        line: what it is for, in one line.
        needs_module: whether it takes weights, or the graph of the network.
        scheduled: whether it writes a `MaskSchedule`.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    line: ClassVar[str]
    needs_module: ClassVar[bool] = False
    scheduled: ClassVar[bool] = False

    @abstractmethod
    def export(self, source: Source) -> Exported:
        """The files.

        Raises:
            PlanError: the format cannot hold this plan; the first layer that it cannot hold is named.
        """

    @abstractmethod
    def provenance(self, data: bytes) -> dict[str, Any]:
        """What `provenance.provenance` wrote into the file.

        Raises:
            PlanError: the file is none of this format.
        """


def register(kind: type[Exporter]) -> type[Exporter]:
    """Class decorator: enters the exporter under its name."""
    if kind.name in EXPORTERS:
        raise ValueError(f"two exporters for {kind.name}")
    EXPORTERS[kind.name] = kind()
    return kind


def exporters() -> Mapping[str, Exporter]:
    """All exporters by name."""
    for name in _FILES:
        import_module(f"advisor.plans.export.{name}")
    return EXPORTERS


def exporter(name: str) -> Exporter:
    """The exporter of that name.

    Raises:
        PlanError: there is none.
    """
    found = exporters().get(name)
    if found is None:
        raise PlanError(unknown("format", name, EXPORTERS))
    return found


def own_modules(source: Source, library: str, fits: Callable[[PlanLayer], bool], kinds: str) -> list[PlanLayer]:
    """The layers that lose connections, all of them in modules of their own that the library takes.

    Args:
        library: its name, for errors.
        fits: whether it takes a layer.
        kinds: what it takes, in words.

    Raises:
        PlanError: the first layer that it does not take.
    """
    found = [layer for layer in source.plan.layers if layer.is_masked or layer.is_narrowed]
    for layer in found:
        if not fits(layer):
            raise PlanError(
                f"{source.label}: {library} takes {kinds}, and layer {layer.name} is a {layer.kind}; plan it dense "
                f"(--pin {layer.name}=dense), or export its mask (--to masks)"
            )
        if not layer.is_module or layer.weight.rpartition(".")[2] != "weight":
            raise PlanError(
                f"{source.label}: {library} works on modules, and the weight {layer.weight} of layer {layer.name} is "
                f"used by other modules than its own; plan it dense (--pin {layer.name}=dense), or export its mask "
                "(--to masks)"
            )
    return found


def owner(layer: PlanLayer) -> str:
    """Dotted name of the module that holds the layer's weight."""
    return layer.weight.rpartition(".")[0]
