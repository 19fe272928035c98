"""Agreement of uncertainty and error: ranking and calibration, as curves and single numbers."""

import numpy as np
from scipy.stats import spearmanr

FRACTIONS = np.arange(100) / 100
"""Fractions of the values that sparsification removes."""


def sparsification(error: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Computes mean |e| without the most uncertain fractions FRACTIONS, relative to that of all.

    With `uncertainty` = |e| this is the curve of the oracle; with random values it stays at 1.

    Args:
        error: e or |e|, any shape.
        uncertainty: of the same shape; only its order matters.

    Returns:
        Curve, (100,), which starts at 1; all NaN if all errors are 0.
    """
    error = np.abs(np.ravel(error))[np.argsort(np.ravel(uncertainty), kind="stable")]
    counts = np.maximum(1, np.round((1 - FRACTIONS) * error.size).astype(int))  # values left
    means = np.cumsum(error, dtype=np.float64)[counts - 1] / counts
    with np.errstate(invalid="ignore"):
        return means / means[0]


def ause(curve: np.ndarray, oracle: np.ndarray) -> float:
    """Computes the area between a sparsification curve and the oracle's; 0 is best."""
    return float(np.trapezoid(curve - oracle, FRACTIONS))


def aurg(curve: np.ndarray) -> float:
    """Computes the area between a random order, 1, and a sparsification curve; higher is better."""
    return float(np.trapezoid(1 - curve, FRACTIONS))


def spearman(error: np.ndarray, uncertainty: np.ndarray) -> float:
    """Computes the rank correlation of |e| and uncertainty, in -1..1; NaN if one is constant."""
    error, uncertainty = np.abs(np.ravel(error)), np.ravel(uncertainty)
    if np.ptp(error) == 0 or np.ptp(uncertainty) == 0:
        return float("nan")
    return float(spearmanr(error, uncertainty).statistic)


def reliability(error: np.ndarray, theta: np.ndarray, bins: int = 20) -> np.ndarray:
    """Compares predicted and measured errors in bins of equally many values, ordered by theta.

    Args:
        error: e or |e|, any shape.
        theta: of the same shape.
        bins: number of bins.

    Returns:
        (bins, 4): mean theta, mean |e|, predicted RMSE (root of mean 2 theta^2), measured RMSE.
    """
    order = np.argsort(np.ravel(theta), kind="stable")
    theta = np.ravel(theta)[order].astype(np.float64)
    error = np.abs(np.ravel(error))[order].astype(np.float64)
    rows = [
        (t.mean(), e.mean(), np.sqrt(np.mean(2 * t**2)), np.sqrt(np.mean(e**2)))
        for t, e in zip(np.array_split(theta, bins), np.array_split(error, bins), strict=True)
    ]
    return np.array(rows)


def uce(error: np.ndarray, theta: np.ndarray, bins: int = 20) -> float:
    """Computes the uncertainty calibration error: mean over bins of |mean |e| - mean theta|.

    Source: Laves et al., MIDL 2020, with the Laplace scale in place of the variance; grey levels.
    """
    rows = reliability(error, theta, bins)
    return float(np.mean(np.abs(rows[:, 1] - rows[:, 0])))


def ence(error: np.ndarray, theta: np.ndarray, bins: int = 20) -> float:
    """Computes the expected normalised calibration error: mean over bins of |RMV - RMSE| / RMV.

    Source: Levi et al., 2019. RMV is the root mean variance; a Laplace variance is 2 theta^2.
    """
    rows = reliability(error, theta, bins)
    return float(np.mean(np.abs(rows[:, 2] - rows[:, 3]) / rows[:, 2]))
