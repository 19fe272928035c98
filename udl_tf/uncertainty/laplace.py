"""The Laplace likelihood of errors: rescaling theta so that it holds, and whether it does."""

import numpy as np

# At which levels the calibration measures quantiles of |e|/theta.
LEVELS = np.array([*np.arange(1, 100) / 100, 0.995, 0.999])


def laplace_nll(error: np.ndarray, theta: np.ndarray) -> float:
    """Mean negative log-likelihood, ln(2 theta) + |e|/theta, in nats a value.

    Args:
        error: e or |e|, any shape.
        theta: positive, of the same shape.
    """
    theta = np.asarray(theta, np.float64)
    return float(np.mean(np.log(2 * theta) + np.abs(error) / theta))


def fit_scale(error: np.ndarray, log_theta: np.ndarray) -> tuple[float, float]:
    """The most likely theta' = c theta: c = mean(|e|/theta).

    Args:
        error: e or |e|, any shape.
        log_theta: ln theta, of the same shape.

    Returns:
        (ln c, 1): intercept and slope of ln theta' over ln theta.
    """
    ratio = np.abs(error) * np.exp(-np.asarray(log_theta, np.float64))
    return float(np.log(np.mean(ratio))), 1.0


def fit_affine(error: np.ndarray, log_theta: np.ndarray) -> tuple[float, float]:
    """The most likely theta' = exp(a + b ln theta), by Newton's method; the problem is convex.

    Args:
        error: e or |e|, any shape.
        log_theta: ln theta, of the same shape.

    Returns:
        (a, b); the result of fit_scale where ln theta does not vary.
    """
    s = np.asarray(log_theta, np.float64).ravel()
    error = np.abs(np.asarray(error, np.float64)).ravel()
    center, spread = s.mean(), s.std()
    if spread < 1e-6:
        return fit_scale(error, s)
    z = (s - center) / spread
    design = np.stack([np.ones_like(z), z])

    def loss(p: np.ndarray) -> float:
        return float(np.mean(p @ design + error * np.exp(-(p @ design))))

    # With z standardised, mean(p @ design) is p[0].
    p = np.array([np.log(np.mean(error)), 0.0])
    for _ in range(100):
        ratio = error * np.exp(-(p @ design))
        gradient = np.array([1.0, 0.0]) - design @ ratio / ratio.size
        hessian = (design * ratio) @ design.T / ratio.size
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while loss(p - size * step) > loss(p) and size > 1e-10:
            size /= 2
        p = p - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    b = p[1] / spread
    return float(p[0] - b * center), float(b)


def laplace_factor(level: float | np.ndarray) -> np.ndarray:
    """Half the width, in theta, of the interval that holds a share `level` of a Laplace error."""
    return -np.log1p(-np.asarray(level))


def coverage(ratio: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The shares of values inside sr +- factor theta.

    Args:
        ratio: |e|/theta, any shape.
        factors: half widths in theta, (levels,).

    Returns:
        (levels,).
    """
    return np.searchsorted(np.sort(np.ravel(ratio)), factors, side="right") / np.size(ratio)


def measured_factors(ratio: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
    """The quantiles of |e|/theta, which a Laplace error would have at laplace_factor(levels).

    Args:
        ratio: |e|/theta, (n, channels).
        levels: in 0..1.

    Returns:
        (levels, channels).
    """
    return np.quantile(ratio, levels, axis=0)


def expected_psnr(theta: np.ndarray) -> float:
    """The PSNR that theta predicts, dB: the expected square of a Laplace error is 2 theta^2."""
    return float(10 * np.log10(255.0**2 / np.mean(2 * np.asarray(theta, np.float64) ** 2)))
