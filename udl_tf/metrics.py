"""PSNR and SSIM by the standard protocol of super-resolution.

SR and HR images, uint8 RGB, are compared on their unrounded BT.601 luma after `shave` pixels (the
scale) are removed on every side; the value of a test set is the mean over its images.
"""

import numpy as np
from scipy.ndimage import correlate1d

from udl_tf.imaging.color import rgb_to_y

SSIM_WINDOW = 11


def psnr_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Computes the peak signal-to-noise ratio of the luma, in dB; infinite for equal images.

    Args:
        sr: uint8 RGB, (h, w, 3).
        hr: as sr.
        shave: pixels to remove on every side; the scale, by the protocol.

    Raises:
        ValueError: for other shapes or dtypes, or if no pixel is left.
    """
    a, b = _luma_pair(sr, hr, shave, smallest=1)
    mse = np.mean((a - b) ** 2)
    return float(10.0 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def ssim_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Computes the structural similarity of the luma, at most 1.

    Args:
        sr: uint8 RGB, (h, w, 3).
        hr: as sr.
        shave: pixels to remove on every side; at least 11 x 11 must be left.

    Raises:
        ValueError: for other shapes or dtypes, or if fewer pixels are left.

    Source: Wang et al. 2004: 11x11 Gaussian window of sigma 1.5, valid positions only, K1 = 0.01,
    K2 = 0.03, L = 255, population covariance.
    """
    a, b = _luma_pair(sr, hr, shave, smallest=SSIM_WINDOW)
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    numerator = (2.0 * mean_a * mean_b + c1) * (2.0 * covariance + c2)
    denominator = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(np.mean(numerator / denominator))


def _luma_pair(
    sr: np.ndarray, hr: np.ndarray, shave: int, smallest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the luma of both images inside the shaved border, float64."""
    for name, image in (("sr", sr), ("hr", hr)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                f"{name} must be uint8 of shape (h, w, 3). Received: {image.dtype} {image.shape}"
            )
    if sr.shape != hr.shape:
        raise ValueError(f"sr and hr must have the same shape. Received: {sr.shape} and {hr.shape}")
    height, width = sr.shape[0] - 2 * shave, sr.shape[1] - 2 * shave
    if shave < 0 or min(height, width) < smallest:
        raise ValueError(
            f"at least {smallest}x{smallest} pixels must be left after shaving."
            f" Received: shape={sr.shape}, shave={shave}"
        )
    inside = np.s_[shave : shave + height, shave : shave + width]
    return rgb_to_y(sr[inside]), rgb_to_y(hr[inside])


def _window(image: np.ndarray) -> np.ndarray:
    """Computes the Gaussian-weighted local mean at the positions where the window fits."""
    reach = SSIM_WINDOW // 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (0, 1):
        image = correlate1d(image, taps, axis)
    return image[reach:-reach, reach:-reach]
