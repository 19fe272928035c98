"""Arrays as images: validation, alpha channel, conversion of results, areas of one colour."""

import warnings
from dataclasses import replace

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import (
    FULL_RANGE,
    from_gray_levels,
    gray_level,
    is_nearly_black,
    to_dtype,
    to_gray_levels,
)
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.result import Upscaled

_EXPECTED = "expected uint8, uint16 or float of shape (h, w), (h, w, 1 to 4) or (n, h, w, 1 to 4)"

_ROWS = 64  # compared at a time


def in_gray_levels(image: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """Converts an image of floats to grey levels of 0..255; integers stay as they are.

    Warns of floats that are nearly black if no range is given.

    Args:
        image: array of any shape.
        value_range: black and white of the floats; None: 0 and 255.

    Raises:
        UserError: if a range is given for integers or is invalid, or floats are outside it.
    """
    if value_range is not None:
        check_takes_range(image.dtype)
        ValueRange.of(value_range)  # raises if it is not one
    if not np.issubdtype(image.dtype, np.floating):
        return image
    if value_range is None and is_nearly_black(image):
        warnings.warn(
            "floats of at most 1, taken as 0..255, are nearly black: pass value_range=(0, 1) if 1"
            " is white, or value_range=(0, 255) if the image is dark",
            stacklevel=4,  # the caller of Upscaler.upscale
        )
    low, high = value_range or FULL_RANGE
    return to_gray_levels(image, (float(low), float(high)))


def check_takes_range(dtype: np.dtype) -> None:
    """Raises UserError unless a value range can be stated for arrays of this dtype."""
    if dtype.kind != "f":
        raise UserError(
            f"a value range for {dtype}: expected floats, because integers use the range of their"
            " dtype: omit it, or convert the array to float32",
            argument="value_range",
        )


def in_value_range(result: Upscaled, value_range: tuple[float, float], dtype: np.dtype) -> Upscaled:
    """Converts a float result, and its maps, from grey levels to the unit of the input.

    Args:
        result: in grey levels.
        value_range: black and white in that unit.
        dtype: of the input.
    """
    low, high = value_range
    if (low, high) == FULL_RANGE:
        return result
    image = from_gray_levels(result.image, value_range).astype(dtype, copy=False)
    unit = np.float32((high - low) / 255.0)
    theta, spread = (None if m is None else m * unit for m in (result.theta, result.spread))
    return replace(result, image=image, theta=theta, spread=spread, value_range=value_range)


def split_channels(image: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the channels that a model computes, and alpha if it computes RGB.

    Args:
        image: uint8, uint16 or float; for a model of three channels as for split_alpha, else (h, w,
            channels), or (h, w) for one channel.
        channels: of the model.

    Returns:
        (those of the image (h, w, c), alpha (h, w) or None).

    Raises:
        UserError: if the array is not an image, or has other channels than the model.
    """
    if channels == 3:
        return split_alpha(image)
    shapes = f"(h, w, {channels}) or (n, h, w, {channels})"
    shapes = f"(h, w), {shapes}" if channels == 1 else shapes
    values = image[..., None] if image.ndim == 2 else image
    if values.ndim != 3 or values.shape[2] != channels or values.size == 0:
        raise UserError(
            f"an image of shape {image.shape}: expected {shapes}, the channels of the model"
        )
    _check_dtype(values, f"expected uint8, uint16 or float of shape {shapes}")
    return values, None


def split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Separates the alpha channel of an image.

    Args:
        image: uint8, uint16 or float; (h, w) or (h, w, 1 to 4).

    Returns:
        (colours (h, w, 1) or (h, w, 3), alpha (h, w) or None).

    Raises:
        UserError: if the array is not an image.
    """
    channels = image.shape[-1] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or image.size == 0:
        raise UserError(f"an image of shape {image.shape}: {_EXPECTED}")
    _check_dtype(image, _EXPECTED)
    image = image.reshape(*image.shape[:2], channels)
    if channels in (1, 3):
        return image, None
    return image[..., :-1], image[..., -1]


def _check_dtype(image: np.ndarray, expected: str) -> None:
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"an image of dtype {image.dtype}: {expected}")


def without_color(colors: np.ndarray) -> np.ndarray:
    """Returns an image of three equal channels as grey, (h, w, 1), and any other unchanged."""
    for row in range(0, len(colors), _ROWS):  # most images differ in the first rows
        part = colors[row : row + _ROWS]
        if (part != part[..., :1]).any():
            return colors
    return colors[..., :1]


def to_image(sr: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Clips float32 grey levels to 0..255 and converts them to the unit of `dtype`.

    Works in place, because a large image leaves no room for a float copy: `sr` is overwritten.
    """
    if not np.issubdtype(dtype, np.integer):  # to_dtype clips these
        np.clip(sr, 0.0, 255.0, out=sr)
    if gray_level(dtype) != 1:
        sr *= np.float32(gray_level(dtype))
    return to_dtype(sr, dtype)


def fill_plain_areas(image: np.ndarray, lr: np.ndarray, distance: int) -> None:
    """Sets the result, in place, to the input's colour where the input has one colour all around.

    A trained network deviates from it by up to three levels, in a pattern.

    Args:
        image: the result, (scale h, scale w, c).
        lr: the input, (h, w, c), in the same dtype.
        distance: LR pixels all around that must have one colour. Pixels further away must not
            change the result there, so that there is no seam.
    """
    if not _has_plain_cell(lr, distance // 2 + 1):
        return
    size = (2 * distance + 1, 2 * distance + 1, 1)
    values = lr.astype(np.float32) if lr.dtype == np.float16 else lr  # SciPy lacks float16
    plain = (maximum_filter(values, size) == minimum_filter(values, size)).all(axis=-1)
    height, width, channels = lr.shape
    scale = image.shape[0] // height
    blocks = image.reshape(height, scale, width, scale, channels).transpose(0, 2, 1, 3, 4)
    blocks[plain] = lr[plain][:, None, None]


def _has_plain_cell(lr: np.ndarray, side: int) -> bool:
    """Returns whether some cell of a grid over the image (h, w, c) has one colour.

    It has if there is a plain area: of the `distance` + 1 pixels or more that a window of
    fill_plain_areas sees along an axis, `distance` // 2 + 1 are those of a whole cell.
    """
    height, width, channels = lr.shape
    side = min(side, height, width)
    rows, columns = height // side, width // side
    cells = lr[: rows * side, : columns * side].reshape(rows, side, columns, side, channels)
    return bool((cells == cells[:, :1, :, :1]).all(axis=(1, 3, 4)).any())
