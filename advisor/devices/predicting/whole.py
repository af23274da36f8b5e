"""A network that nobody has timed, from a profile that knows its device: the run as it would be deployed, predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advisor.devices.measuring.subject import as_it_runs, inference_ready, real_inputs, weighted_module
from advisor.devices.model.layers import total
from advisor.devices.profile import Whole
from advisor.errors import AdvisorError, ProfileError
from advisor.patterns.option import DENSE

if TYPE_CHECKING:
    import torch

    from advisor.devices.inplace.deployed import Deployed
    from advisor.devices.predicting.estimator import Estimator, WholeEstimate
    from advisor.devices.predicting.predict import Estimate
    from advisor.devices.profile import Profile
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.plans.plan import Plan
    from advisor.runtime.execution import Execution


def recording_of(
    network: Network, plan: Plan | None = None, *, training: bool = False, device: str = "cpu"
) -> Recording:
    """The operators that `network` runs as deployed, dense or under `plan`; in training those of a whole step.

    Nothing is timed, but a network of meta tensors gets memory and random weights: what is fused is tried out.

    Args:
        device: "cpu" or "cuda"; our pooling belongs to the CPU.
    """
    from advisor.devices.steps.record import record_steps

    inputs = real_inputs(network, "cpu")
    module = _subject(network, plan, inputs, training=training, device=device)
    return record_steps(module, inputs, training=training, optimizer=training)


def _subject(
    network: Network, plan: Plan | None, inputs: tuple[Any, ...], *, training: bool, device: str
) -> torch.nn.Module:
    from advisor.runtime.fold import fold

    module = weighted_module(network)
    if plan is None and not training and device != "cpu":
        return fold(module, network).eval()
    return as_it_runs(network, module, plan, inputs, training=training)[0]


def predict_run(
    network: Network, profile: Profile, plan: Plan | None = None, *, training: bool = False
) -> WholeEstimate:
    """The latency of a whole run by a device profile (`profile.at(...)` sets threads and the kind of run).

    Raises:
        ProfileError: the profile is of one network's measurements, and knows no others.
    """
    recording = recording_of(network, plan, training=training, device=profile.device)
    return _estimator(profile).whole(recording)


def predict_layers(
    network: Network, profile: Profile, plan: Plan | None = None
) -> tuple[WholeEstimate, dict[str, Estimate]]:
    """A whole training step, and what each layer takes of it: forward, backward and the update of its weights.

    The intervals of one layer's steps err together, so their ends add up.

    Returns:
        The whole, and layer → its time; no layers where the profile does not tell operators apart.

    Raises:
        ProfileError: as `predict_run`.
    """
    estimator = _estimator(profile)
    recording = recording_of(network, plan, training=True, device=profile.device)
    whole = estimator.whole(recording)
    if not whole.steps_ms:
        return whole, {}
    owners = {name: _layer_of(name, network) for name in dict.fromkeys(recording.modules)}
    mine: dict[str, list[Estimate]] = {layer.name: [] for layer in network.sparsifiable}
    for step, module in zip(recording.steps, recording.modules, strict=True):
        if (name := owners[module]) is not None and step.family != "view":
            mine[name].append(estimator.step(step))
    return whole, {name: total(found) for name, found in mine.items()}


def _layer_of(module: str, network: Network) -> str | None:
    """The layer that a module is, or is a part of (what makes its weight from kept values)."""
    names = {layer.name for layer in network.sparsifiable}
    while module not in names:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return None
    return module


def predicted_whole(network: Network, profile: Profile) -> Whole:
    """The dense network as an entry that a profile could hold, predicted instead of measured.

    At inference `saved` is what sparse layers take in, seen in one run of the network with sparse layers in it, at
    predicted times; in training they take in nothing.
    """
    from advisor.devices.inplace.deployed import deployed

    training = profile.settings is not None and profile.settings.training
    if training:
        recording = recording_of(network, training=True, device=profile.device)
        run = _estimator(profile).whole(recording)
        known = {name: _layer_of(name, network) for name in dict.fromkeys(recording.modules)}
        parts = _between_layers(recording.steps, [known[name] for name in recording.modules], run)
        return _whole(network, profile, run, parts, {})
    if profile.device != "cpu":  # what lies between the layers is known as a whole, launches among it
        return _whole(network, profile, _estimator(profile).whole(recording_of(network, device=profile.device)), {}, {})
    module, inputs = weighted_module(network), real_inputs(network, "cpu")
    dense = deployed(network, inference_ready(network, module), inputs)
    run = _estimator(profile).whole(dense.recording)
    parts = _between_layers(dense.steps, dense.sites, run)
    return _whole(network, profile, run, parts, _saved(network, module, dense, run))


def _whole(
    network: Network, profile: Profile, run: WholeEstimate, parts: dict[str, float], saved: dict[str, float]
) -> Whole:
    from advisor.devices.measuring.work import network_hash

    layers_ms = _layers_ms(network, profile)
    return Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=run.median_ms,
        low_ms=run.low_ms,
        high_ms=run.high_ms,
        repeats=0,
        eager_ms=run.median_ms,
        layers_ms=layers_ms,
        network_hash=network_hash(network),
        parts=parts,
        interpreter_ms=run.median_ms - layers_ms - sum(parts.values()),
        saved=saved,
        deviation=(run.high_ms - run.low_ms) / 2 / run.median_ms,
        origin=run.origin,
    )


def _estimator(profile: Profile) -> Estimator:
    if profile.estimator is None:
        raise ProfileError(
            f"profile {profile.name!r} holds times of single networks; a device profile tells of any: "
            "advisor profile --suite --out FILE"
        )
    return profile.estimator


def _layers_ms(network: Network, profile: Profile) -> float:
    from advisor.runtime.execution import executions

    counts: Counter[Execution] = Counter()
    for layer in network.sparsifiable:
        counts.update(executions(layer, DENSE))
    return sum(calls * profile.latency(execution).median_ms for execution, calls in counts.items())


def _between_layers(steps: Sequence[Step], layers: Sequence[str | None], run: WholeEstimate) -> dict[str, float]:
    """Family → ms of operators that are no layer; empty where the estimator does not tell operators apart."""
    found: dict[str, float] = {}
    for step, layer, ms in zip(steps, layers, run.steps_ms, strict=bool(run.steps_ms)):
        if layer is None and step.family != "view":
            found[step.family] = found.get(step.family, 0.0) + ms
    return found


def _saved(network: Network, module: torch.nn.Module, dense: Deployed, run: WholeEstimate) -> dict[str, float]:
    """Layer → ms of the operators that its sparse form takes in."""
    from advisor.devices.inplace.passes import choices_of
    from advisor.devices.inplace.taken_in import calls_of, taken_in
    from advisor.devices.inplace.template import template_of
    from advisor.devices.measuring.work import options_of

    if not run.steps_ms:
        return {}
    try:
        options = options_of(network, ("group", "channel"))
        choices = choices_of(network, options)
        first: dict[str, Option] = {name: next(iter(forms.values())) for name, forms in choices.items()}
        template, _ = template_of(network, module, real_inputs(network, "cpu"), dense, first)
    except (AdvisorError, RuntimeError):
        return {}
    if template is None:
        return {}
    gone = taken_in(dense, calls_of(template.running))
    return {name: sum(run.steps_ms[index] for index in indices) for name, indices in gone.items()}
