"""Whether large uncertainty goes with large error: curves and single numbers."""

import numpy as np
from scipy.stats import spearmanr

FRACTIONS = np.arange(100) / 100
"""Shares of the values that sparsification takes away."""


def sparsification(error: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Mean |e| of what is left without the most uncertain shares FRACTIONS, over that of all.

    The curve of `uncertainty` = |e| is the oracle's; that of noise stays at 1.

    Args:
        error: e or |e|, any shape.
        uncertainty: of the same shape; only its order counts.

    Returns:
        (100,), the first value 1; NaN throughout if there is no error at all.
    """
    error = np.abs(np.ravel(error))[np.argsort(np.ravel(uncertainty), kind="stable")]
    kept = np.maximum(1, np.round((1 - FRACTIONS) * error.size).astype(int))
    means = np.cumsum(error, dtype=np.float64)[kept - 1] / kept
    with np.errstate(invalid="ignore"):
        return means / means[0]


def ause(curve: np.ndarray, oracle: np.ndarray) -> float:
    """Area between a sparsification curve and the oracle's: 0 is best."""
    return float(np.trapezoid(curve - oracle, FRACTIONS))


def aurg(curve: np.ndarray) -> float:
    """Area between random order's line, 1, and a sparsification curve: more is better."""
    return float(np.trapezoid(1 - curve, FRACTIONS))


def spearman(error: np.ndarray, uncertainty: np.ndarray) -> float:
    """Rank correlation of |e| and uncertainty, in -1..1."""
    return float(spearmanr(np.abs(np.ravel(error)), np.ravel(uncertainty)).statistic)


def reliability(error: np.ndarray, theta: np.ndarray, bins: int = 20) -> np.ndarray:
    """Predicted against found error in bins of equal size, ordered by theta.

    Args:
        error: e or |e|, any shape.
        theta: of the same shape.
        bins: number of bins.

    Returns:
        (bins, 4): mean theta, mean |e|, predicted root mean square (of 2 theta^2), found one.
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
    """Uncertainty calibration error, grey levels: mean over bins of |mean |e| - mean theta|.

    Source: Laves et al., MIDL 2020, with the Laplace scale in place of the variance.
    """
    rows = reliability(error, theta, bins)
    return float(np.mean(np.abs(rows[:, 1] - rows[:, 0])))


def ence(error: np.ndarray, theta: np.ndarray, bins: int = 20) -> float:
    """Expected normalised calibration error: mean over bins of |RMV - RMSE| / RMV.

    Source: Levi et al., 2019. The root mean variance RMV of a Laplace error is that of 2 theta^2.
    """
    rows = reliability(error, theta, bins)
    return float(np.mean(np.abs(rows[:, 2] - rows[:, 3]) / rows[:, 2]))
