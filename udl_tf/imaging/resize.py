"""MATLAB's bicubic `imresize`, equal in every pixel: the standard degradation of HR images."""

import math
from typing import Any

import numpy as np

from udl_tf.imaging.dtypes import to_dtype

_ROWS = 64  # of the result that are computed at a time
_VALUES = 2**17  # float64 values that are weighted at a time, so that they fit in the cache


def cubic(x: np.ndarray) -> np.ndarray:
    """Evaluates Keys' cubic convolution kernel with a = -0.5 at distances `x`."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resize_weights(length: int, out_length: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Computes which input samples contribute to each output sample along one axis.

    Args:
        length: number of input samples.
        out_length: number of output samples.
        scale: output over input sampling rate; below 1 the kernel is widened (antialiasing).

    Returns:
        (indices, weights), each (out_length, taps): indices in 0..length-1 with the border mirrored
        (the edge sample repeated), weights float64 with rows that sum to 1.
    """
    # Shrinking widens the kernel in the input by 1 / scale: it removes the frequencies that the
    # output cannot represent.
    shrink = min(scale, 1.0)
    width = 4.0 / shrink  # the cubic is nonzero at distances below 2
    # Pixels are areas: pixel i of the input covers i-0.5 .. i+0.5, and the outer borders of input
    # and output coincide.
    center = (np.arange(out_length) + 0.5) / scale - 0.5
    # An interval of `width` contains at most ceil(width) samples; the additional one weighs 0.
    first = np.floor(center - width / 2.0).astype(np.int64) + 1
    indices = first[:, None] + np.arange(math.ceil(width) + 1)
    weights = shrink * cubic(shrink * (center[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    # Mirrored with the edge repeated, the samples have period 2 length: 0 .. n-1, n-1 .. 0.
    mirrored = np.mod(indices, 2 * length)
    return np.minimum(mirrored, 2 * length - 1 - mirrored), weights


def _weigh_rows(rows: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns weighted sums of rows, rounded to their dtype.

    Args:
        rows: (n, ...).
        indices, weights: rows of each result and their weights, (out_length, taps).
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    result = np.empty((len(indices), flat.shape[1]), rows.dtype)
    step = max(1, _VALUES // flat.shape[1])
    for row in range(0, len(result), step):
        part = slice(row, row + step)
        values: Any = 0.0
        for tap in range(indices.shape[1]):  # in this order: another one could round differently
            values = values + weights[part, tap, None] * flat[indices[part, tap]]
        result[part] = to_dtype(values, rows.dtype)
    return result.reshape(len(result), *rows.shape[1:])


def _weigh_columns(rows: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Does the same along the second axis."""
    return _weigh_rows(rows.swapaxes(0, 1), indices, weights).swapaxes(0, 1)


def imresize(
    image: np.ndarray, scale: float | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Resizes an image as MATLAB's imresize(image, scale, 'bicubic').

    Integer images are also rounded after the first axis, as in MATLAB; code that rounds only once
    differs in a tenth of all pixels.

    Args:
        image: (h, w) or (h, w, c), uint8, uint16 or float.
        scale: factor of both sides; the result has ceil(h * scale) x ceil(w * scale) pixels.
        size: (height, width) of the result, instead of a scale.

    Returns:
        Resized image of the same dtype.

    Raises:
        ValueError: unless exactly one of scale and size is given, and the result has pixels.
    """
    height, width = image.shape[:2]
    if scale is not None and size is None:
        scales = (scale, scale)
        size = (math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9))
    elif size is not None and scale is None:
        scales = (size[0] / height, size[1] / width)
    else:
        raise ValueError(f"expected either scale or size. Received: {scale=}, {size=}")
    if min(scales) <= 0 or min(size) < 1:
        raise ValueError(f"the result must have at least 1x1 pixels. Received: {scale=}, {size=}")
    rows = _used_taps(*resize_weights(height, size[0], scales[0]))
    columns = _used_taps(*resize_weights(width, size[1], scales[1]))
    result = np.empty((*size, *image.shape[2:]), image.dtype)
    for row in range(0, size[0], _ROWS):  # so that intermediate arrays stay small
        band = slice(row, row + _ROWS)
        indices, weights = rows[0][band], rows[1][band]
        first = indices.min()
        part = image[first : indices.max() + 1]
        # MATLAB starts with the axis that shrinks most; with the rows if both shrink equally.
        if scales[0] <= scales[1]:
            part = _weigh_rows(part, indices - first, weights)
            result[band] = _weigh_columns(part, *columns)
        else:
            part = _weigh_columns(part, *columns)
            result[band] = _weigh_rows(part, indices - first, weights)
    return result


def _used_taps(indices: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops the samples that weigh nothing in any output."""
    used = np.any(weights, axis=0)
    return indices[:, used], weights[:, used]


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crops an image at the right and bottom so that its sides are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def resize_image(
    image: np.ndarray, scale: float | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Resizes as `imresize`, and clips float images to 0..255, which the kernel overshoots."""
    resized = imresize(image, scale, size)
    return resized.clip(0, 255) if np.issubdtype(image.dtype, np.floating) else resized
