"""What a validation's runs teach: written beside the report, and added to a file that outlives it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.planning.sensitivity.trained_data import Responses, Run, load_responses, shapes_of
from validation.running.trials import Study, digest, plan_digest

if TYPE_CHECKING:
    from advisor.network import Network

FILE = "responses.json"


def responses_of(network: Network, study: Study, runs: Sequence[Mapping[str, Any]]) -> Responses:
    """The finished runs of a study as responses; those that failed or trained by a method teach nothing of layers.

    Nor do plans that replace attention: what they lose is not their layers' alone.
    """
    plain = [one for one in study.contestants if one.method is None and (one.plan is None or not one.plan.attention)]
    settings = study.settings()
    key = digest(json.dumps(settings, sort_keys=True).encode())
    digests = {one.label: plan_digest(one.plan) for one in plain}
    plans = {
        digests[one.label]: {
            layer.name: layer.option
            for layer in (one.plan.layers if one.plan is not None else ())
            if layer.pattern != "dense"
        }
        for one in plain
    }
    finished = [
        run for run in runs if run["plan"] in digests and run["loss"] is not None and run["accuracy"] is not None
    ]
    return Responses(
        network=shapes_of(network),
        settings={key: settings},
        plans=plans,
        runs=tuple(
            Run(
                plan=digests[run["plan"]],
                settings=key,
                seed=int(run["seed"]),
                loss=float(run["loss"]),
                accuracy=float(run["accuracy"]),
            )
            for run in finished
        ),
    )


def keep(found: Responses, out: Path, collection: Path | None) -> Responses:
    """Writes the responses into `out`, and adds them to the user's `collection`.

    Returns:
        All that is known now: the collection's, or what `out` holds.

    Raises:
        PlanError: the collection is of another network or no responses file; nothing is changed then.
    """
    everything = found
    if collection is not None and collection.exists():
        everything = load_responses(collection).joined(found)
    if collection is not None:
        everything.save(collection)
    found.save(out / FILE)
    return everything


def check_collection(network: Network, collection: Path | None) -> None:
    """Refuses a collection of another network before hours are spent."""
    if collection is not None and collection.exists():
        load_responses(collection).joined(Responses(network=shapes_of(network)))
