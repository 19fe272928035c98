"""Conformal intervals [sr - f theta, sr + f theta] with a guaranteed expected miss rate.

The guarantee holds for images exchangeable with the calibration images: with probability at least
1 - delta over their draw, the expected fraction of values of a new image outside its intervals is
at most alpha.

Source: Angelopoulos et al., "Image-to-image regression with distribution-free uncertainty
quantification", ICML 2022; the bound by Bates et al., J. ACM 2021.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import bisect
from scipy.stats import binom

from udl_tf.errors import UserError

_FEWEST = 50
"""Smallest number of images, the exchangeable units, for which the bound is informative."""


def hoeffding_bentkus(risk: float, n: int, alpha: float) -> float:
    """Computes the p-value of the hypothesis that the expected risk exceeds alpha.

    Args:
        risk: mean of n independent losses in 0..1.
        n: number of losses.
        alpha: hypothetical expected risk, in 0..1.
    """
    a = min(risk, alpha)
    divergence = (1 - a) * math.log((1 - a) / (1 - alpha))
    divergence += a * math.log(a / alpha) if a > 0 else 0.0
    bentkus = math.e * binom.cdf(math.ceil(n * risk - 1e-9), n, alpha)
    return float(min(1.0, math.exp(-n * divergence), bentkus))


def fewest_images(alpha: float, delta: float) -> int:
    """Returns the number of calibration images that a guarantee needs at least."""
    return max(_FEWEST, math.ceil(math.log(delta) / math.log(1 - alpha) - 1e-9))


def risk_bound(n: int, alpha: float, delta: float) -> float:
    """Computes the largest mean risk of n images that implies an expected risk of at most alpha.

    Args:
        n: number of calibration images.
        alpha: allowed expected risk, in 0..1.
        delta: allowed probability that the conclusion is wrong, in 0..1.

    Raises:
        UserError: if n is too small, or alpha or delta is not between 0 and 1.
    """
    if not (0 < alpha < 1 and 0 < delta < 1):
        raise UserError(f"conformal {alpha:g},{delta:g}: expected two numbers between 0 and 1")
    if n < fewest_images(alpha, delta):
        raise UserError(
            f"{n} distinct images are too few for conformal intervals at alpha={alpha:g},"
            f" delta={delta:g}: give at least {fewest_images(alpha, delta)}"
        )

    def excess(risk: float) -> float:
        return hoeffding_bentkus(risk, n, alpha) - delta

    low = float(bisect(excess, 0.0, alpha, xtol=1e-9)) if excess(0.0) < 0 else 0.0
    # Bentkus' bound is a step function of the risk, so bisection may stop just above the root.
    while low > 0 and excess(low) > 0:
        low = max(0.0, low - 1e-6)
    return low


def conformal_factor(ratios: Sequence[np.ndarray], alpha: float, delta: float) -> float:
    """Computes the smallest f of [sr - f theta, sr + f theta] for which the guarantee holds.

    Args:
        ratios: |e|/theta of each calibration image, arrays of any shapes.
        alpha: allowed expected fraction of values outside, in 0..1.
        delta: allowed probability that the guarantee fails, in 0..1.

    Raises:
        UserError: as risk_bound.
    """
    bound = risk_bound(len(ratios), alpha, delta)
    ordered = [np.sort(np.ravel(ratio)) for ratio in ratios]

    def risk(factor: float) -> float:
        outside = [1 - np.searchsorted(r, factor, side="right") / r.size for r in ordered]
        return float(np.mean(outside))

    low, high = 0.0, max(float(r[-1]) for r in ordered)
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if risk(middle) <= bound else (middle, high)
    return high
