"""Labelled batches, checked once and kept, so that every pass sees the same examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset

from advisor.errors import AdvisorError, DataError

Loss = Callable[[torch.Tensor, Any], torch.Tensor]  # (the network's first output, targets) → mean loss, a scalar
EXAMPLES = 256
BATCH = 64  # of data that comes without batches
EXPECTED = "expected batches of (inputs, targets), such as a DataLoader of a labelled data set"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """One call of the network: `args` and `kwargs`, with the `targets` that the loss compares its output with.

    All tensors count `size` examples along their first axis, but for those that do not have it.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    targets: Any
    size: int

    def part(self, begin: int, end: int) -> Batch:
        """The examples from `begin` up to `end`."""

        def cut(item: Any) -> Any:
            has = isinstance(item, torch.Tensor) and item.ndim > 0 and len(item) == self.size
            return item[begin:end] if has else item

        args, kwargs, targets = tree_map(cut, (self.args, dict(self.kwargs), self.targets))
        return Batch(args=args, kwargs=kwargs, targets=targets, size=end - begin)

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """On that device; floating inputs and targets in that type."""

        def move(item: Any) -> Any:
            if not isinstance(item, torch.Tensor):
                return item
            return item.to(device, dtype if item.is_floating_point() else item.dtype)

        args, kwargs, targets = tree_map(move, (self.args, dict(self.kwargs), self.targets))
        return Batch(args=args, kwargs=kwargs, targets=targets, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Examples to look at a network with. `calibration` makes one; `loss` is a mean over the examples of a batch."""

    batches: tuple[Batch, ...]
    loss: Loss = field(default=F.cross_entropy)

    @property
    def examples(self) -> int:
        return sum(batch.size for batch in self.batches)

    def singles(self) -> Iterator[Batch]:
        """One example after the other."""
        for batch in self.batches:
            for index in range(batch.size):
                yield batch.part(index, index + 1)


def calibration(
    data: Any, *, loss: Loss | None = None, examples: int = EXAMPLES, seed: int = 0, what: str = "data"
) -> Calibration:
    """The first `examples` examples of `data`, read once.

    Args:
        data: batches of (inputs, targets): a DataLoader or any iterable; a Dataset of single examples; a pair of
            tensors with all examples; or a Calibration, which comes back as it is. Inputs are a tensor, a list or tuple
            of arguments, or a dict of keyword arguments.
        loss: (first output, targets) → mean loss; cross-entropy where None.
        examples: how many at most.
        seed: of what a shuffling loader draws; torch's own random state is left as it was.
        what: how errors call the data.

    Raises:
        DataError: no examples, batches of another form, or NaN or infinity in the inputs.
    """
    if isinstance(data, Calibration):
        return data
    if examples < 1:
        raise DataError(f"{what}: examples={examples}; expected 1 or more")
    found: list[Batch] = []
    left = examples
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, item in enumerate(_iterated(data, what)):
            batch = _batch(item, f"{what}, batch {number}")
            found.append(batch if batch.size <= left else batch.part(0, left))
            left -= found[-1].size
            if left <= 0:
                break
    if not found:
        raise DataError(f"{what}: holds no examples (a generator that was read before?); {EXPECTED}")
    return Calibration(batches=tuple(found), loss=loss or F.cross_entropy)


def _iterated(data: Any, what: str) -> Iterator[Any]:
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(item, torch.Tensor) for item in data):
        inputs, targets = data
        if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
            raise DataError(
                f"{what}: inputs of shape {tuple(inputs.shape)} and targets of shape {tuple(targets.shape)}; expected "
                "as many targets as inputs"
            )
        data = [(inputs[k : k + BATCH], targets[k : k + BATCH]) for k in range(0, len(inputs), BATCH)]
    elif isinstance(data, Dataset) and not isinstance(data, DataLoader):
        data = DataLoader(data, batch_size=BATCH)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | Mapping | torch.Tensor):
        raise DataError(f"{what}: got {type(data).__name__}; {EXPECTED}")
    reader = iter(data)
    while True:
        try:
            item = next(reader)
        except StopIteration:
            return
        except AdvisorError:
            raise
        except Exception as error:  # whatever a user's data set raises
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{what}: reading it failed: {type(error).__name__}: {reason}; mend it there") from error
        yield item


def _batch(item: Any, what: str) -> Batch:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise DataError(f"{what}: got {_kind(item)}; {EXPECTED}")
    inputs, targets = item
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        kwargs = {str(name): value for name, value in inputs.items()}
    else:
        args = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    size = len(tensors[0]) if tensors and tensors[0].ndim else 0
    if size == 0:
        raise DataError(f"{what}: its inputs are {_kind(inputs)}, without examples along a first axis; {EXPECTED}")
    labels = [leaf for leaf in tree_leaves(targets) if isinstance(leaf, torch.Tensor)]
    if not labels:
        raise DataError(f"{what}: its targets are {_kind(targets)}, without a tensor; {EXPECTED}")
    if labels[0].ndim == 0 or len(labels[0]) != size:
        raise DataError(f"{what}: {size} inputs and targets of shape {tuple(labels[0].shape)}; expected one for each")
    for tensor in (*tensors, *labels):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{what}: holds NaN or infinity; mend or leave out those examples")
    return Batch(args=args, kwargs=kwargs, targets=targets, size=size)


def _kind(item: Any) -> str:
    if isinstance(item, torch.Tensor):
        return f"a tensor of shape {tuple(item.shape)}"
    if isinstance(item, list | tuple):
        return f"a {type(item).__name__} of {len(item)}"
    return type(item).__name__


def output_of(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The network's first floating output (logits; auxiliary heads come later).

    Raises:
        DataError: the network fails on the inputs, or gives no tensor.
    """
    try:
        found = module(*batch.args, **batch.kwargs)
    except Exception as error:
        shapes = ", ".join(_kind(leaf) for leaf in tree_leaves((batch.args, dict(batch.kwargs))))
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the network fails on the data ({shapes}): {type(error).__name__}: {reason}; give inputs as it takes them"
        ) from error
    for leaf in tree_leaves(found if not isinstance(found, Mapping) else list(found.values())):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
            return leaf
    raise DataError(f"the network gives {type(found).__name__}, and no tensor that a loss could take")


def loss_of(output: torch.Tensor, batch: Batch, loss: Loss) -> torch.Tensor:
    """The batch's mean loss.

    Raises:
        DataError: the loss cannot take output and targets, is no scalar, or no finite number.
    """
    if loss is F.cross_entropy and isinstance(batch.targets, torch.Tensor) and not batch.targets.is_floating_point():
        _check_labels(output, batch.targets)
    try:
        found = loss(output, batch.targets)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the loss fails on outputs of shape {tuple(output.shape)} and {_kind(batch.targets)} as targets: "
            f"{type(error).__name__}: {reason}; give a loss= that takes them"
        ) from error
    if not isinstance(found, torch.Tensor) or found.numel() != 1:
        raise DataError(f"the loss gives {_kind(found)}; expected one number, the mean over the batch")
    if not math.isfinite(float(found.detach())):
        raise DataError(
            f"the loss on the data is {float(found.detach())}; the network or its data holds NaN or values too large"
        )
    return found.reshape(())


def _check_labels(output: torch.Tensor, targets: torch.Tensor) -> None:
    if output.ndim < 2 or targets.numel() == 0 or targets.dtype == torch.bool:
        return
    classes, low, high = output.shape[1], int(targets.min()), int(targets.max())
    if high >= classes or (low < 0 and low != -100):
        raise DataError(
            f"targets run from {low} to {high}, the network has {classes} outputs; expected labels from 0 to "
            f"{classes - 1}: give the data that this network was made for"
        )
