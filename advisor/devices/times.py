"""What was timed: executions, operators that are no layers, and whole networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.network import Shape
    from advisor.runtime.execution import Execution

Origin = Literal["measured", "predicted", "extrapolated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The time of one execution. Measured: a 95 % interval of the median; predicted: one that holds 80 % of cases."""

    execution: Execution
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    origin: Origin = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """The time of one operator that is no layer, in place; the mean over where it occurs. A 95 % interval."""

    step: Step
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole network: inference-ready (batch norm folded), or one forward and backward pass of it as given.

    `layers_ms` is the sum of its dense layers, `rest_ms` what the whole takes beside that. Measured in place, the rest
    is known: median_ms = layers_ms + Σ parts + interpreter_ms. Of layers timed one by one it is what is left: operators
    between the layers, colder caches, the interpreter; negative where a layer alone is slower than in place.

    Attributes:
        parts: family of operators → ms of all of them that are no layers; empty where nobody looked.
        interpreter_ms: what is left of the whole: Python between the operators, memory given back. A few percent below
            zero where the operators under the clock took longer than without one. None where nobody looked.
        saved: layer → ms that its sparse form saves beside the layer itself: the activation and the addition that it
            takes in, less what a call of it costs more.
        origin: "predicted" or "extrapolated" where a device profile or a transfer made it up.
        deviation: share by which 80 % of the whole networks with sparse layers that were timed meanwhile differed from
            the sum of their parts; 0 where there were none.
        graph_ms: replayed from a CUDA graph; None where nobody looked, or none could be captured.
        launch_ms: what launching its `launches` kernels one by one adds to that.
    """

    model: str
    input_shapes: tuple[Shape, ...]
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    eager_ms: float  # the network as given, batch norm and all
    layers_ms: float
    network_hash: str = ""  # of layers and shapes, see work.network_hash; "" where unknown
    parts: Mapping[str, float] = field(default_factory=dict)
    interpreter_ms: float | None = None
    saved: Mapping[str, float] = field(default_factory=dict)
    deviation: float = 0.0
    origin: Origin = "measured"
    graph_ms: float | None = None
    launch_ms: float | None = None
    launches: int | None = None

    @property
    def key(self) -> str:
        """Unique within a profile: "torchvision:resnet18 1x3x224x224"."""
        return " ".join([self.model, *("x".join(map(str, shape)) for shape in self.input_shapes)])

    @property
    def rest_ms(self) -> float:
        return self.median_ms - self.layers_ms

    @property
    def in_place(self) -> bool:
        """Whether its layers were timed where they live."""
        return self.interpreter_ms is not None
