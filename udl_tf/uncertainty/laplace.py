"""Laplace likelihood of errors: fits of theta, intervals and their coverage."""

import numpy as np

LEVELS = np.array([*np.arange(1, 100) / 100, 0.995, 0.999])
"""Levels of the quantiles of |e|/theta that a calibration measures."""

_STEEPEST = 5.0  # slope of ln theta' in ln theta; beyond, few zero errors decide it


def laplace_nll(error: np.ndarray, theta: np.ndarray) -> float:
    """Computes the mean negative log-likelihood, ln(2 theta) + |e|/theta, in nats per value.

    Args:
        error: e or |e|, any shape.
        theta: positive, of the same shape.
    """
    theta = np.asarray(theta, np.float64)
    return float(np.mean(np.log(2 * theta) + np.abs(error) / theta))


def fit_scale(error: np.ndarray, log_theta: np.ndarray) -> tuple[float, float]:
    """Fits theta' = c theta by maximum likelihood: c = mean(|e|/theta).

    Args:
        error: e or |e|, any shape.
        log_theta: ln theta, of the same shape.

    Returns:
        (ln c, 1): intercept and slope of ln theta' as a function of ln theta.
    """
    ratio = np.abs(error) * np.exp(-np.asarray(log_theta, np.float64))
    return float(np.log(np.mean(ratio))), 1.0


def fit_affine(error: np.ndarray, log_theta: np.ndarray) -> tuple[float, float]:
    """Fits theta' = exp(a + b ln theta) by maximum likelihood, with Newton's method (convex).

    Args:
        error: e or |e|, any shape.
        log_theta: ln theta, of the same shape.

    Returns:
        (a, b); the result of fit_scale if the likelihood has no maximum with |b| up to 5, because
        ln theta is constant, or errors are zero almost everywhere on one side of its mean.
    """
    s = np.asarray(log_theta, np.float64).ravel()
    error = np.abs(np.asarray(error, np.float64)).ravel()
    center, spread, count = s.mean(), s.std(), s.size
    if spread < 1e-6:
        return fit_scale(error, s)
    z, errors = ((s - center) / spread)[error > 0], error[error > 0]
    if not ((z < 0).any() and (z > 0).any()):
        return fit_scale(error, s)
    design = np.stack([np.ones_like(z), z])  # ln theta' = p @ design

    # z of all values has the mean 0, so the mean of ln theta' is p[0], whose gradient is (1, 0).
    def loss(p: np.ndarray) -> float:
        with np.errstate(over="ignore"):  # by a step that is too long, and is halved
            return float(p[0] + np.sum(errors * np.exp(-(p @ design))) / count)

    p = np.array([np.log(np.sum(errors) / count), 0.0])
    for _ in range(100):
        ratio = errors * np.exp(-(p @ design))
        gradient = np.array([1.0, 0.0]) - design @ ratio / count
        hessian = (design * ratio) @ design.T / count
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while loss(p - size * step) > loss(p) and size > 1e-10:
            size /= 2
        p = p - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    b = p[1] / spread
    if abs(b) > _STEEPEST:
        return fit_scale(error, s)
    return float(p[0] - b * center), float(b)


def laplace_factor(level: float | np.ndarray) -> np.ndarray:
    """Returns the half width, in theta, of the interval that covers a fraction `level`."""
    return -np.log1p(-np.asarray(level))


def coverage(ratio: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Computes the fractions of values inside sr +- factor theta.

    Args:
        ratio: |e|/theta, any shape.
        factors: half widths in theta, (levels,).

    Returns:
        Fractions in 0..1, (levels,).
    """
    return np.searchsorted(np.sort(np.ravel(ratio)), factors, side="right") / np.size(ratio)


def measured_factors(ratio: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """Computes the quantiles of |e|/theta; for Laplace errors they are laplace_factor(levels).

    Args:
        ratio: |e|/theta, (n, channels).
        levels: levels of the quantiles, in 0..1.

    Returns:
        Quantiles, (levels, channels).
    """
    return np.quantile(ratio, levels, axis=0)


def expected_psnr(theta: np.ndarray) -> float:
    """Returns the PSNR predicted by theta, dB; the expected squared Laplace error is 2 theta^2."""
    values = np.ravel(theta)
    # The sum of squares in float64, block by block, without a copy of theta.
    squares = float(np.einsum("i,i->", values, values, dtype=np.float64))
    return float(10 * np.log10(255.0**2 * values.size / (2 * squares)))
