"""How far predictions are off, in the words of every table here."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

HEADERS = ["", "n", "median %", "mean %", "within 10 %", "within 20 %", "Spearman", "coverage %"]


def figures(label: str, predicted: Any, measured: Any, coverage: float | None = None) -> list[str]:
    """One row of a table: errors in percent of the measured time."""
    predicted, measured = np.asarray(predicted), np.asarray(measured)
    error = 100 * np.abs(predicted / measured - 1)
    return [
        label,
        str(len(measured)),
        f"{np.median(error):.1f}",
        f"{error.mean():.1f}",
        f"{100 * (error <= 10).mean():.0f}",
        f"{100 * (error <= 20).mean():.0f}",
        f"{spearmanr(predicted, measured)[0]:.4f}",
        "" if coverage is None else f"{100 * coverage:.0f}",
    ]


def one_factor(predicted: Any, measured: Any) -> Any:
    """Predictions times the factor that makes their median ratio 1: what a plain model does at its best."""
    return np.asarray(predicted) * np.exp(np.median(np.log(np.asarray(measured) / np.asarray(predicted))))
