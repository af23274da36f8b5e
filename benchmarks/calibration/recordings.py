"""What networks of timm and torchvision run, recorded on tensors without memory and kept in a folder of your choice."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from advisor.devices.steps.record import Recording, record_steps
from advisor.devices.steps.step import Step
from advisor.errors import AdvisorError
from advisor.runtime.execution import Execution


def recorded(
    package: str, name: str, batch: int, size: int, *, training: bool = False, cache: Path, only_cached: bool = False
) -> Recording | None:
    """The steps of one inference (or training step) at the true batch size.

    Args:
        package: "timm" or "torchvision".
        name: as the package knows it.
        batch: images.
        size: height and width of an image.
        training: forward and backward instead of inference.
        cache: a folder, made where missing; recordings are read from it and written to it as gzipped JSON.
        only_cached: None instead of a new recording, which takes seconds each.

    Returns:
        None where the network cannot be built or does not run on tensors without values; the reason stays in the
        cache, so that it is not tried again.
    """
    cache.mkdir(parents=True, exist_ok=True)
    text = f"{package}:{name} {batch}x{size} {'training' if training else 'inference'}"
    path = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json.gz"
    if not path.exists():
        if only_cached:
            return None
        document = _record(package, name, batch, size, training) | {"name": text}
        partial = path.with_suffix(".part")
        with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as file:
            json.dump(document, file, separators=(",", ":"))
        partial.rename(path)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return _from_document(json.load(file))


def _record(package: str, name: str, batch: int, size: int, training: bool) -> dict[str, Any]:
    import torch

    try:
        with torch.device("meta"):
            module = _build(package, name, size)
        module.train(training)
        recording = record_steps(module, (torch.empty(batch, 3, size, size, device="meta"),), training=training)
    except (AdvisorError, RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        return {"failure": " ".join(str(error).split())[:300]}
    rows = [
        [count, {key: value for key, value in asdict(step).items() if value not in ((), None, False)}]
        for step, count in recording.counted().items()
    ]
    return {"module_calls": recording.module_calls, "steps": rows}


def _build(package: str, name: str, size: int) -> Any:
    if package == "torchvision":
        from torchvision.models import get_model

        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return get_model(name, weights=None, **options)
    import timm

    configuration = timm.get_pretrained_cfg(name)
    if configuration is not None and configuration.input_size[-1] != size:
        try:
            return timm.create_model(name, img_size=size)
        except TypeError:
            pass  # a network that takes any size
    return timm.create_model(name)


def _from_document(document: dict[str, Any]) -> Recording | None:
    if "failure" in document:
        return None
    steps: list[Step] = []
    for count, row in document["steps"]:
        values = {key: _tuples(value) for key, value in row.items()}
        if values.get("execution"):
            values["execution"] = Execution(**{k: _tuples(v) for k, v in row["execution"].items()})
        values = {
            "inputs": (),
            "outputs": (),
            "parameters": (),
            "layouts": "",
            "read_bytes": 0,
            "written_bytes": 0,
        } | values
        steps += [Step(**values)] * count
    return Recording(steps=tuple(steps), modules=("",) * len(steps), module_calls=document["module_calls"])


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
