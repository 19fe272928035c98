"""Bicubic resizing of floats by whole numbers, equal to the bit in parts and in the whole image.

`imresize` computes the weights of each row from its coordinates, whose rounding depends on the
position. Here they are computed once; both agree within the precision of float32.
"""

import numpy as np

from udl_tf.imaging.resize import resize_weights

RADIUS = 2
"""LR pixels on each side that a result pixel depends on, of both directions."""

_REACH = RADIUS + 1  # LR pixels around an image that the taps below may touch with zero weight


def shrink(values: np.ndarray, scale: int) -> np.ndarray:
    """Shrinks an image as imresize(values, 1 / scale), with antialiasing.

    Args:
        values: float32 (scale h, scale w, c).
        scale: 2, 3 or 4.

    Returns:
        float32 (h, w, c).
    """
    indices, weights = resize_weights(9 * scale, 9, 1 / scale)
    taps = [(int(i) - 4 * scale, w) for i, w in zip(indices[4], weights[4], strict=True) if w]
    for _ in range(2):  # rows, then columns; both times along the first axis
        padded = _mirrored(values, _REACH * scale)
        stop, start = len(values), _REACH * scale
        values = _weighted([(padded[start + o : start + o + stop : scale], w) for o, w in taps])
        values = values.swapaxes(0, 1)
    return values


def enlarge(values: np.ndarray, scale: int) -> np.ndarray:
    """Enlarges an image as imresize(values, scale).

    Args:
        values: float32 (h, w, c).
        scale: 2, 3 or 4.

    Returns:
        float32 (scale h, scale w, c).
    """
    indices, weights = resize_weights(9, 9 * scale, scale)
    middle = slice(4 * scale, 5 * scale)
    for _ in range(2):
        padded, length = _mirrored(values, _REACH), len(values)
        result = np.empty((scale * length, *values.shape[1:]), np.float32)
        for phase, (places, factors) in enumerate(
            zip(indices[middle] - 4 + _REACH, weights[middle], strict=True)
        ):
            parts = [(padded[p : p + length], w) for p, w in zip(places, factors, strict=True) if w]
            result[phase::scale] = _weighted(parts)
        values = result.swapaxes(0, 1)
    return values


def _mirrored(values: np.ndarray, count: int) -> np.ndarray:
    """Continues an image by `count` mirrored rows at the top and at the bottom."""
    return np.pad(values, ((count, count), (0, 0), (0, 0)), "symmetric")


def _weighted(parts: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Returns the weighted sum of float32 arrays, added in their order."""
    total = np.zeros(parts[0][0].shape, np.float32)
    for part, weight in parts:
        total += part * np.float32(weight)
    return total
