"""Responses: what short training runs of plans reached, kept in a file so that every validation adds to it.

A responses file is JSON, schema "sparsity-advisor/responses-1":

    {"schema": …,
     "network": {"layer": [64, 32, 3, 3], …},                      every sparsifiable layer and its weight's shape
     "settings": {"S": {"data": "cluttered", "epochs": 2, …}, …},   how runs trained; S is any key
     "plans": {"P": {"layer": {"pattern": …, "density": …, "parameters": {…}}, …}, …},   layers that are not dense
     "runs": [{"plan": "P", "settings": "S", "seed": 0, "loss": 0.52, "accuracy": 0.84}, …]}

`loss` is the mean cross-entropy on the test images in nats. A plan without layers is the dense network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import PlanError
from advisor.files import read_json, write_json
from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.network import Network, Shape

SCHEMA = "sparsity-advisor/responses-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run. `plan` and `settings` are keys of the responses."""

    plan: str
    settings: str
    seed: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Runs of plans of one network.

    Attributes:
        network: sparsifiable layer → shape of its weight.
        settings: key → how the runs trained, plain JSON values.
        plans: key → layer → its option, where it is not dense.
    """

    network: Mapping[str, Shape]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plans: Mapping[str, Mapping[str, Option]] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()

    def joined(self, other: Responses) -> Responses:
        """Both; a run that both have (plan, settings and seed) counts once, as `other` tells it.

        Raises:
            PlanError: they are of different networks.
        """
        if difference := _difference(self.network, other.network):
            raise PlanError(f"responses of another network: {difference}; keep one responses file per network")
        runs = {(run.plan, run.settings, run.seed): run for run in (*self.runs, *other.runs)}
        return Responses(
            network=self.network,
            settings={**self.settings, **other.settings},
            plans={**self.plans, **other.plans},
            runs=tuple(runs.values()),
        )

    def to_json(self) -> dict[str, Any]:
        """The document of a responses file."""
        return {
            "schema": SCHEMA,
            "network": {name: list(shape) for name, shape in self.network.items()},
            "settings": {key: dict(values) for key, values in self.settings.items()},
            "plans": {
                key: {
                    layer: {"pattern": o.pattern, "density": o.density, "parameters": dict(o.parameters)}
                    for layer, o in layers.items()
                }
                for key, layers in self.plans.items()
            },
            "runs": [
                {
                    "plan": run.plan,
                    "settings": run.settings,
                    "seed": run.seed,
                    "loss": run.loss,
                    "accuracy": run.accuracy,
                }
                for run in self.runs
            ],
        }

    def save(self, path: str | Path) -> None:
        """Writes the file whole or not at all."""
        write_json(path, self.to_json())


def shapes_of(network: Network) -> dict[str, Shape]:
    """Sparsifiable layer → shape of its weight: what a network must have in common with the runs."""
    return {layer.name: layer.weight_shape for layer in network.sparsifiable}


def check_same(responses: Responses, network: Network) -> None:
    """Raises PlanError where the responses belong to another network."""
    if difference := _difference(responses.network, shapes_of(network)):
        raise PlanError(
            f"responses belong to another network than {network.name!r}: {difference}; give those of this one, made by "
            "advisor validate"
        )


def _difference(one: Mapping[str, Shape], other: Mapping[str, Shape]) -> str:
    for name in (*one, *other):
        if name not in one or name not in other:
            return f"layer {name!r} is in only one of them"
        if tuple(one[name]) != tuple(other[name]):
            return f"layer {name} has shape {list(one[name])} in one and {list(other[name])} in the other"
    return ""


def load_responses(path: str | Path) -> Responses:
    """Reads a responses file.

    Raises:
        PlanError: it is unreadable or not as described above; the first thing wrong is named.
    """
    document = read_json(path, error=PlanError)
    try:
        return _read(document)
    except _WrongError as wrong:
        raise PlanError(f"{path}: {wrong}; expected a responses file as advisor validate writes it") from None


class _WrongError(Exception):
    """What is wrong with a document."""


def _read(document: Any) -> Responses:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        got = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise _WrongError(f"schema is {str(got)[:60]!r}, expected {SCHEMA!r}")
    for key in ("network", "settings", "plans"):
        if not isinstance(document.get(key), dict):
            raise _WrongError(f"{key!r} is no object")
    if not isinstance(document.get("runs"), list):
        raise _WrongError("'runs' is no list")
    network = {name: _shape(name, shape) for name, shape in document["network"].items()}
    settings = document["settings"]
    for key, values in settings.items():
        if not isinstance(values, dict):
            raise _WrongError(f"settings {key!r} are no object")
    plans = {key: _plan(key, layers, network) for key, layers in document["plans"].items()}
    runs = tuple(_run(number, run, plans, settings) for number, run in enumerate(document["runs"]))
    return Responses(network=network, settings=settings, plans=plans, runs=runs)


def _shape(name: str, shape: Any) -> Shape:
    if not isinstance(shape, list) or not shape or not all(_whole(size) and size > 0 for size in shape):
        raise _WrongError(f"layer {name[:60]!r} has weight shape {str(shape)[:60]}")
    return tuple(shape)


def _plan(key: str, layers: Any, network: Mapping[str, Shape]) -> dict[str, Option]:
    if not isinstance(layers, dict):
        raise _WrongError(f"plan {key[:40]!r} is no object")
    found = {}
    for name, entry in layers.items():
        where = f"plan {key[:40]!r}, layer {name[:60]!r}"
        if name not in network:
            raise _WrongError(f"{where} is no layer of the network")
        if not isinstance(entry, dict) or not isinstance(entry.get("pattern"), str):
            raise _WrongError(f"{where} has no pattern")
        density, parameters = entry.get("density"), entry.get("parameters", {})
        if not isinstance(density, int | float) or not _number(density) or not 0 < density <= 1:
            raise _WrongError(f"{where}: density {str(density)[:20]} is outside (0, 1]")
        if not isinstance(parameters, dict):
            raise _WrongError(f"{where}: its parameters are no object")
        found[name] = Option(pattern=entry["pattern"], density=float(density), parameters=parameters)
    return found


def _run(number: int, run: Any, plans: Mapping[str, Any], settings: Mapping[str, Any]) -> Run:
    if not isinstance(run, dict):
        raise _WrongError(f"run {number} is no object")
    if run.get("plan") not in plans:
        raise _WrongError(f"run {number} is of plan {str(run.get('plan'))[:40]!r}, which is not among the plans")
    if run.get("settings") not in settings:
        raise _WrongError(f"run {number} has settings {str(run.get('settings'))[:40]!r}, which are not there")
    if not _whole(run.get("seed")):
        raise _WrongError(f"run {number} has seed {str(run.get('seed'))[:20]}")
    for key in ("loss", "accuracy"):
        if not _number(run.get(key)) or run[key] < 0:
            raise _WrongError(f"run {number} has {key} {str(run.get(key))[:20]}")
    return Run(
        plan=run["plan"],
        settings=run["settings"],
        seed=run["seed"],
        loss=float(run["loss"]),
        accuracy=float(run["accuracy"]),
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
