"""A network made ready to be timed: real memory, sane numbers, the batch asked for, and nothing left but to call it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_flatten, tree_map_only

from advisor.errors import AdvisorError, ModelError, ProfileError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.apply import Applied
    from advisor.plans.plan import Plan


def batch_of(network: Network) -> int:
    """Images per call: the first axis of the first input, or the number of images where they come as a list."""
    first = network.example_inputs[0] if network.example_inputs else None
    if isinstance(first, list | tuple):
        return max(len(first), 1)
    shape = network.input_shapes[0] if network.input_shapes else ()
    return shape[0] if shape else 1


def dtype_of(network: Network) -> str:
    """The number type of the weights that patterns thin out: "float32", or "bfloat16+float32" where they differ."""
    weights = {layer.weight for layer in network.sparsifiable}
    values = network.ops.values
    found = {value.dtype for value in values if value.origin == "parameter" and value.name in weights}
    return "+".join(sorted(found)) or "float32"


def with_batch(network: Network, batch: int | None) -> Network:
    """The same network analysed at another batch size; itself where the batch is already that.

    Raises:
        ProfileError: its input has no batch axis to change, or it does not run at that size.
    """
    from advisor.trace import analyze

    before = batch_of(network)
    if batch is None or batch == before:
        return network
    if batch < 1:
        raise ProfileError(f"batch={batch}; expected 1 or more")
    module = module_of(network)
    first = network.example_inputs[0]
    inputs: tuple[Any, ...]
    if isinstance(first, list | tuple):
        inputs = (type(first)(first[i % before] for i in range(batch)), *network.example_inputs[1:])
    else:
        # Every input whose first axis is the batch grows with it; others (a scale, a mask of positions) stay.
        inputs = tree_map_only(
            torch.Tensor,
            lambda t: t.new_zeros((batch, *t.shape[1:])) if t.ndim and t.shape[0] == before else t,
            network.example_inputs,
        )
    return analyze(module, inputs, name=network.name)


def module_of(network: Network) -> torch.nn.Module:
    """The network's module, or a clear complaint."""
    if network.module is None:
        raise ProfileError(
            f"network {network.name!r} was analysed without keeping its module; analyse it again to time it"
        )
    return network.module


def real_module(network: Network, device: str, *, seed: int = 0) -> torch.nn.Module:
    """A copy of the network on `device`; weights that were never allocated get random ones of usual size.

    Raises:
        ProfileError: it was built without memory and holds index tables, which cannot be made up.
    """
    module = module_of(network)
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if not any(tensor.is_meta for _, tensor in tensors):
        return copy.deepcopy(module).to(device)
    for name, buffer in module.named_buffers():
        if buffer.is_meta and not buffer.is_floating_point() and not name.endswith("num_batches_tracked"):
            raise ProfileError(
                f"network {network.name!r} was built without memory and its table {name!r} cannot be made up; "
                "build it on the CPU (load_model with device='cpu') to time it"
            )
    made = copy.deepcopy(module).to_empty(device=device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
            tensor.copy_(_fill(name, tensor, generator))
    return made


def weighted_module(network: Network) -> torch.nn.Module:
    """`real_module` on the CPU; built anew by its name where it holds tables that cannot be made up."""
    from advisor.models import load_model

    try:
        return real_module(network, "cpu")
    except ProfileError as problem:
        try:
            return load_model(network.name, device="cpu", seed=0).module
        except ModelError:  # the name is not one to load by
            raise problem from None


def as_it_runs(
    network: Network, module: torch.nn.Module, plan: Plan | None, inputs: tuple[Any, ...], *, training: bool
) -> tuple[torch.nn.Module, Applied | None]:
    """`module` (the network's, with memory) dense or under `plan`, to train or as it would be deployed, in the mode
    that goes with it; and what applying the plan had to say.
    """
    from advisor.plans.apply import apply_plan

    applied = None
    if plan is not None:
        applied = apply_plan(plan, module, for_inference=not training, example_inputs=inputs)
        module = applied.module
    elif not training:
        module = inference_ready(network, module)
    return module.train(training), applied


def _fill(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Values of the usual size: activations neither vanish (denormal numbers are slow) nor overflow."""
    last = name.rpartition(".")[2]
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    if tensor.ndim >= 2:
        fan_in = max(math.prod(tensor.shape[1:]), 1)
        return torch.randn(tensor.shape, generator=generator) * math.sqrt(2 / fan_in)
    return torch.ones(tensor.shape) if last in ("weight", "running_var", "gamma") else torch.zeros(tensor.shape)


def real_inputs(network: Network, device: str, *, seed: int = 0) -> tuple[Any, ...]:
    """Standard normal inputs of the example's shapes; integer ones (tokens) keep the example's values."""
    generator = torch.Generator().manual_seed(seed)

    def make(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            return torch.randn(tensor.shape, generator=generator).to(device, tensor.dtype)
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device) if tensor.is_meta else tensor.to(device)

    inputs: tuple[Any, ...] = tree_map_only(torch.Tensor, make, network.example_inputs)
    return inputs


def inference_ready(network: Network, module: torch.nn.Module) -> torch.nn.Module:
    """The dense network as it would be deployed, as `Plan.apply(for_inference=True)` leaves one without sparse layers.

    Evaluation mode, batch norm folded into what comes before it, pooling on the kernels where there are some.
    """
    from advisor.runtime.fold import fold
    from advisor.runtime.fuse import fuse

    folded = fold(module, network).eval()
    devices = {tensor.device.type for tensor in (*folded.parameters(), *folded.buffers())}
    return fuse(folded, real_inputs(network, "cpu")) if devices <= {"cpu"} else folded


def forward_call(module: torch.nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
    """One inference, gradients off."""

    def call() -> object:
        with torch.inference_mode():
            return module(*inputs)

    return call


def training_call(module: torch.nn.Module, inputs: tuple[Any, ...], *, optimizer: bool = False) -> Callable[[], object]:
    """Forward and backward from the sum of all outputs, gradients dropped beforehand.

    With `optimizer` also a step of SGD with momentum; at a learning rate of 0, so that repeating it keeps the weights
    what they are.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    rule = torch.optim.SGD(parameters, lr=0.0, momentum=0.9) if optimizer else None

    def call() -> object:
        for parameter in parameters:
            parameter.grad = None
        total = _sum(module(*inputs))
        total.backward()  # type: ignore[no-untyped-call]
        if rule is not None:
            rule.step()
        return total

    return call


def _sum(output: Any) -> torch.Tensor:
    if hasattr(output, "to_tuple"):
        output = output.to_tuple()
    leaves = [t for t in tree_flatten(output)[0] if isinstance(t, torch.Tensor) and t.requires_grad]
    if not leaves:
        raise ProfileError("the network's output has no gradient, so it has no training step to time")
    return torch.stack([leaf.float().sum() for leaf in leaves]).sum()


def layer_call(module: torch.nn.Module, inputs: torch.Tensor, *, training: bool) -> Callable[[], object]:
    """One execution of one layer alone; when training with the gradient of its input, as inside a network."""
    if not training:
        return forward_call(module.eval(), (inputs,))
    module.train()
    inputs = inputs.detach().requires_grad_()
    with torch.no_grad():
        gradient = torch.ones_like(module(inputs))
    parameters = [p for p in module.parameters() if p.requires_grad]

    def call() -> object:
        inputs.grad = None
        for parameter in parameters:
            parameter.grad = None
        module(inputs).backward(gradient)
        return None

    return call


def try_once(call: Callable[[], object], network: Network, what: str) -> None:
    """Runs it once, so that a network that cannot run says so before the measuring starts."""
    try:
        call()
    except (AdvisorError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ProfileError(f"network {network.name!r} does not run {what}: {reason}") from error
