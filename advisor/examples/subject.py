"""A copy of the user's network to look at: his own module never runs, changes its mode or gathers gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advisor.errors import PlanError
from advisor.examples.batches import Batch, Calibration, loss_of, output_of
from advisor.examples.norms import are_fresh, by_batch, measure_norms

if TYPE_CHECKING:
    from advisor.network import Network

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A copy in evaluation mode, with the weights of its sparsifiable layers.

    Attributes:
        module: the copy.
        weights: layer → parameter of the copy, in order of execution; each has `requires_grad`.
    """

    module: nn.Module
    weights: dict[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.weights.values())

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.weights.values())).dtype

    def loss(self, batch: Batch, calibration: Calibration, *, temperature: float = 1.0) -> torch.Tensor:
        """The mean loss of one batch."""
        batch = self.placed(batch)
        output = output_of(self.module, batch)
        return loss_of(output / temperature if temperature != 1 else output, batch, calibration.loss)

    def placed(self, batch: Batch) -> Batch:
        return batch.to(self.parameters[0].device, self.dtype)

    def gradients(self, loss: torch.Tensor, *, again: bool = False) -> Tensors:
        """Gradient of each weight, zeros where the loss does not depend on it. `again` keeps it differentiable."""
        found = torch.autograd.grad(loss, self.parameters, create_graph=again, allow_unused=True)
        return tuple(torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, found, strict=True))

    def measure_norms(self, calibration: Calibration) -> int:
        """Statistics of batch norm anew, over all calibration batches."""

        def passes() -> None:
            for batch in calibration.batches:
                output_of(self.module, self.placed(batch))

        return measure_norms(self.module, passes)

    def mean_loss(self, calibration: Calibration) -> float:
        """Over all examples, in evaluation mode."""
        self.module.eval()
        with torch.no_grad():
            parts = [float(self.loss(batch, calibration)) * batch.size for batch in calibration.batches]
        return sum(parts) / calibration.examples

    def named(self, values: Sequence[torch.Tensor]) -> dict[str, NDArray[np.float64]]:
        """One tensor per weight → layer → float64 array."""
        return {name: value.detach().double().cpu().numpy() for name, value in zip(self.weights, values, strict=True)}


def subject(network: Network) -> Subject:
    """A copy of the network's module in evaluation mode, in float32 unless it is in float64.

    Raises:
        PlanError: it was not kept, was built without memory, or cannot be copied.
    """
    from advisor.saliency.weights import weight_of

    for layer in network.sparsifiable:
        weight_of(network, layer)  # complains where there is no real module
    assert network.module is not None
    try:
        module = copy.deepcopy(network.module)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise PlanError(
            f"{type(network.module).__name__} cannot be copied ({reason}); nothing is tried on the given module itself"
        ) from error
    module.zero_grad(set_to_none=True)
    halves = [p for p in module.parameters() if p.dtype in (torch.float16, torch.bfloat16)]
    if halves:
        module = module.float()
    module.eval().requires_grad_(False)
    weights = {layer.name: module.get_parameter(str(layer.weight)) for layer in network.sparsifiable}
    for weight in weights.values():
        weight.requires_grad_(True)
    return Subject(module=module, weights=weights)


def settled(network: Network, calibration: Calibration, *, fresh: Literal["measure", "batch"] = "measure") -> Subject:
    """A subject whose batch norms work as they would in use.

    Statistics that training left are used as they are. Those of a network that was never trained say nothing yet:
    "measure" takes them from the data first, so that examples stay independent of each other; "batch" normalises each
    batch by its own, as in training.
    """
    found = subject(network)
    if are_fresh(found.module):
        if fresh == "batch":
            by_batch(found.module)
        else:
            found.measure_norms(calibration)
    return found


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Draws from `seed`, leaves torch's random state as it was, and takes attention apart, so that it can be
    differentiated twice."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        torch.manual_seed(seed)
        yield
