"""PSNR and SSIM by the standard protocol of super-resolution, and metrics of measurements.

`psnr_y` and `ssim_y` compare SR and HR images, uint8 RGB, on their unrounded BT.601 luma after
`shave` pixels (the scale) are removed on every side; the value of a test set is the mean over its
images. Other dtypes are refused, because the protocol rounds images to 8 bits before they are
compared.

`psnr`, `ssim`, `sam` and `ergas` compare floats of any number of channels, in the unit of the
files; nodata, which is NaN in HR, is skipped. The first two are computed per channel.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from udl_tf.errors import UserError
from udl_tf.imaging.color import rgb_to_y

SSIM_WINDOW = 11
SSIM_C1, SSIM_C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2

TITLES = {
    "psnr_y": ("PSNR-Y", "dB", 3),
    "ssim_y": ("SSIM-Y", "", 4),
    "psnr": ("PSNR", "dB", 3),
    "ssim": ("SSIM", "", 4),
    "sam": ("SAM", "°", 3),
    "ergas": ("ERGAS", "", 3),
}
"""Name in tables, unit and decimal places of each metric, in the order of tables."""


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
    return float(np.mean(_ssim_map(a, b, SSIM_C1, SSIM_C2)))


def psnr(sr: np.ndarray, hr: np.ndarray, data_range: npt.ArrayLike = 255.0) -> np.ndarray:
    """Computes the peak signal-to-noise ratio of each channel, in dB; infinite for equal ones.

    Args:
        sr: (h, w, c), neither clipped nor rounded.
        hr: as sr; NaN for nodata.
        data_range: the peak: difference between the largest and the smallest value of the images'
            range, of all channels or (c,).

    Returns:
        float64 (c,); NaN for a channel without data.

    Raises:
        UserError: for different shapes.
    """
    _check_pair(sr, hr)
    mse = _valid_mean((sr.astype(np.float64) - hr) ** 2)
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(np.asarray(data_range, np.float64) ** 2 / mse)


def ssim(sr: np.ndarray, hr: np.ndarray, data_range: npt.ArrayLike = 255.0) -> np.ndarray:
    """Computes the structural similarity of each channel, as ssim_y does for the luma.

    Windows with nodata are skipped.

    Args:
        sr: as for psnr; at least 11 x 11 pixels.
        hr: as for psnr.
        data_range: as for psnr; L of ssim_y.

    Returns:
        float64 (c,); NaN for a channel without a window of data.

    Raises:
        UserError: for different shapes or too few pixels.
    """
    _check_pair(sr, hr, smallest=SSIM_WINDOW)
    peak = np.broadcast_to(np.asarray(data_range, np.float64), hr.shape[2:])
    sr, hr = sr.astype(np.float64), hr.astype(np.float64)
    maps = [
        _ssim_map(sr[..., c], hr[..., c], (0.01 * one) ** 2, (0.03 * one) ** 2)
        for c, one in enumerate(peak.tolist())
    ]
    return _valid_mean(np.stack(maps, axis=-1))


def sam(sr: np.ndarray, hr: np.ndarray) -> float:
    """Computes the spectral angle, in degrees: the mean angle between the spectra of pixels.

    Pixels without data in a channel, and those where a spectrum is all 0, are skipped.

    Args:
        sr: as for psnr, of at least two channels.
        hr: as for psnr.

    Returns:
        The angle; NaN if all pixels are skipped.

    Source: Kruse et al. 1993, The spectral image processing system (SIPS).
    """
    _check_pair(sr, hr)
    a, b = sr.astype(np.float64), hr.astype(np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    known = lengths > 0  # False for NaN
    cosine = np.sum(a[known] * b[known], axis=-1) / lengths[known]
    return float(_valid_mean(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))


def ergas(sr: np.ndarray, hr: np.ndarray, scale: int) -> float:
    """Computes the relative dimensionless global error in synthesis; 0 is best.

    100 / scale sqrt(mean over channels of MSE / mean(hr)^2). Only for quantities whose zero is
    physical, such as radiances.

    Args:
        sr: as for psnr.
        hr: as for psnr.
        scale: HR over LR size.

    Source: Wald 2000, Quality of high resolution synthesised images: is there a simple criterion?
    """
    _check_pair(sr, hr)
    mse = _valid_mean((sr.astype(np.float64) - hr) ** 2)
    means = _valid_mean(hr.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(100.0 / scale * np.sqrt(_valid_mean(mse / means**2)))


def _ssim_map(a: np.ndarray, b: np.ndarray, c1: float, c2: float) -> np.ndarray:
    """Returns the structural similarity where the window fits, of float64 (h, w)."""
    mean_a, mean_b = _window(a), _window(b)
    var_a = _window(a * a) - mean_a**2
    var_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    numerator = (2.0 * mean_a * mean_b + c1) * (2.0 * covariance + c2)
    denominator = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return numerator / denominator


def _valid_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean of the values that are not NaN over all axes but the last of (h, w, c).

    Of (n,) it is a single number. NaN where no value is left.
    """
    axes = tuple(range(values.ndim - 1)) or None
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.sum(values, axis=axes, where=known) / np.sum(known, axis=axes)


def _check_pair(sr: np.ndarray, hr: np.ndarray, smallest: int = 1) -> None:
    """Requires two images (h, w, c) of one shape, with at least `smallest` pixels per side."""
    if sr.shape != hr.shape or hr.ndim != 3:
        raise UserError(
            f"sr and hr must have the same shape (h, w, c). Received: {sr.shape} and {hr.shape}"
        )
    if min(hr.shape[:2]) < smallest:
        raise UserError(f"expected at least {smallest}x{smallest} pixels. Received: {hr.shape}")


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
