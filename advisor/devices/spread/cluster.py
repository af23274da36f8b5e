"""Profiling spread over the devices of a Ray cluster, one profile each, all at the same time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from advisor.devices.settings import device_type
from advisor.devices.spread.remote import PACKAGE, describe, profile_here
from advisor.devices.spread.request import ProfileRequest
from advisor.errors import AdvisorError, ClusterError, ProfileError
from advisor.files import write_bytes
from advisor.sources import Source, source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A device of a cluster: a node's CPU as a whole, or one of its GPUs."""

    node: str
    cpus: float
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What became of each device: the profile's path, or why there is none.

    Attributes:
        host: name of the machine.
    """

    device: str
    host: str
    path: Path | None
    problem: str = ""


def places(nodes: Sequence[dict[str, Any]], device: str) -> tuple[Place, ...]:
    """The devices of Ray's `nodes`.

    Raises:
        ClusterError: none is of the kind asked for.
    """
    alive = [node for node in nodes if node["Alive"]]
    if device_type(device) == "cuda":
        found = [
            Place(node=node["NodeID"], cpus=0.0, gpus=1)
            for node in alive
            for _ in range(int(node["Resources"].get("GPU", 0)))
        ]
    else:
        # All CPUs of a node, so that nothing else of the cluster runs beside the measurement.
        found = [
            Place(node=node["NodeID"], cpus=node["Resources"]["CPU"], gpus=0)
            for node in alive
            if node["Resources"].get("CPU")
        ]
    if not found:
        raise ClusterError(f"none of the cluster's {len(alive)} machines has a {device} to profile; see ray status")
    return tuple(found)


def spread(ray: Any, request: ProfileRequest, folder: Path, *, say: Callable[[str], None]) -> tuple[Spread, ...]:
    """Profiles every device of the cluster and writes FOLDER/<device>.json as soon as each is done.

    A device that fails costs no other one its profile.

    Args:
        ray: connected; see `advisor.cluster`.
        say: gets a line for every profile.

    Raises:
        ClusterError: the cluster has no such device.
        ProfileError: no device could be profiled; says why the first could not.
    """
    source = source_of(request.model) if request.model is not None else Source(model="")
    found = places(ray.nodes(), request.device)
    folder.mkdir(parents=True, exist_ok=True)
    # Who is where first: the profiles' names must not depend on who is done first.
    devices = list(_gather(ray, [_on(ray, describe, one).remote(request.device, version(PACKAGE)) for one in found]))
    names = file_names([about if isinstance(about, tuple) else ("unknown", str(about)) for about in devices])
    done: list[Spread] = []
    waiting: dict[Any, int] = {}
    for index, about in enumerate(devices):
        if isinstance(about, tuple):
            waiting[_on(ray, profile_here, found[index]).remote(request, source, names[index])] = index
        else:
            done.append(Spread(device="", host=found[index].node[:12], path=None, problem=about))
    try:
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            index = waiting.pop(ready)
            about = devices[index]
            (content,) = _gather(ray, [ready])
            if isinstance(content, str):
                one = Spread(device=about[0], host=about[1], path=None, problem=content)
                say(f"{about[0]} on {about[1]}: {content}")
            else:
                one = Spread(device=about[0], host=about[1], path=folder / f"{names[index]}.json")
                write_bytes(folder / f"{names[index]}.json", content)
                say(f"{about[0]} on {about[1]}: wrote {one.path}")
            done.append(one)
    finally:
        for left in waiting:
            ray.cancel(left, force=True)
    if all(one.path is None for one in done):
        raise ProfileError(f"none of {len(done)} devices was profiled; {done[0].host}: {done[0].problem}")
    return tuple(sorted(done, key=lambda one: (one.device, one.host, str(one.path))))


def file_names(devices: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A name for each (device, host): the device's; with the host's where several have it; numbered in the end."""
    plain = [_slug(device) for device, _ in devices]
    with_host = [
        f"{name}-{_slug(host)}" if len({h for (_, h), n in zip(devices, plain, strict=True) if n == name}) > 1 else name
        for name, (_, host) in zip(plain, devices, strict=True)
    ]
    return tuple(
        f"{name}-{with_host[:index].count(name) + 1}" if with_host.count(name) > 1 else name
        for index, name in enumerate(with_host)
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", text.lower())).strip("-") or "device"


def _on(ray: Any, function: Callable[..., Any], place: Place) -> Any:
    """`function` as a task of one place."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return ray.remote(function).options(
        num_cpus=place.cpus,
        num_gpus=place.gpus,
        max_retries=0,
        name=f"advisor-{function.__name__}",
        scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=False),
    )


def _gather(ray: Any, references: Sequence[Any]) -> Iterator[Any]:
    """What tasks gave; as text why one gave nothing."""
    for reference in references:
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause or error
            text = " ".join(str(cause).split())[:300]
            yield text if isinstance(cause, AdvisorError) else f"{type(cause).__name__}: {text}"
        except ray.exceptions.RayError as error:
            yield f"its worker died: {type(error).__name__}"
