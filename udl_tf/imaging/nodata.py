"""Pixels without data: filled before a network sees them, and the pixels close to them."""

import numpy as np
from scipy.ndimage import maximum_filter1d

FILL_DISTANCE = 8
"""LR pixels by which data grow into nodata before a network sees them, as images are mirrored."""

MIDDLE = 127.5
"""Value of pixels that are far from all data: the middle of the network's 0..255."""


def fill_nodata(values: np.ndarray, valid: np.ndarray, distance: int) -> np.ndarray:
    """Fills pixels without data from their surroundings, each channel on its own.

    In each of `distance` rounds, the pixels without data that have neighbours with data become the
    mean of those, of eight neighbours at most. The rest becomes MIDDLE. A filled pixel depends on
    the pixels within `distance` only, and the sums have a fixed order: parts of an image with a
    margin of `distance` are filled as the whole image is, to the bit.

    Args:
        values: float (h, w, c) in the network's 0..255; of pixels without data, any value or NaN.
        valid: bool (h, w, c): False for pixels without data.
        distance: rounds, in pixels.

    Returns:
        float32 (h, w, c), finite where the valid values are.
    """
    filled = np.where(valid, values, np.float32(MIDDLE)).astype(np.float32, copy=False)
    for channel in range(valid.shape[2]):
        if not valid[..., channel].all():
            _fill_channel(filled[..., channel], valid[..., channel], distance)
    return filled


def _fill_channel(values: np.ndarray, valid: np.ndarray, distance: int) -> None:
    """Fills one channel (h, w) in place."""
    # A frame of one pixel without data, so that all pixels have eight neighbours.
    known, padded = (np.ascontiguousarray(np.pad(array, 1)) for array in (valid, values))
    row = known.shape[1]
    neighbours = (-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1)
    flat_known, flat_values = known.ravel(), padded.ravel()  # views
    for _ in range(distance):
        reached = _grown(known, 1) & ~known
        reached[[0, -1]] = reached[:, [0, -1]] = False
        pixels = np.flatnonzero(reached)
        if not len(pixels):
            break
        sums, counts = np.zeros(len(pixels), np.float32), np.zeros(len(pixels), np.float32)
        for offset in neighbours:  # in this order: another one could round differently
            counted = flat_known[pixels + offset]
            sums += np.where(counted, flat_values[pixels + offset], np.float32(0))
            counts += counted
        flat_values[pixels] = sums / counts
        flat_known[pixels] = True
    values[...] = padded[1:-1, 1:-1]


def near_nodata(valid: np.ndarray, distance: int) -> np.ndarray:
    """Returns which pixels have nodata, in any channel, at most `distance` rows and columns away.

    Args:
        valid: bool (h, w, c).
        distance: pixels.

    Returns:
        bool (h, w), True also for the pixels without data themselves.
    """
    return _grown(np.logical_not(valid.all(axis=-1)), distance)


def _grown(mask: np.ndarray, distance: int) -> np.ndarray:
    """Returns a mask (h, w) grown by `distance` pixels, diagonally too."""
    for axis in (0, 1):
        mask = maximum_filter1d(mask, 2 * distance + 1, axis, mode="constant", cval=0)
    return mask
