"""One class of steps: physics, a line through the logs of what it leaves, and trees on what that leaves."""

from __future__ import annotations

import numpy as np

from advisor.devices.model.law import Law

_RIDGE = 1.0  # on standardised columns
_FEWEST_FOR_TREES = 60
_ROUNDS, _RATE, _LEAF, _LEAVES, _BINS = 100, 0.1, 10, 15, 64


class Learner:
    """Predicts log milliseconds: a `Law`, ridge regression on its residuals, gradient-boosted trees on theirs.

    The law carries on where no measurement is; line and trees know only what they have seen, so a row beyond that gets
    from them what the nearest one within has. Without `work` there is no law, and the line carries on.

    Args:
        rows: (S, F).
        targets: (S,) integers, which operator a row is: -1 for one that nobody measured.
        log_ms: (S,).
        known: how many operators there are.
        work: (S, W) of `law.work_of`.
        trees: without them where False, which is quick.
    """

    def __init__(
        self,
        rows: np.ndarray,
        targets: np.ndarray,
        log_ms: np.ndarray,
        *,
        known: int,
        work: np.ndarray | None = None,
        trees: bool = True,
    ) -> None:
        self._known = known
        self.low, self.high = rows.min(axis=0), rows.max(axis=0)
        self._law = None if work is None else Law(work, log_ms)
        log_ms = log_ms - self._physics(work)
        x = self._with_targets(rows, targets)
        self._used = np.flatnonzero(x.std(axis=0) > 1e-9)  # the others say nothing here
        self._mean, self._scale = x[:, self._used].mean(axis=0), x[:, self._used].std(axis=0)
        z = self._design(x)
        penalty = np.full(z.shape[1], _RIDGE)
        penalty[0] = 1e-6
        self._weights = np.linalg.solve(z.T @ z + np.diag(penalty), z.T @ log_ms)
        self._trees = None
        if trees and len(rows) >= _FEWEST_FOR_TREES:
            from sklearn.ensemble import HistGradientBoostingRegressor

            grown = HistGradientBoostingRegressor(
                max_iter=_ROUNDS,
                learning_rate=_RATE,
                min_samples_leaf=_LEAF,
                max_leaf_nodes=_LEAVES,
                max_bins=_BINS,
                l2_regularization=1.0,
                random_state=0,
            )
            self._trees = grown.fit(x[:, self._used], log_ms - z @ self._weights)

    def __call__(self, rows: np.ndarray, targets: np.ndarray, work: np.ndarray | None = None) -> np.ndarray:
        """(S,) log milliseconds."""
        if self._law is not None:
            rows = np.clip(rows, self.low, self.high)
        x = self._with_targets(rows, targets)
        found: np.ndarray = self._physics(work) + self._design(x) @ self._weights
        return found if self._trees is None else found + self._trees.predict(x[:, self._used])

    def _physics(self, work: np.ndarray | None) -> np.ndarray | float:
        return 0.0 if self._law is None or work is None else self._law(work)

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
