"""What is measured next: what is uncertain and could be in a plan; what plans would choose goes first."""

import pytest

from advisor.devices.measuring.active import next_worths
from advisor.devices.measuring.scout import wanted_by_plans
from advisor.devices.measuring.work import tasks_of, worths
from advisor.devices.profile import Profile
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import executions
from tests.devices.synthetic import all_executions, profile_of

DENSITIES = (0.75, 0.5, 0.25, 0.125, 0.0625)
GROUP = tuple(Option(pattern="group", density=d, parameters={"block": 16}) for d in DENSITIES)

pytestmark = pytest.mark.usefixtures("with_kernels")


@pytest.fixture
def options(digits: Network) -> dict[str, tuple[Option, ...]]:
    return {layer.name: (DENSE, *GROUP) for layer in digits.sparsifiable[1:-1]}


@pytest.fixture
def full(digits: Network, options: dict[str, tuple[Option, ...]]) -> Profile:
    return profile_of(digits, all_executions(digits, options, have=True).values())


def test_little_known_leaves_the_order_as_it_was(digits: Network, options: dict[str, tuple[Option, ...]]) -> None:
    tasks = tasks_of(digits, options, training=False)
    before = worths(tasks)
    waiting = set(before)
    assert next_worths(tasks, waiting, {}, before) == before


def test_what_is_known_is_not_asked_for_and_gaps_come_before_neighbours(
    digits: Network, options: dict[str, tuple[Option, ...]], full: Profile
) -> None:
    tasks = tasks_of(digits, options, training=False)
    layer = digits.layer("features.8")
    runs = [next(iter(executions(layer, option, method="direct"))).key for option in GROUP]
    waiting = {runs[1], runs[2], runs[4]}  # 0.5, 0.25 and the sparsest; 0.75 and 0.125 are known
    known = {key: m for key, m in full.measurements.items() if key not in waiting}
    found = next_worths(tasks, waiting, known, worths(tasks))
    assert set(found) == waiting
    assert found[runs[1]] < found[runs[2]] or found[runs[4]] >= found[runs[1]]
    first = next_worths(tasks, waiting, known, worths(tasks), {runs[1]})
    assert max(first, key=first.__getitem__) == runs[1]


def test_plans_want_quick_forms_of_all_layers(
    digits: Network, options: dict[str, tuple[Option, ...]], full: Profile
) -> None:
    wanted = wanted_by_plans(digits, full, ("group",))
    direct = {key for key, m in full.measurements.items() if m.execution.method == "direct"}
    assert wanted & direct
    assert wanted_by_plans(digits, full, ("width",)) == frozenset()
