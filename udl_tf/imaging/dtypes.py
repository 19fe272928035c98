"""The border between float computation and images of integers."""

import numpy as np
import numpy.typing as npt

_ROWS = 256  # converted at a time, so that intermediate arrays stay small


def gray_level(dtype: np.dtype | type) -> float:
    """Returns one grey level of 0..255 in the unit of an image's dtype: 257 for uint16, else 1."""
    return 257.0 if dtype == np.uint16 else 1.0


def to_dtype(values: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """Clips, rounds and casts values that are already in the unit of `dtype`.

    Integers are rounded half up and saturate, as MATLAB's casts of non-negative numbers do; floats
    are only cast.
    """
    dtype = np.dtype(dtype)
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    out = np.empty(values.shape, dtype)
    for row in range(0, len(values), _ROWS):
        part = np.clip(values[row : row + _ROWS], 0, np.iinfo(dtype).max)
        out[row : row + _ROWS] = np.floor(part + 0.5)
    return out
