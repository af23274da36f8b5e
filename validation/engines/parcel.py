"""A study as files that travel: all that another process or machine needs to run the same trials."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from advisor.errors import AdvisorError
from advisor.files import read_json
from advisor.models import input_text, load_model
from advisor.plans.plan import load_plan
from advisor.sources import Source, source_of
from advisor.trace import analyze
from validation.contestants import Contestant, builder
from validation.data import Request, load_data
from validation.methods.registry import parse_methods
from validation.running.trials import Study, digest
from validation.training.recipe import Recipe

if TYPE_CHECKING:
    from validation.engines.engine import Job

Parcel = dict[str, bytes]  # path within the parcel → content
DOCUMENT = "study.json"
PACKAGE = "sparsity-advisor"


def pack(job: Job) -> Parcel:
    """The files of a study.

    A user's model file travels with the Python files beside and below it, since it may import them. Data sets do not
    travel: they are made anew, or read from the folder that the user named.

    Raises:
        AdvisorError: there is too much Python beside the user's model.
        ValueError: the study does not say how its data was asked for.
    """
    study = job.study
    if study.request is None:
        raise ValueError("a study for other processes needs its request for data")
    parcel: Parcel = {}
    source = source_of(study.model)
    parcel |= {f"source/{name}": content for name, content in source.files.items()}
    with tempfile.TemporaryDirectory(prefix="advisor-parcel-") as folder:
        for number, one in enumerate(study.contestants):
            if one.plan is not None:
                (Path(folder) / str(number)).mkdir()
                one.plan.save(Path(folder) / str(number) / "plan.json")
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                parcel[f"plans/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    if study.checkpoint is not None:
        parcel[f"weights/{study.checkpoint.name}"] = study.checkpoint.read_bytes()
    request = asdict(study.request) | {"folder": str(study.request.folder.resolve()) if study.request.folder else None}
    document = {
        "versions": _versions(),
        "threads": study.threads_in_force,
        "source": {"path": source.path, "sha256": source.sha256},
        "input_shapes": [list(shape) for shape in study.input_shapes],
        "data": study.data.name,
        "labels": _some_labels(study),
        "request": request,
        "recipe": asdict(study.recipe),
        # What else a study says in one word: how its rate was chosen, which schedule, how many threads.
        "plain": {
            one.name: getattr(study, one.name)
            for one in fields(study)
            if isinstance(getattr(study, one.name), str | int | float)
        },
        "seeds": list(study.seeds),
        "contestants": [
            {"label": one.label, "plan": one.plan is not None, "method": one.method.text if one.method else None}
            for one in study.contestants
        ],
        "counts": {label: dict(found) for label, found in job.counts.items()},
        "weights": study.checkpoint.name if study.checkpoint else None,
        "settings": study.settings(),
    }
    return parcel | {DOCUMENT: json.dumps(document).encode()}


def unfold(parcel: Parcel, folder: Path) -> None:
    """Writes a parcel's files."""
    for name, content in parcel.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def unpack(folder: Path, out: Path) -> tuple[Study, Mapping[str, Mapping[str, int]]]:
    """The study of an unfolded parcel, with runs in `out`, and contestant → its counts.

    Raises:
        AdvisorError: another version of this package or of torch, or what was made anew here is not the same: a user's
            factory or a folder of data that differ between machines.
    """
    document: dict[str, Any] = read_json(folder / DOCUMENT)
    for package, there in document["versions"].items():
        if (here := _versions()[package]) != there:
            raise AdvisorError(f"{package} {here} is installed, the validation was started with {there}; install that")
    plain = document["plain"] | {"threads": document["threads"]}
    beside = folder / "source"  # unfolded there
    model = Source(model=plain["model"], **document["source"]).here(beside)
    shapes = tuple(tuple(shape) for shape in document["input_shapes"])
    build = builder(model, shapes)
    loaded = load_model(model, device="cpu", input_text=input_text(shapes), seed=0)
    network = analyze(loaded.module, loaded.example_inputs, name=plain["model"])
    asked = document["request"]
    request = Request(**asked | {"shape": tuple(asked["shape"]), "folder": asked["folder"] and Path(asked["folder"])})
    contestants = []
    for number, one in enumerate(document["contestants"]):
        plan = None
        if one["plan"]:
            plan = replace(load_plan(folder / "plans" / str(number) / "plan.json"), network=network)
        method = None
        if one["method"] is not None:
            method = replace(parse_methods((one["method"],))[0], label=one["label"])
        contestants.append(Contestant(label=one["label"], plan=plan, method=method))
    study = Study(
        **plain,
        contestants=tuple(contestants),
        seeds=tuple(document["seeds"]),
        data=load_data(document["data"], request),
        recipe=Recipe(**document["recipe"]),
        out=out,
        build=build,
        checkpoint=folder / "weights" / document["weights"] if document["weights"] else None,
        network=network,
        input_shapes=shapes,
        request=request,
    )
    settings: dict[str, Any] = json.loads(json.dumps(study.settings())) | {"labels": _some_labels(study)}
    for key, value in (document["settings"] | {"labels": document["labels"]}).items():
        if settings.get(key) != value:
            raise AdvisorError(
                f"{key} is {settings.get(key)} here, {value} where the validation was started; model and data must be "
                "the same on every machine"
            )
    return study, document["counts"]


def _versions() -> dict[str, str]:
    return {PACKAGE: version(PACKAGE), "torch": str(torch.__version__)}


def _some_labels(study: Study) -> str:
    """A digest of the first labels on both sides: the same number of other images would go unseen otherwise."""
    found = [part.batch(torch.arange(min(len(part), 64)))[1].tolist() for part in (study.data.train, study.data.test)]
    return digest(json.dumps(found).encode())
