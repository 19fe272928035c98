"""Signs of degradation in an image: compression in blocks, noise, blur.

Each sign is a number that grows with its degradation. Images differ in it without any degradation,
and small images more than large ones: udl_tf.uncertainty.inputs compares it with that of other
images.
"""

import numpy as np
from scipy.fft import dct

SIGNS: tuple[str, ...] = ("compression blocks", "strong compression", "noise", "blur")
"""Names of the signs."""

SMALLEST = 24
"""Least height and width of an image in which signs can be measured, pixels."""

_SIDE = 8  # of JPEG's blocks, and of the windows here, pixels
_BANDS = 2  # of frequencies: 5, 6, 7 and 2, 3, 4, in the order of the signs of compression
_FREQUENCIES = dct(np.eye(_SIDE), axis=0, norm="ortho")[[5, 6, 7, 2, 3, 4]].T.astype(np.float32)
_ROWS = 32 * _SIDE  # measured at a time, so that intermediate arrays stay small
_FLAT = 0.1  # quantile over windows: noise is seen where the image is flat
_LEVELS = 2.0  # grey levels added to differences, whose ratio rounding could decide otherwise


def measure_signs(image: np.ndarray) -> np.ndarray | None:
    """Measures the signs of degradation of an image.

    Compression blocks: in JPEG's blocks of 8x8 pixels, most coefficients of high frequency are 0;
    in runs of 8 pixels that begin elsewhere, they are not. This is the share of coefficients near 0
    for runs that begin at the best of the 8 phases, minus the mean share for the others. At JPEG 30
    and below, it hardly grows any more.

    Strong compression: the same for middle frequencies, which are 0 at low qualities only.

    Noise: ln of the second differences along both axes of what the channels do not have in common,
    in the flattest windows. An image of one channel has no such sign of noise.

    Blur: -ln of the ratio of second to first differences, of windows weighted by the square of the
    latter: blur is seen at edges and in texture, and a part of the image may be out of focus.

    Args:
        image: (h, w, channels), in 0..255, of any number type.

    Returns:
        (4,), in the order of SIGNS; None if the image is smaller than SMALLEST.
    """
    if min(image.shape[:2]) < SMALLEST:
        return None
    counts, windows = np.zeros((2, _BANDS + 1, _SIDE)), []
    for top in range(0, image.shape[0] - _SIDE + 1, _ROWS):
        band = image[top : top + _ROWS + _SIDE - 1].astype(np.float32)  # with the columns' last run
        grey = band.mean(axis=-1)
        counts += [_near_zero(grey[:_ROWS]), _near_zero(grey.T)]
        windows.append(_differences(band))
    noise, first, second = np.concatenate(windows, axis=1)
    shares = counts[:, :_BANDS] / counts[:, _BANDS:]
    best = shares.max(axis=-1)
    excess = best - (shares.sum(axis=-1) - best) / (_SIDE - 1)
    first, second = first + _LEVELS, second + _LEVELS
    ratio = (second * first**2).sum() / (first**3).sum()
    flattest = np.quantile(noise, _FLAT) + _LEVELS / 10
    return np.array([*excess.mean(axis=0), np.log(flattest), -np.log(ratio)])


def _near_zero(grey: np.ndarray) -> np.ndarray:
    """Counts the coefficients below one grey level in runs of pixels along the rows.

    Args:
        grey: (h, w).

    Returns:
        (3, 8): for runs that begin at each phase, the number of coefficients near 0 in each band,
        and of all in one band.
    """
    counts = np.zeros((_BANDS + 1, _SIDE))
    for phase in range(_SIDE):
        length = (grey.shape[1] - phase) // _SIDE * _SIDE
        runs = grey[:, phase : phase + length].reshape(-1, _SIDE)
        near = (np.abs(runs @ _FREQUENCIES) < 1).sum(axis=0).reshape(_BANDS, -1)
        counts[:, phase] = *near.sum(axis=1), near.shape[1] * len(runs)
    return counts


def _differences(band: np.ndarray) -> np.ndarray:
    """Returns mean absolute differences in windows of 8x8 pixels.

    Returns:
        (3, windows): second differences along both axes of what the channels do not have in common;
        the first and the second differences along each axis, added, of the mean channel.
    """
    rows, columns = (length // _SIDE for length in band.shape[:2])
    inside = band[: rows * _SIDE, : columns * _SIDE]
    windows = inside.reshape(rows, _SIDE, columns, _SIDE, -1)
    grey = windows.mean(axis=-1, keepdims=True)
    own = np.diff(np.diff(windows - grey, 2, axis=1), 2, axis=3)
    first, second = (
        _mean(np.diff(grey, order, axis=1)) + _mean(np.diff(grey, order, axis=3))
        for order in (1, 2)
    )
    return np.stack([_mean(own), first, second])


def _mean(differences: np.ndarray) -> np.ndarray:
    """Returns the mean absolute value in each window, (windows,)."""
    return np.abs(differences).mean(axis=(1, 3, 4)).ravel()
