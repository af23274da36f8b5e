"""What a training method is: hooks around an optimiser's steps, and settings that attach them to a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from advisor.network import Network
    from advisor.plans.plan import Plan

Target = Literal["dense", "plan"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a method leaves behind when training has ended.

    Attributes:
        plan: the network as it is now, narrower or sparser, as a plan; None where it is what it was.
        numbers: by name, for report and learning curve.
        files: file name → content, kept beside the run (a trace, a list of filters).
    """

    plan: Plan | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Method:
    """Base of every training method. A hook that a method does not need does nothing.

    A training step is: zero gradients; loss = task + penalty(); backward; after_backward(); optimizer.step(); the
    schedule's step; after_step(). An epoch ends with after_epoch(), the training with finish() and close().
    """

    def penalty(self) -> Tensor | None:
        """A scalar that is added to the task's loss; None for nothing."""
        return None

    def after_backward(self) -> None:
        """The gradients are there, the optimiser has not stepped."""

    def after_step(self) -> None:
        """The optimiser has stepped."""

    def after_epoch(self) -> dict[str, float]:
        """Numbers for the learning curve."""
        return {}

    def finish(self) -> Outcome:
        """After the last epoch and before the test; may change the module for good."""
        return Outcome()

    def state_dict(self) -> dict[str, Any]:
        """All that a killed run needs to go on: tensors, numbers, strings, lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""

    def close(self) -> None:
        """Takes hooks off the module."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a method may look at and change when a run begins.

    Attributes:
        module: what trains, on its device, with its first weights.
        network: the dense network, analysed.
        plan: of this run; None where the dense network trains.
        train_size: training images.
        sample: (count, batch) → training images `B C H W` on the module's device, `count` of them at most.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    network: Network
    plan: Plan | None
    epochs: int
    steps_per_epoch: int
    train_size: int
    seed: int
    sample: Callable[[int, int], Iterator[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSettings:
    """What a user can choose about a method; a frozen dataclass of numbers, flags and strings with defaults."""

    name: ClassVar[str]
    target: ClassVar[Target]  # what it is applied to where the user says nothing

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> nn.Module | None:
        """The module to train, where that is not the plan applied to `dense`; None where it is.

        Masks that change need dense weights with masks; those return their own module.

        Args:
            rescale: training starts from scratch, so that a thinned layer's weights grow with the inputs it lost (see
                `validation.contestants.rescaled`).
        """
        return None

    def attach(self, run: Run) -> Method:
        """The method at work on a run."""
        raise NotImplementedError
