"""A network with a profile of a machine that never was, and the truth about that machine."""

from __future__ import annotations

import pytest

import advisor
from advisor.network import Network
from advisor.planning.problem import Problem, pose
from advisor.zoo import ZOO
from tests.planning.test_build import timed
from tests.refining.machine import PATTERNS


@pytest.fixture(autouse=True)
def _kernels(with_kernels: None) -> None:
    """The same machine for all tests, one with sparse kernels, whatever was built here."""


@pytest.fixture(scope="session")
def digits() -> Network:
    import torch

    torch.manual_seed(0)
    entry = ZOO["digits_cnn"]
    return advisor.analyze(entry.build(entry.classes), entry.input_shape, name="zoo:digits_cnn")


@pytest.fixture
def problem(digits: Network) -> Problem:
    return posed(digits)


def posed(network: Network, **asked: object) -> Problem:
    given = {"budgets": {"latency": "60%"}, "patterns": PATTERNS} | asked
    return pose(network, profile=timed(network, PATTERNS, have=True), **given)  # type: ignore[arg-type]
