"""PSNR and SSIM by the standard protocol of super-resolution.

SR and HR images, uint8 RGB, are compared on their unrounded BT.601 luma after `shave` pixels (the
scale) are removed on every side; the value of a test set is the mean over its images. Other dtypes
are refused, because the protocol rounds images to 8 bits before they are compared.
"""

import numpy as np
from scipy.ndimage import correlate1d

from udl_tf.errors import UserError
from udl_tf.imaging.color import rgb_to_y

SSIM_WINDOW = 11
SSIM_C1, SSIM_C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2


def psnr_y(sr: np.ndarray, hr: np.ndarray, shave: int) -> float:
    """Computes the peak signal-to-noise ratio of the luma, in dB; infinite for equal images.

    Args:
        sr: uint8 RGB, (h, w, 3).
        hr: as sr.
        shave: pixels to remove on every side; the scale, by the protocol.

    Raises:
        UserError: for other shapes or dtypes, or if no pixel is left.
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
        UserError: for other shapes or dtypes, or if fewer pixels are left.

    Source: Wang et al. 2004: 11x11 Gaussian window of sigma 1.5, valid positions only, K1 = 0.01,
    K2 = 0.03, L = 255, population covariance.
    """
    a, b = _luma_pair(sr, hr, shave, smallest=SSIM_WINDOW)
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    numerator = (2.0 * mean_a * mean_b + SSIM_C1) * (2.0 * covariance + SSIM_C2)
    denominator = (mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)
    return float(np.mean(numerator / denominator))


def _luma_pair(
    sr: np.ndarray, hr: np.ndarray, shave: int, smallest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the luma of both images inside the shaved border, float64."""
    for name, image in (("sr", sr), ("hr", hr)):
        if image.dtype != np.uint8:
            levels = f"{name} / 257" if image.dtype == np.uint16 else name
            raise UserError(
                f"{name} must be uint8, because the protocol compares 8-bit images: round grey"
                f" levels of 0..255 by udl_tf.imaging.to_dtype({levels}, 'uint8'). Received:"
                f" {image.dtype}"
            )
        if image.ndim != 3 or image.shape[-1] != 3:
            raise UserError(f"{name} must be RGB of shape (h, w, 3). Received: {image.shape}")
    if sr.shape != hr.shape:
        raise UserError(f"sr and hr must have the same shape. Received: {sr.shape} and {hr.shape}")
    height, width = sr.shape[0] - 2 * shave, sr.shape[1] - 2 * shave
    if shave < 0 or min(height, width) < smallest:
        raise UserError(
            f"at least {smallest}x{smallest} pixels must be left after shaving."
            f" Received: shape={sr.shape}, shave={shave}"
        )
    inside = np.s_[shave : shave + height, shave : shave + width]
    return rgb_to_y(sr[inside]), rgb_to_y(hr[inside])


def _window(image: np.ndarray) -> np.ndarray:
    """Computes the Gaussian-weighted local mean at the positions where the window fits."""
    reach, taps = SSIM_WINDOW // 2, ssim_taps()
    for axis in (0, 1):
        image = correlate1d(image, taps, axis)
    return image[reach:-reach, reach:-reach]


def ssim_taps() -> np.ndarray:
    """Returns the taps of SSIM's Gaussian window along one axis, float64 (SSIM_WINDOW,)."""
    reach = SSIM_WINDOW // 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * 1.5**2))
    return taps / taps.sum()
