"""Trees as integers give what scikit-learn gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor

from advisor.devices.gpu.trees import Trees, from_estimators
from advisor.errors import ProfileError


def example() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    matrix = generator.integers(-3000, 3000, (400, 5)).astype(np.int32)
    return matrix, np.sin(matrix[:, 0] / 900) + matrix[:, 1] / 4000 + (matrix[:, 2] > 0)


def boosted() -> tuple[Trees, Any, np.ndarray]:
    matrix, goal = example()
    learner = GradientBoostingRegressor(n_estimators=40, learning_rate=0.1, max_depth=4, random_state=0)
    learner.fit(matrix, goal)
    start = float(np.ravel(learner.init_.constant_)[0])
    return from_estimators(learner.estimators_[:, 0], scale=0.1, start=start, columns=5), learner, matrix


def test_boosting_is_what_scikit_learn_predicts_also_on_rows_it_never_saw() -> None:
    trees, learner, matrix = boosted()
    fresh = np.random.default_rng(1).integers(-4000, 4000, (1500, 5)).astype(np.int32)
    for rows in (matrix, fresh):
        assert trees(rows) == pytest.approx(learner.predict(rows), abs=1e-3)


def test_averaged_trees_too() -> None:
    matrix, goal = example()
    learner = ExtraTreesRegressor(30, random_state=0, min_samples_leaf=3).fit(matrix, goal)
    trees = from_estimators(learner.estimators_, scale=1 / 30, start=0.0, columns=5)
    assert trees(matrix) == pytest.approx(learner.predict(matrix), abs=1e-3)


def test_json_keeps_every_number() -> None:
    trees, _, matrix = boosted()
    again = Trees.from_document(json.loads(json.dumps(trees.to_document())))
    assert np.array_equal(again(matrix), trees(matrix))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("right", lambda v: [0] * len(v)),  # a node that is its own child
        ("right", lambda v: [10**9] * len(v)),
        ("feature", lambda v: [7] * len(v)),  # a column that is not there
        ("roots", lambda v: [10**6]),
        ("number", lambda v: v[:-1]),
        ("number", lambda v: [0.5] * len(v)),
    ],
)
def test_what_is_no_tree_is_refused(name: str, change: Any) -> None:
    document = boosted()[0].to_document()
    document[name] = change(document[name])
    with pytest.raises(ProfileError, match="make the profile anew"):
        Trees.from_document(document)


def test_trees_grown_best_first_are_refused() -> None:
    matrix, goal = example()
    learner = GradientBoostingRegressor(n_estimators=3, max_leaf_nodes=12, max_depth=None, random_state=0)
    learner.fit(matrix, goal)
    with pytest.raises(ValueError, match="max_depth"):
        from_estimators(learner.estimators_[:, 0], scale=0.1, start=0.0, columns=5)
