import numpy as np
import pytest

from advisor.devices.model.learner import _FEWEST_FOR_TREES, Learner


def power_law(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log ms = 0.7 x0 + 0.4 x1 - 3 + what the operator costs; a third column says nothing."""
    rows = np.column_stack([rng.uniform(0, 10, count), rng.uniform(2, 6, count), np.ones(count)])
    targets = rng.integers(0, 3, count)
    return rows, targets, 0.7 * rows[:, 0] + 0.4 * rows[:, 1] - 3 + np.array([0.0, 0.5, -1.0])[targets]


@pytest.mark.parametrize("count", [_FEWEST_FOR_TREES - 10, 200])
def test_a_power_law_is_found_again(count: int) -> None:
    rng = np.random.default_rng(1)
    rows, targets, log_ms = power_law(rng, count)
    learner = Learner(rows, targets, log_ms + 0.02 * rng.standard_normal(count), known=3)
    rows, targets, log_ms = power_law(rng, 200)
    error = learner(rows, targets) - log_ms
    assert np.median(np.abs(error)) < 0.06
    assert abs(error.mean()) < 0.04


def test_the_line_carries_on_where_nothing_was_measured() -> None:
    rng = np.random.default_rng(2)
    rows, targets, log_ms = power_law(rng, 400)
    learner = Learner(rows, targets, log_ms, known=3)
    far = np.array([[20.0, 4.0, 1.0], [14.0, 4.0, 1.0], [5.0, 4.0, 1.0]])
    found = learner(far, np.zeros(3, dtype=int))
    assert found[0] - found[1] == pytest.approx(0.7 * 6, rel=0.03)
    assert learner.outside(far).tolist() == [True, True, False]


def test_trees_see_what_a_line_does_not() -> None:
    rng = np.random.default_rng(3)
    rows = rng.uniform(0, 10, (600, 2))
    log_ms = rows[:, 0] + np.where(rows[:, 1] > 5, 1.0, 0.0)
    learner = Learner(rows, np.zeros(600, dtype=int), log_ms, known=1)
    asked = np.array([[5.0, 2.0], [5.0, 8.0]])
    low, high = learner(asked, np.zeros(2, dtype=int))
    assert high - low == pytest.approx(1.0, abs=0.15)


def test_an_operator_that_nobody_measured_gets_the_usual_time() -> None:
    rng = np.random.default_rng(4)
    rows, targets, log_ms = power_law(rng, 300)
    learner = Learner(rows, targets, log_ms, known=3)
    asked = np.array([[5.0, 4.0, 1.0]])
    known = [float(learner(asked, np.array([t]))[0]) for t in range(3)]
    assert min(known) - 0.5 < float(learner(asked, np.array([-1]))[0]) < max(known) + 0.5


def test_a_column_that_never_changes_may_change_later() -> None:
    rows = np.column_stack([np.arange(20.0), np.ones(20)])
    learner = Learner(rows, np.zeros(20, dtype=int), rows[:, 0], known=1)
    asked = np.array([[3.0, 9.0]])
    assert np.isfinite(learner(asked, np.zeros(1, dtype=int))).all()
    assert learner.outside(asked).tolist() == [True]


def test_one_row_is_enough_and_equal_data_give_equal_learners() -> None:
    single = Learner(np.array([[1.0, 2.0]]), np.zeros(1, dtype=int), np.array([0.5]), known=1)
    assert single(np.array([[1.0, 2.0]]), np.zeros(1, dtype=int)) == pytest.approx([0.5])
    rows, targets, log_ms = power_law(np.random.default_rng(5), 100)
    one, two = (Learner(rows, targets, log_ms, known=3)(rows, targets) for _ in range(2))
    assert one.tolist() == two.tolist()
