"""The public `reconstruct`: a plan applied to a trained module, kept weights fitted to the dense layers' output."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from advisor.errors import PlanError
from advisor.examples.batches import Batch, Calibration, calibration, output_of
from advisor.examples.norms import are_fresh, measure_norms
from advisor.refitting.ridge import Bools, Moments, fit
from advisor.refitting.rows import rows_of, targets_of

if TYPE_CHECKING:
    from advisor.plans.plan import Plan, PlanLayer

RIDGE = 1e-3
POSITIONS = 16384  # rows of a layer's least squares, and 8 per unknown where that is more
LARGEST = 8192  # unknowns of one output; the square of it is what the sums hold
_FORWARDS = (
    nn.Linear.forward,
    *(kind.forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(kind.forward for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
)


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """A module under a plan with refitted weights.

    Attributes:
        errors: layer → (before, after): squared error of the outputs that it keeps against the dense network's, as a
            share of those outputs' own squares (around their means where the layer has a bias).
        skipped: layer → why its kept weights stayed as they were.
        norms: batch norms whose statistics were measured anew.
    """

    module: nn.Module
    errors: Mapping[str, tuple[float, float]]
    skipped: Mapping[str, str]
    norms: int


def reconstruct(
    plan: Plan, model: nn.Module, data: Any, *, ridge: float = RIDGE, norms: bool = True, seed: int = 0
) -> nn.Module:
    """As `plan.apply(model)`, with kept weights fitted to give what the dense layers gave on `data`.

    For trained networks. Layer after layer, in order of execution, least squares over the kept weights bring a thinned
    layer's output as close as can be to the dense one's, given what the thinned layers before it really deliver; so
    later layers make up for the errors of earlier ones (AdaPrune, Hubara et al. 2021, and SPDY, Frantar and Alistarh
    2022, fit each layer by itself). Biases are fitted, too. Then batch norm's statistics are measured anew. No label is
    looked at.

    Costs two partial passes over the data per thinned layer, and one Cholesky-sized solve per distinct set of inputs.

    Args:
        plan: made with connections chosen by magnitude, taylor or fisher, as a rule.
        model: the trained dense module; it is left as it was.
        data: as in `advisor.plan`; the inputs of some hundred examples do.
        ridge: pull towards the old weights, in units of an input's mean square.
        norms: whether batch norm is measured anew.
        seed: of the positions that are sampled where a layer has more than are needed.

    Raises:
        PlanError: as `plan.apply`, a network that was never trained, or a ridge that is not positive.
        DataError: data of another form, or inputs that the network does not take.
    """
    return reconstruct_plan(plan, model, data, ridge=ridge, norms=norms, seed=seed).module


def reconstruct_plan(
    plan: Plan, model: nn.Module, data: Any, *, ridge: float = RIDGE, norms: bool = True, seed: int = 0
) -> Reconstructed:
    """As `reconstruct`, with what it did to each layer."""
    from advisor.plans.again import is_applied
    from advisor.plans.apply import apply_plan
    from advisor.plans.masks import masks
    from advisor.plans.match import check_is_module

    if not ridge > 0:
        raise PlanError(f"ridge={ridge}; expected more than 0, for example 0.001")
    check_is_module(model)
    if is_applied(plan, model):
        raise PlanError(f"plan for {plan.model!r}: the module is under a plan already; pass the dense trained one")
    examples = calibration(data, seed=seed)
    kept = {name: mask.numpy() for name, mask in masks(plan, model).items()}
    if are_fresh(model):
        raise PlanError(
            "reconstruct: the model's batch norms were never trained, so there is nothing to reconstruct; load trained "
            "weights first"
        )
    dense, thin = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()
    halves = {p.dtype for p in model.parameters() if p.dtype in (torch.float16, torch.bfloat16)}
    if halves:
        dense, thin = dense.float(), thin.float()
    errors, skipped = {}, {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in plan.layers:
            if layer.pattern == "dense":
                continue
            weight = thin.get_parameter(layer.weight)
            weight.mul_(torch.from_numpy(kept[layer.name]).to(weight.device))
            reason = _why_not(layer, thin)
            if reason:
                skipped[layer.name] = reason
            else:
                errors[layer.name] = _refit(layer, dense, thin, kept[layer.name], examples, ridge, seed)
    del dense
    module = apply_plan(plan, thin).module
    counted = 0
    if norms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            counted = measure_norms(module, lambda: _passes(module, examples))
    module.train(model.training)
    for half in halves:
        module = module.to(half)
    return Reconstructed(module=module, errors=errors, skipped=skipped, norms=counted)


def _owner(layer: PlanLayer, module: nn.Module) -> nn.Module:
    return module.get_submodule(layer.weight.rpartition(".")[0])


def _why_not(layer: PlanLayer, module: nn.Module) -> str:
    """Why a layer's weights cannot be fitted by what goes in and comes out; "" where they can."""
    owner = _owner(layer, module)
    if not layer.is_module or "weight" not in owner._parameters or type(owner).forward not in _FORWARDS:
        return f"{type(owner).__name__} has a forward of its own"
    full = layer.layer
    if full.weights // full.out_channels > LARGEST:
        return f"{full.weights // full.out_channels:,} weights of an output are more than {LARGEST:,}"
    return ""


def _refit(
    layer: PlanLayer,
    dense: nn.Module,
    thin: nn.Module,
    mask: Bools,
    examples: Calibration,
    ridge: float,
    seed: int,
) -> tuple[float, float]:
    from advisor.patterns.layout import logical, stored

    full, owner = layer.layer, _owner(layer, thin)
    sums = _moments(layer, dense, thin, examples, seed)
    weight = owner.get_parameter("weight")
    bias = owner.bias if isinstance(owner.bias, nn.Parameter) else None
    shape = (full.groups, full.out_channels // full.groups, full.weights // full.out_channels)
    held = torch.from_numpy(logical(weight.detach().double().cpu().numpy(), full).reshape(shape).copy())
    masks = logical(mask, full).reshape(shape)
    before = after = whole = 0.0
    fitted, biases = [], []
    for group, raw in enumerate(sums):
        moments = raw.centred() if bias is not None else raw
        found = fit(moments, masks[group], held[group], ridge)
        alive = torch.from_numpy(masks[group].any(axis=-1))  # outputs that width removes are missed by nobody
        before += float(moments.errors(held[group])[alive].sum())
        after += float(moments.errors(found)[alive].sum())
        whole += float(moments.square[alive].sum())
        fitted.append(found)
        if bias is not None:
            biases.append((raw.targets - found @ raw.inputs) / max(raw.count, 1))
    values = torch.stack(fitted).numpy().reshape(full.out_channels, -1, *full.kernel)
    weight.copy_(torch.from_numpy(np.ascontiguousarray(stored(values, full))).to(weight))
    if bias is not None:
        # An output that is cut off keeps its bias: what it gives is read by nothing, or is all that it has.
        kept = torch.from_numpy(masks.any(axis=-1).reshape(-1)).to(bias.device)
        bias.copy_(torch.where(kept, torch.cat(biases).to(bias), bias))
    scale = whole or 1.0
    return before / scale, after / scale


class _Enough(BaseException):
    """All that was wanted of a pass has been seen. No mistake, so nothing that catches mistakes sees it."""


def _moments(layer: PlanLayer, dense: nn.Module, thin: nn.Module, examples: Calibration, seed: int) -> list[Moments]:
    """Per group the sums over sampled positions: inputs of the thinned network, outputs of the dense one."""
    full = layer.layer
    inputs, outputs = full.weights // full.out_channels, full.out_channels // full.groups
    sums = [Moments.empty(inputs, outputs) for _ in range(full.groups)]
    limit = -(-max(POSITIONS, 8 * inputs) // examples.examples)
    generator = torch.Generator().manual_seed(seed)
    owner, model = _owner(layer, thin), _owner(layer, dense)
    calls = _calls(dense, model, examples.batches[0])
    for batch in examples.batches:
        arriving = [seen[0] for seen in _seen(thin, owner, batch, calls)]
        leaving = [seen[1] for seen in _seen(dense, model, batch, calls)]
        for x, y in zip(arriving, leaving, strict=True):
            for one, wanted in _examples(model, x, y):
                rows, targets = rows_of(owner, one), targets_of(owner, wanted)
                if rows.shape[1] > limit:
                    chosen = torch.randperm(rows.shape[1], generator=generator)[:limit].to(rows.device)
                    rows, targets = rows[:, chosen], targets[:, chosen]
                for group, total in enumerate(sums):
                    total.add(rows[group], targets[group])
    return sums


def _calls(module: nn.Module, owner: nn.Module, batch: Batch) -> int:
    """How often one pass calls `owner`."""
    return len(_seen(module, owner, batch.part(0, 1), -1))


def _examples(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One example after the other, so that a batch of large maps is never spread out at once."""
    if isinstance(module, nn.Linear):
        return [(x, y)] if x.ndim < 3 else list(zip(x, y, strict=True))
    return [(x[k : k + 1], y[k : k + 1]) for k in range(len(x))]


def _seen(module: nn.Module, owner: nn.Module, batch: Batch, calls: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Input and output of the first `calls` calls of `owner` in one pass, which goes no further."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found.append((args[0].detach(), output.detach()))
        if len(found) == calls:
            raise _Enough

    handle = owner.register_forward_hook(keep)
    try:
        with contextlib.suppress(_Enough):
            output_of(module, _placed(module, batch))
    finally:
        handle.remove()
    return found


def _placed(module: nn.Module, batch: Batch) -> Batch:
    first = next(module.parameters())
    return batch.to(first.device, first.dtype)


def _passes(module: nn.Module, examples: Calibration) -> None:
    for batch in examples.batches:
        output_of(module, _placed(module, batch))
