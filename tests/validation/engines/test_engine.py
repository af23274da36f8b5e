"""What a user chooses about where runs happen, and what is refused before anything begins."""

from dataclasses import replace

import pytest
import torch

from advisor.errors import AdvisorError, DeviceError
from validation.engines import EngineOptions, Task, check_engine, check_place, threads_of

RAY = EngineOptions(name="ray")


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)


@pytest.mark.parametrize(
    ("options", "asked", "threads"),
    [
        (EngineOptions(), None, None),
        (EngineOptions(), 3, 3),
        (EngineOptions(workers=1), None, None),
        (EngineOptions(workers=2), None, 2),
        (EngineOptions(workers=9), None, 1),
        (EngineOptions(workers=9), 2, 2),
        (RAY, None, 1),
        (replace(RAY, workers=2), 4, 4),
    ],
)
def test_threads_of_a_run(options: EngineOptions, asked: int | None, threads: int | None, four_threads: None) -> None:
    assert threads_of(options, asked) == threads


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (EngineOptions(name="rya"), "unknown engine 'rya'; did you mean 'ray'"),
        (EngineOptions(workers=0), "workers=0, expected 1 or more"),
        (EngineOptions(retries=-1), "retries=-1, expected 0 or more"),
        (EngineOptions(address="auto"), "--address=auto belongs to --engine ray, got --engine local"),
        (replace(RAY, gpus_per_run=-0.5), "gpus-per-run=-0.5, expected 0 or more"),
        (replace(RAY, gpus_per_run=1.5), "a part of one GPU or a whole number"),
        (replace(RAY, address="ray://head:10001"), "is of Ray Client"),
    ],
)
def test_what_cannot_be_is_refused(options: EngineOptions, said: str) -> None:
    with pytest.raises(AdvisorError) as raised:
        check_engine(options)
    assert said in str(raised.value)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.cluster.find_spec", lambda name: None)
    with pytest.raises(AdvisorError, match=r"pip install 'sparsity-advisor\[ray\]', or use --engine local"):
        check_engine(RAY)


def test_a_cluster_gives_devices_itself() -> None:
    assert check_place(RAY, "cuda") == "cuda", "this machine needs none"
    assert check_place(RAY, "cpu") == "cpu"
    with pytest.raises(DeviceError, match="Ray gives every run its GPU"):
        check_place(RAY, "cuda:1")
    with pytest.raises(DeviceError, match="tpu"):
        check_place(EngineOptions(), "tpu")


def test_as_a_user_types_it() -> None:
    assert EngineOptions().words() == []
    options = EngineOptions(name="ray", workers=3, address="auto", gpus_per_run=0.25, retries=5)
    assert options.words() == [
        ("--engine", "ray"),
        ("--workers", 3),
        ("--address", "auto"),
        ("--gpus-per-run", 0.25),
        ("--retries", 5),
    ]
    assert Task(label="plan+rigl", seed=2, until=3).name == "plan+rigl-2"
