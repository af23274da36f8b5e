"""Which steps a run takes, found on fake tensors: no memory, no time, any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from advisor.devices.steps.describe import describe, describe_own
from advisor.devices.steps.owners import Owners
from advisor.errors import ProfileError
from advisor.quiet import quiet
from advisor.recording import Paths
from advisor.runtime.watch import watched_by

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The steps of one run in order, which module each belongs to, and how many modules were called."""

    steps: tuple[Step, ...]
    modules: tuple[str, ...]  # beside `steps`: dotted name of the innermost module that each belongs to, see `Owners`
    module_calls: int

    def counted(self) -> Counter[Step]:
        """Distinct steps and how often each runs."""
        return Counter(self.steps)


def is_work(func: Any) -> bool:
    """Whether an operator runs on real tensors, too: questions about a fake one, and the profiler's marks, do not."""
    return func.namespace not in ("prim", "profiler")


def _in_real_order(func: Any, result: Any) -> Any:
    """What `func` gave on fake tensors, in the order of axes that the CPU's kernel gives.

    Fake tensors let the gradient of a layer norm follow its input's strides; the kernel writes it contiguously, and
    what comes next is then a view where it would be a copy.
    """
    if func is not torch.ops.aten.native_layer_norm_backward.default or result[0] is None or result[0].is_contiguous():
        return result
    return (torch.empty(result[0].shape, dtype=result[0].dtype, device=result[0].device), *result[1:])


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator that reaches torch, and every call of our own kernels."""

    def __init__(self, owners: Owners) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self._owners, self._inside = owners, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = _in_real_order(func, func(*args, **(kwargs or {})))
        if not self._inside and is_work(func):
            self._note(describe(func, args, kwargs or {}, result), args)
        return result

    def own(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """A watcher: the call of a kernel is one step, whatever torch runs for it on fake tensors."""
        before, self._inside = self._inside, True
        try:
            with watched_by(None):
                result = function(*args)
        finally:
            self._inside = before
        if not before:
            self._note(describe_own(name, function, args, result), args)
        return result

    def _note(self, step: Step, args: tuple[Any, ...]) -> None:
        self.steps.append(step)
        self._owners.note(args)


def record_steps(
    module: torch.nn.Module, inputs: tuple[Any, ...], *, training: bool = False, optimizer: bool = False
) -> Recording:
    """The steps of one inference of `module` as it stands, or of one training step.

    Args:
        module: on any device, meta included; in the mode that counts (`eval`, `train`). It is left as it was.
        inputs: positional arguments; tensors may sit inside lists, tuples and dicts.
        training: forward and backward (of the sum of all outputs).
        optimizer: with training: also one step of `torch.optim.SGD` with momentum, its state made before.

    Raises:
        ProfileError: the network does not run on fake tensors (it looks at values).
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with quiet(), fake:
        known: dict[int, Any] = {}

        def as_fake(tensor: torch.Tensor) -> Any:
            made = known.get(id(tensor))
            if made is None:
                device = "cpu" if tensor.is_meta else tensor.device
                made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                if isinstance(tensor, torch.nn.Parameter):
                    made = torch.nn.Parameter(made, tensor.requires_grad)
                known[id(tensor)] = made
            return made

        held = {
            name: as_fake(tensor)
            for name, tensor in (
                *module.named_parameters(remove_duplicate=False),
                *module.named_buffers(remove_duplicate=False),
            )
        }
        given = tree_map_only(torch.Tensor, as_fake, inputs)
        try:
            return _run(module, held, given, training=training, optimizer=optimizer)
        except ProfileError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ProfileError(
                f"{type(module).__name__} does not run on tensors without values ({reason}); measure it itself: "
                "advisor profile MODEL"
            ) from error


def _run(
    module: torch.nn.Module, held: dict[str, Any], inputs: tuple[Any, ...], *, training: bool, optimizer: bool
) -> Recording:
    from torch.nn.utils.stateless import _reparametrize_module

    from advisor.devices.measuring.subject import forward_call, training_call

    with _reparametrize_module(module, held, tie_weights=True), Paths(module) as paths:
        if training:
            call = training_call(module, inputs, optimizer=optimizer)
            call()  # gradients and the optimiser's state exist from the second step on
        else:
            call = forward_call(module, inputs)
        owners = Owners(paths, module)
        recorder = Recorder(owners)
        paths.calls = 0
        with recorder, watched_by(recorder.own):
            call()
    return Recording(steps=tuple(recorder.steps), modules=tuple(owners.modules), module_calls=paths.calls)
