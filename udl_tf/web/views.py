"""Views of a result: before and after, the map of theta, pixels with wide intervals.

A view is a part of a result, at the size in which it is shown: the whole image, reduced if it is
large, or a detail at full size. What is drawn of a view is fast enough to follow a slider.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from udl_tf.imaging.color import rgb_to_y
from udl_tf.imaging.dtypes import gray_level, to_dtype
from udl_tf.imaging.resize import resize_image
from udl_tf.imaging.theta_map import channel_mean, colorize
from udl_tf.imaging.transparency import compose
from udl_tf.inference.result import Upscaled

MOST_SHOWN = 1_200_000
"""Pixels of the largest view; a larger image is reduced."""

LEVEL = 0.9
"""Share of the true values that the intervals of the page contain."""

_DETAIL = (480, 640)  # height and width
_ROWS = 256  # of a result whose intervals are computed or counted at a time
_GRAY, _FADING = 128.0, 0.8  # grey of greyed-out pixels, and its share


@dataclass(frozen=True)
class View:
    """A part of a result at the size in which it is shown.

    Attributes:
        before: uint8 (h, w, 3), bicubic interpolation.
        after: uint8 (h, w, 3), the result.
        theta: float32 (h, w), mean over channels, grey levels; None without uncertainty.
        width: float32 (h, w), width of the intervals, see interval_width; None without calibration.
        left, top: position in the result of the first pixel.
        step: pixels of the result per pixel that is shown, at least 1.
    """

    before: np.ndarray
    after: np.ndarray
    theta: np.ndarray | None
    width: np.ndarray | None
    left: int = 0
    top: int = 0
    step: float = 1.0

    def pixel_at(self, column: float, row: float) -> tuple[int, int]:
        """Returns the position (x, y) in the result of a pixel that is shown."""
        return int(self.left + (column + 0.5) * self.step), int(self.top + (row + 0.5) * self.step)


@dataclass(frozen=True)
class Comparison:
    """A result beside bicubic interpolation, in full; the arrays may be mapped from files.

    Attributes:
        before: uint8 (h, w, 3), bicubic interpolation.
        upscaled: image and theta.
        width: float32 (h, w), width of the intervals; None without calibration.
    """

    before: np.ndarray
    upscaled: Upscaled
    width: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        height, width = self.before.shape[:2]
        return width, height

    def whole(self) -> View:
        """Returns the view of the whole result, reduced by averaging if it is large."""
        width, height = self.size
        view = self._part(0, 0, width, height)
        before, after = reduced(view.before), reduced(view.after)
        theta, widths = (None if v is None else reduced(v) for v in (view.theta, view.width))
        return View(before, after, theta, widths, step=width / before.shape[1])

    def detail(self, x: int, y: int) -> View:
        """Returns the view of the pixels around (x, y) at full size."""
        height, width = self.before.shape[:2]
        rows, columns = min(height, _DETAIL[0]), min(width, _DETAIL[1])
        top = min(max(0, y - rows // 2), height - rows)
        left = min(max(0, x - columns // 2), width - columns)
        return self._part(left, top, columns, rows)

    def around(self, x: int, y: int, radius: int = 0) -> Upscaled:
        """Returns the result within `radius` pixels of (x, y), in memory."""
        rows, columns = (slice(max(0, i - radius), i + radius + 1) for i in (y, x))
        return _cropped(self.upscaled, rows, columns)

    def stored(self, folder: Path) -> "Comparison":
        """Writes the arrays into a folder, and returns the same comparison mapped from there."""
        image, theta = (
            _mapped(folder, name, getattr(self.upscaled, name)) for name in ("image", "theta")
        )
        before, width = (_mapped(folder, name, getattr(self, name)) for name in ("before", "width"))
        assert image is not None
        assert before is not None
        return Comparison(before, replace(self.upscaled, image=image, theta=theta), width)

    def _part(self, left: int, top: int, columns: int, rows: int) -> View:
        """Returns the view of a rectangle at full size."""
        part = slice(top, top + rows), slice(left, left + columns)
        result = _cropped(self.upscaled, *part)
        return View(
            np.asarray(self.before[part]),
            shown_rgb(result.image),
            None if result.theta is None else channel_mean(result.theta),
            None if self.width is None else np.asarray(self.width[part]),
            left,
            top,
        )


def compare(pixels: np.ndarray, upscaled: Upscaled) -> Comparison:
    """Returns a result beside the bicubic interpolation of `pixels`, the image as it was read."""
    before = resize_image(shown_rgb(pixels), size=upscaled.image.shape[:2])
    has_intervals = upscaled.theta is not None and upscaled.calibration is not None
    return Comparison(before, upscaled, interval_width(upscaled) if has_intervals else None)


def interval_width(upscaled: Upscaled) -> np.ndarray:
    """Returns the width of the LEVEL intervals, float32 (h, w) in grey levels: the widest channel.

    Raises:
        UserError: if the result has no calibrated theta.
    """
    height, width = upscaled.image.shape[:2]
    widths = np.empty((height, width), np.float32)
    for row in range(0, height, _ROWS):
        rows = slice(row, row + _ROWS)
        low, high = _cropped(upscaled, rows, slice(None)).interval(LEVEL)
        widest = (high - low).reshape(len(low), width, -1).max(axis=-1)
        widths[rows] = widest / gray_level(upscaled.image.dtype)
    return widths


def shares_wider(width: np.ndarray) -> np.ndarray:
    """Returns, for n = 0, 1, ..., 255, the share of the intervals that are wider than n."""
    counts = np.zeros(257, np.intp)
    for row in range(0, len(width), _ROWS):
        levels = np.minimum(np.ceil(width[row : row + _ROWS]), 256).astype(np.intp)
        counts += np.bincount(levels.ravel(), minlength=257)
    return 1.0 - counts.cumsum()[:256] / width.size


def blend(view: View, opacity: float) -> np.ndarray:
    """Returns uint8 (h, w, 3): the result with the map of theta laid over it.

    Args:
        view: with theta.
        opacity: of the map, 0..1.
    """
    assert view.theta is not None
    colors = colorize(view.theta)
    return to_dtype((1 - opacity) * view.after + opacity * colors, np.uint8)


def gray_out(view: View, limit: float) -> np.ndarray:
    """Returns uint8 (h, w, 3): the result, greyed out where intervals are wider than `limit`."""
    assert view.width is not None
    faded = (1 - _FADING) * rgb_to_y(view.after)[..., None] + _FADING * _GRAY
    return np.where((view.width > limit)[..., None], to_dtype(faded, np.uint8), view.after)


def shown_rgb(pixels: np.ndarray) -> np.ndarray:
    """Converts an image as read or upscaled to uint8 (h, w, 3) for display, on white."""
    if pixels.dtype != np.uint8:
        pixels = to_dtype(pixels / np.float32(gray_level(pixels.dtype)), np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = compose(pixels, (255, 255, 255))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def reduced(values: np.ndarray) -> np.ndarray:
    """Reduces uint8 (h, w, 3) or float32 (h, w) to at most MOST_SHOWN pixels by averaging."""
    height, width = values.shape[:2]
    factor = math.sqrt(MOST_SHOWN / (height * width))
    if factor >= 1:
        return values
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))


def _cropped(upscaled: Upscaled, rows: slice, columns: slice) -> Upscaled:
    """Returns a rectangle of a result."""
    theta = None if upscaled.theta is None else np.asarray(upscaled.theta[rows, columns])
    return replace(upscaled, image=np.asarray(upscaled.image[rows, columns]), theta=theta)


def _mapped(folder: Path, name: str, values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    file = folder / f"{name}.npy"
    np.save(file, values)
    return np.load(file, mmap_mode="r")
