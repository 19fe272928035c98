"""Conversion between float values and integer images: the one place that rounds and casts.

Float images of other ranges than 0..255 are converted to grey levels and back here too.
"""

import numpy as np
import numpy.typing as npt

from udl_tf.errors import UserError

FULL_RANGE = (0.0, 255.0)
"""Black and white in grey levels."""

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


def is_nearly_black(values: np.ndarray) -> bool:
    """Returns whether floats, taken as 0..255, are probably meant as 0..1: at most 1, not all 0."""
    return bool(0 < values.max(initial=0) <= 1)


def to_gray_levels(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Converts floats to grey levels of 0..255, in their dtype or in float32 if that is wider.

    Args:
        values: floats between black and white.
        value_range: black and white; for FULL_RANGE, the values are returned as they are.

    Raises:
        UserError: if a value is NaN, infinite or outside the range.
    """
    low, high = value_range
    if not values.size:
        return values
    lowest, highest = values.min(), values.max()
    if not np.isfinite(lowest + highest):  # NaN propagates
        raise UserError("a float image with NaN or infinity: expected finite values, replace them")
    if lowest < low or highest > high:
        raise UserError(
            f"a float image with values {lowest:.6g}..{highest:.6g}: expected {low:g}..{high:g};"
            " clip it, or give the values of black and white",
            argument="value_range",
        )
    if value_range == FULL_RANGE:
        return values
    wide = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    return (wide - low) * (255.0 / (high - low))


def from_gray_levels(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Converts grey levels of 0..255 to values between black and white, in the same dtype."""
    low, high = value_range
    if value_range == FULL_RANGE:
        return values
    return low + values * ((high - low) / 255.0)
