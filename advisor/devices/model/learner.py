"""One class of steps: a line through the logs, and trees on what it leaves."""

from __future__ import annotations

import numpy as np

_RIDGE = 1.0  # on standardised columns
_FEWEST_FOR_TREES = 60
_ROUNDS, _RATE, _LEAF = 160, 0.1, 10


class Learner:
    """Predicts log milliseconds from rows: ridge regression, then gradient-boosted trees on its residuals.

    The line carries on where no measurement is; the trees know only what they have seen.

    Args:
        rows: (S, F).
        targets: (S,) integers, which operator a row is: -1 for one that nobody measured.
        log_ms: (S,).
        known: how many operators there are.
        trees: the line alone where False, which is quick.
    """

    def __init__(
        self, rows: np.ndarray, targets: np.ndarray, log_ms: np.ndarray, *, known: int, trees: bool = True
    ) -> None:
        self._known = known
        x = self._with_targets(rows, targets)
        self._used = np.flatnonzero(x.std(axis=0) > 1e-9)  # the others say nothing here
        self._mean, self._scale = x[:, self._used].mean(axis=0), x[:, self._used].std(axis=0)
        z = self._design(x)
        penalty = np.full(z.shape[1], _RIDGE)
        penalty[0] = 1e-6
        self._weights = np.linalg.solve(z.T @ z + np.diag(penalty), z.T @ log_ms)
        self.low, self.high = rows.min(axis=0), rows.max(axis=0)
        self._trees = None
        if trees and len(rows) >= _FEWEST_FOR_TREES:
            from sklearn.ensemble import HistGradientBoostingRegressor

            grown = HistGradientBoostingRegressor(
                max_iter=_ROUNDS, learning_rate=_RATE, min_samples_leaf=_LEAF, l2_regularization=1.0, random_state=0
            )
            self._trees = grown.fit(x[:, self._used], log_ms - z @ self._weights)

    def __call__(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(S,) log milliseconds."""
        x = self._with_targets(rows, targets)
        found: np.ndarray = self._design(x) @ self._weights
        return found if self._trees is None else found + self._trees.predict(x[:, self._used])

    def outside(self, rows: np.ndarray) -> np.ndarray:
        """(S,) whether a row lies beyond what was measured, by more than a twentieth of the range in any column."""
        slack = 0.05 * (self.high - self.low) + 1e-6
        beyond: np.ndarray = ((rows < self.low - slack) | (rows > self.high + slack)).any(axis=1)
        return beyond

    def _with_targets(self, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        marks = np.zeros((len(rows), self._known))
        seen = targets >= 0
        marks[np.flatnonzero(seen), targets[seen]] = 1.0
        return np.hstack([rows, marks])

    def _design(self, x: np.ndarray) -> np.ndarray:
        z = (x[:, self._used] - self._mean) / self._scale
        return np.hstack([np.ones((len(z), 1)), z])
