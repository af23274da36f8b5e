"""Who runs against whom: the dense network, the plan and its baselines, all from the same dense weights of a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from advisor.errors import AdvisorError, DataError, ModelError, PlanError, unknown
from advisor.examples import NOTHING_GIVEN, Given
from advisor.models import input_text, load_model, load_weights
from advisor.plans.plan import load_plan
from validation.reporting.exchange import way_of
from validation.training.evaluation import logits_of
from validation.training.recipe import placed

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network, Shape
    from advisor.plans.plan import Plan
    from validation.data import DataSet
    from validation.methods.method import MethodSettings
    from validation.methods.registry import Applied

Build = Callable[[int], nn.Module]  # seed → the dense module with that seed's random weights


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to thin the network out; `plan` None is the dense network itself.

    Attributes:
        method: how it trains, beside the optimiser's steps; None: by those alone.
    """

    label: str
    plan: Plan | None
    method: Applied | None = None

    @property
    def settings(self) -> tuple[MethodSettings, ...]:
        """Of its training methods."""
        return self.method.settings if self.method else ()

    @property
    def way(self) -> str:
        """What it does, in words: "channel connections with rigl"."""
        said = "nothing goes" if self.plan is None else way_of(self.plan)
        return said if self.method is None else f"{said}, trained with {self.method.text}"

    def module(self, dense: nn.Module, *, rescale: bool) -> nn.Module:
        """The module to train. `dense` itself where there is no plan.

        Args:
            rescale: a thinned layer's weights grow with the inputs it lost (see `begin`).
        """
        made = [found for one in self.settings if (found := one.module(dense, self.plan, rescale=rescale)) is not None]
        if len(made) > 1:
            raise AdvisorError(f"--method {self.method.text!r} joins methods that both rebuild the network; take one")
        if made:
            return made[0]
        if self.plan is None:
            return dense
        module = self.plan.apply(dense)
        if rescale:
            rescaled(module, self.plan)
        return module


def builder(model: str, shapes: tuple[Shape, ...]) -> Build:
    """Builds MODEL anew for every seed, without touching anyone else's random state."""
    text = input_text(shapes)

    def build(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return load_model(model, device="cpu", input_text=text).module

    return build


def begin(contestant: Contestant, build: Build, seed: int, checkpoint: Path | None) -> nn.Module:
    """The module at the start of a run: the seed's dense weights, or the checkpoint's, with the plan applied.

    From scratch a thinned layer's weights grow with the inputs it lost, so that signals keep their size: that is how a
    layer with so few inputs would have been initialised (He et al. 2015), narrow and sparse layers alike.

    Raises:
        ModelError, PlanError: weights or plan belong to another network.
    """
    dense = build(seed)
    if checkpoint is not None:
        load_weights(dense, checkpoint)
    return contestant.module(dense, rescale=checkpoint is None)


@torch.no_grad()
def rescaled(module: nn.Module, plan: Plan) -> None:
    """Makes thinned layers' weights as large as if they had been initialised with the inputs that they kept.

    Args:
        module: dense or with the plan applied; its kept weights change.
    """
    masks = plan.masks()
    done: set[int] = set()
    for layer in plan.layers:
        if layer.pattern == "dense":
            continue
        parameter = _stored(module, layer.weight)
        if id(parameter) in done:  # tied weights
            continue
        done.add(id(parameter))
        mask = masks[layer.name]
        outputs = mask.transpose(0, 1) if layer.kind.startswith("conv_transpose") else mask
        rows = outputs.reshape(outputs.shape[0], -1)
        kept = rows.sum(1)[rows.any(1)].double().mean()
        parameter.mul_(math.sqrt(rows.shape[1] / float(kept)))


def _stored(module: nn.Module, weight: str) -> nn.Parameter:
    """The parameter that holds a layer's kept weights, packed or smaller."""
    owner_name, _, name = weight.rpartition(".")
    owner = module.get_submodule(owner_name)
    chains = getattr(owner, "parametrizations", {})
    found = chains[name].original if name in chains else getattr(owner, name)
    assert isinstance(found, nn.Parameter)
    return found


def check_network(name: str, module: nn.Module, data: DataSet) -> tuple[str, ...]:
    """Tries one small training batch, before hours are spent.

    Returns:
        Notes for the report.

    Raises:
        ModelError: it fails on the images. DataError: it is no classifier, or has too few outputs.
    """
    pixels, _ = data.train.batch(torch.arange(min(len(data.train), 4)))
    if len(pixels) < 2:
        raise DataError(
            f"got {len(pixels)} training images, expected 2 or more (batch norm needs two); raise --train-size"
        )
    try:
        with torch.no_grad():
            heads = logits_of(module.train()(placed(pixels, "cpu")))
    except AdvisorError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"network {name!r} fails on images of {'x'.join(map(str, data.shape))} from {data.name!r}: "
            f"{type(error).__name__}: {reason}; choose other data or another --input"
        ) from error
    outputs = heads[0].shape[1]
    if outputs < data.classes:
        raise DataError(
            f"network {name!r} has {outputs} outputs, data set {data.name!r} has {data.classes} classes; expected at "
            f"least {data.classes} outputs; choose other data, or a factory that builds {data.classes}"
        )
    if outputs > data.classes:
        return (
            f"the network has {outputs} outputs for {data.classes} classes; those without a class learn to stay low",
        )
    return ()


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Raises PlanError for a baseline that nobody knows."""
    from advisor.planning.baselines import BASELINES

    for kind in kinds:
        if kind not in BASELINES:
            raise PlanError(unknown("baseline", kind, BASELINES))


def line_up(
    network: Network,
    plan: Plan,
    kinds: tuple[str, ...],
    *,
    profile: Profile | None,
    folder: Path,
    given: Given = NOTHING_GIVEN,
    methods: tuple[Applied, ...] = (),
) -> tuple[tuple[Contestant, ...], dict[str, str]]:
    """Dense, the plan, its baselines, and dense or plan once more for each training method.

    The plans are kept in `folder`, and read from there by a later call.

    Returns:
        The contestants, and baseline → why it is missing.
    """
    from advisor.planning.baselines import baselines

    places = {label: folder / f"{label}.json" for label in ("plan", *kinds)}
    reasons: dict[str, str] = {}
    missing = [kind for kind in kinds if not places[kind].is_file()]
    if missing and any(line.budget is not None for line in plan.costs.values()):
        made = baselines(network, plan, profile=profile, kinds=tuple(missing), given=given)
        reasons = dict(made.reasons)
        folder.mkdir(parents=True, exist_ok=True)
        for label, baseline in made.items():
            baseline.save(places[label])
    elif missing:
        reasons = dict.fromkeys(missing, "the plan has no budget that it could meet")
    if not places["plan"].is_file():
        folder.mkdir(parents=True, exist_ok=True)
        plan.save(places["plan"])
    plans = {"plan": plan} | {kind: load_plan(places[kind]) for kind in kinds if places[kind].is_file()}
    thinned = (Contestant(label=label, plan=replace(one, network=network)) for label, one in plans.items())
    own = replace(plan, network=network)
    trained = (Contestant(label=one.label, plan=own if one.target == "plan" else None, method=one) for one in methods)
    return (Contestant(label="dense", plan=None), *thinned, *trained), reasons
