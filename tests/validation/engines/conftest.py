"""A study that other processes can make anew, of a network that can be told to die."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import advisor
from advisor.commands.network import open_network
from tests.validation.conftest import TINY
from validation.engines import EngineOptions, Job, Result
from validation.reporting.receipts import count
from validation.running.folder import open_folder
from validation.running.matrix import run_all, total_steps
from validation.running.progress import Monitor
from validation.running.trials import Study
from validation.study import Wish, _prepare

# A file "kill" or "memory" beside the model lets one process die in its sixth training step, in the real way.
MORTAL = (
    TINY
    + """

import os, signal
from pathlib import Path

steps = 0


def due(name):
    try:
        Path(__file__).with_name(name).unlink()
    except FileNotFoundError:
        return False
    return True


class Mortal(Tiny):
    def forward(self, x):
        global steps
        steps += self.training and x.shape[0] > 4
        if steps == 6 and due("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if steps == 6 and due("memory"):
            import resource

            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
            torch.ones(2**26)
        return super().forward(x)


def mortal():
    return Mortal(), (1, 1, 8, 8)
"""
)


@pytest.fixture
def mortal(tmp_path: Path) -> str:
    """A network like `spec`'s that dies where it is told to."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    return f"{tmp_path / 'mortal.py'}:mortal"


Studies = Callable[..., Study]
Runs = Callable[..., list[Result]]


@pytest.fixture
def study_of(mortal: str, tmp_path: Path) -> Studies:
    """folder → two contestants, two seeds, three epochs of four steps."""
    network = open_network(mortal, None, device="cpu")
    plan = advisor.plan(network, budgets={"macs": "40%"}, patterns=["channel"])

    def make(out: str) -> Study:
        wish = Wish(model=mortal, plan=plan, out=tmp_path / out, epochs=3, train_size=256, test_size=60, threads=1)
        study, analysed, _ = _prepare(wish)
        contestants = tuple(
            replace(one, plan=one.plan and replace(one.plan, network=analysed)) for one in study.contestants
        )
        study = replace(study, contestants=contestants)
        open_folder(study)
        return study

    return make


def job_of(study: Study, options: EngineOptions, monitor: Monitor | None = None) -> Job:
    dense = study.build(0)
    assert study.network is not None
    counts = {one.label: count(one, dense, study.network) for one in study.contestants}
    return Job(
        study=study,
        counts={label: {"params": found.params, "macs": found.macs} for label, found in counts.items()},
        monitor=monitor or Monitor(study.out, total_steps(study), shown=False),
        options=options,
    )


@pytest.fixture
def runs(study_of: Studies) -> Runs:
    """folder → all results of its study, as an engine gives them."""

    def run(out: str, monitor: Monitor | None = None, **options: object) -> list[Result]:
        return run_all(job_of(study_of(out), EngineOptions(**options), monitor))

    return run


def numbers(results: list[Result]) -> list[tuple[object, ...]]:
    """The results, but what a clock or a memory gauge said."""
    return [
        (
            one["plan"], one["seed"], one["accuracy"], one["loss"], one["params"], one["macs"], one["problem"],
            [(epoch["loss"], epoch["accuracy"], epoch["test_loss"]) for epoch in one["epochs"]],
        )
        for one in results
    ]  # fmt: skip
