"""Conversion between float values and integer images: the one place that rounds and casts."""

import numpy as np
import numpy.typing as npt

_ROWS = 256  # converted at a time, so that intermediate arrays stay small


def gray_level(dtype: npt.DTypeLike) -> float:
    """Returns one grey level of 0..255 in the unit of an image's dtype: 257 for uint16, else 1."""
    return 257.0 if np.dtype(dtype) == np.uint16 else 1.0


def to_dtype(values: npt.ArrayLike, dtype: npt.DTypeLike) -> np.ndarray:
    """Rounds, clips and casts values that are already in the unit of `dtype`.

    Integers are rounded half up and saturate, as in MATLAB's casts of non-negative numbers; floats
    are only cast.

    Args:
        values: numbers of any shape with at least one axis.
        dtype: integer or float dtype of the result.
    """
    values, dtype = np.asarray(values), np.dtype(dtype)
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    result = np.empty(values.shape, dtype)
    for row in range(0, len(values), _ROWS):
        part = values[row : row + _ROWS] + 0.5
        result[row : row + _ROWS] = np.clip(np.floor(part, out=part), limits.min, limits.max)
    return result
