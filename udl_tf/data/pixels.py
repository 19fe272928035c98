"""Pixels of training and test images: 8-bit RGB, or measurements of any range and channels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.config import Config
from udl_tf.data.measurements import Shape, measurement_shape, read_measurement
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.nodata import FILL_DISTANCE, fill_nodata
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import read_rgb
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange

QUANTILES = (0.001, 0.999)
"""Of the values in the training set: what a network sees as 0 and 255 with "percentile"."""

_FARTHEST = 1e18  # in the network's 0..255; squares of larger float32 values are infinite
_MOST_VALUES = 4_000_000  # per channel, from which quantiles are computed


@dataclass(frozen=True)
class Pixels:
    """How the images of a set are read.

    8-bit RGB files are uint8 as they are. Measurements are float32, mapped linearly so that the
    value range becomes the network's 0..255; values outside are kept, and nodata is NaN.

    Attributes:
        channels: of each image.
        value_range: of measurements; None: 8-bit files, with the values 0..255.
        by_dtype: whether integers use the whole range of their dtype instead, as in `upscale`.
    """

    channels: int = 3
    value_range: ValueRange | None = None
    by_dtype: bool = False

    @classmethod
    def of(cls, config: Config) -> "Pixels":
        """Returns the pixels of a config, with a value range of 0..255 in place of "percentile".

        Raises:
            UserError: if the value range is not one, or has not one pair per channel.
        """
        channels, wanted = config.model.channels, config.data.value_range
        if wanted is None:
            return cls(channels)
        value_range = GREY_LEVELS if wanted == "percentile" else ValueRange.of(wanted)
        if len(value_range.low) not in (1, channels):
            raise UserError(
                f"data.value_range has {len(value_range.low)} pairs, and model.channels is"
                f" {channels}: expected one pair, or one per channel"
            )
        return cls(channels, value_range)

    @classmethod
    def seen_by(cls, model: Any) -> "Pixels":
        """Returns the pixels of the images that an Upscaler was trained for."""
        images = model.value_range == GREY_LEVELS
        if images and model.channels == 3:
            return cls()
        return cls(model.channels, model.value_range, by_dtype=images)

    @property
    def measured(self) -> bool:
        """Whether the images are measurements; otherwise they are 8-bit RGB."""
        return self.channels != 3 or self.value_range is not None

    @property
    def dtype(self) -> np.dtype:
        """Of the arrays: float32 for measurements, else uint8."""
        return np.dtype(np.float32 if self.measured else np.uint8)

    @property
    def unit(self) -> ValueRange:
        """The value range; 0..255 for 8-bit files."""
        return self.value_range or GREY_LEVELS

    @property
    def unit_name(self) -> str:
        """What the unit of errors and theta is called in reports."""
        return "grey levels" if self.unit == GREY_LEVELS else "units of the files"

    @property
    def level(self) -> str:
        """What one step of the network's 0..255 is called in figures and reports."""
        return "1/255 of the value range" if self.measured else "grey levels"

    @property
    def facts(self) -> dict[str, Any]:
        """What packs of measurements state; nothing for 8-bit RGB."""
        if not self.measured:
            return {}
        return {
            "dtype": self.dtype.name,
            "channels": self.channels,
            "value_range": None if self.value_range is None else self.value_range.ranges,
        }

    @property
    def text(self) -> str:
        """Description for logs, such as "4 channels, values 0..1"."""
        return f"{self.channels} channel{'s' * (self.channels > 1)}, values {self.unit.text}"

    def read(self, path: Path, plane: int = 0, planes: int = 1) -> np.ndarray:
        """Reads a plane of a file, (h, w, channels), as described above.

        Args:
            path: of the file.
            plane, planes: index of the plane, and expected number of planes, of measurements.

        Raises:
            UserError: if it cannot be read, has another number of planes or channels or too many
                bits, or holds values that cannot be measurements.
        """
        if not self.measured:
            return read_rgb(path)
        values, valid = self._read_measurement(path, plane, planes)
        value_range = self._range_of(values.dtype, path)
        if not valid.all():  # before the conversion, for which marks of nodata may be too large
            values = np.where(valid, values, np.nan)
        with np.errstate(over="ignore"):
            pixels = value_range.to_network(values)
        if (far := np.abs(pixels) > _FARTHEST).any():  # False for NaN
            raise UserError(
                f"{path}: holds {values[far][0]:g}; expected values near the value range: state it"
                " in the file as nodata, or replace it by NaN"
            )
        return pixels

    def shape(self, path: Path) -> Shape:
        """Reads number of planes, height and width from the header of a file."""
        return measurement_shape(path) if self.measured else Shape(1, *image_size(path))

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Returns the output of a network as it is evaluated: rounded to 8 bits for RGB."""
        return values if self.measured else to_dtype(values, np.uint8)

    def as_rgb(self, image: np.ndarray, bands: Sequence[int] = (1, 2, 3)) -> np.ndarray:
        """Returns an image to look at, uint8 (h, w, 3), with 0..255 of the network as they are.

        Args:
            image: (h, w, channels), as `read` returns it; nodata becomes black.
            bands: channels, from 1, of red, green and blue if there are more than three. One
                channel is shown in grey, and of two the first.
        """
        if not self.measured:
            return image
        shown = [band - 1 for band in bands] if self.channels > 3 else [0, 1, 2]
        shown = shown if self.channels >= 3 else [0, 0, 0]
        return to_dtype(np.nan_to_num(image[..., shown]), np.uint8)

    def quantiles(self, paths: Sequence[Path]) -> ValueRange:
        """Returns the QUANTILES of the values in files, per channel, as a value range.

        All planes of the files count. Of sets with more than four million pixels, every n-th value
        is used.

        Raises:
            UserError: as `read`, or if a channel has no data, or one value only.
        """
        shapes = [self.shape(path) for path in paths]
        every = math.ceil(sum(map(math.prod, shapes)) / _MOST_VALUES)
        all_planes = (
            self._read_measurement(path, plane, shape.planes)
            for path, shape in zip(paths, shapes, strict=True)
            for plane in range(shape.planes)
        )
        drawn: list[list[np.ndarray]] = [[] for _ in range(self.channels)]
        for values, valid in all_planes:
            for c, parts in enumerate(drawn):
                parts.append(values[..., c][valid[..., c]][::every].astype(np.float64))
        pairs = []
        for c, parts in enumerate(drawn):
            pooled = np.concatenate(parts)
            if not len(pooled):
                raise UserError(f"channel {c + 1} of the training images has no data: add some")
            low, high = np.quantile(pooled, QUANTILES).tolist()
            if not low < high:
                raise UserError(
                    f"channel {c + 1} of the training images has no range of values (percentiles"
                    f" {low:g} and {high:g}): set data.value_range to numbers"
                )
            pairs.append([low, high])
        return ValueRange.of(pairs)

    def _read_measurement(
        self, path: Path, plane: int, planes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (values in the file's dtype, valid), both (h, w, channels)."""
        values, valid = read_measurement(path, plane, planes)
        if values.shape[2] != self.channels:
            raise UserError(
                f"{path}: has {values.shape[2]} channels; expected {self.channels}, those of the"
                " network: convert the file, or train a network with its number of channels"
                " (model.channels)"
            )
        return values, valid

    def _range_of(self, dtype: np.dtype, path: Path) -> ValueRange:
        """Returns the values of a file that become 0 and 255.

        Raises:
            UserError: for other dtypes than that of 8-bit images if the range is theirs.
        """
        if self.by_dtype:
            return ValueRange.of_dtype(dtype)
        floats = self.value_range is not None and dtype.kind == "f"
        if self.unit == GREY_LEVELS and not (floats or dtype == np.uint8):
            raise UserError(
                f"{path}: {dtype} values; expected 8-bit images, because data.value_range is not"
                " set or [0, 255]: set it to the range of these values, such as [0, 4095]"
            )
        return self.unit


RGB = Pixels()
"""8-bit RGB."""


def without_holes(image: np.ndarray) -> np.ndarray:
    """Returns a float image (h, w, c) with nodata (NaN) filled from its surroundings."""
    return fill_nodata(image, np.isfinite(image), FILL_DISTANCE)


def lr_of(hr: np.ndarray, scale: int) -> np.ndarray:
    """Computes the LR image of an HR image, by imresize, with NaN for nodata; see with_holes."""
    holes = np.isnan(hr)
    if not holes.any():
        return imresize(hr, 1 / scale)
    # Kernels of pixels with data reach beyond their own part.
    return with_holes(imresize(fill_nodata(hr, ~holes, scale * FILL_DISTANCE), 1 / scale), hr)


def with_holes(lr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Returns an LR image of floats with NaN where a pixel's part of the HR image has nodata."""
    height, width, channels = lr.shape
    parts = np.isnan(hr).reshape(height, len(hr) // height, width, -1, channels)
    return np.where(parts.any(axis=(1, 3)), np.float32(np.nan), lr)
