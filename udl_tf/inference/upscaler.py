"""Backend-independent super-resolution with uncertainty."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.progress import Counter, Progress, no_progress, part_of
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import FULL_RANGE, gray_level
from udl_tf.imaging.image_files import read_image
from udl_tf.imaging.resize import resize_image
from udl_tf.imaging.transparency import fill_hidden
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.inference.image_arrays import (
    fill_plain_areas,
    in_gray_levels,
    in_value_range,
    split_channels,
    to_image,
    without_color,
)
from udl_tf.inference.passes import Effort, Maps, Pass, compute_maps
from udl_tf.inference.result import Upscaled, stacked
from udl_tf.inference.self_ensemble import MEMBERS, mean_and_spread
from udl_tf.uncertainty.record import Calibration

# LR pixels by which an image is mirrored outwards before the networks see it. Their zero padding
# does not continue the image: plain red was wrong by 71 levels at the border. Behind 8 mirrored
# pixels, results are as accurate at the border as in the middle.
BORDER = 8

_ROWS = 64  # of a map that are converted at a time, so that intermediate arrays stay small


class Upscaler(ABC):
    """A trained model, independent of what runs it.

    Attributes:
        scale: HR size divided by LR size.
        channels: of the images.
        value_range: values that the networks see as 0 and 255, in the unit of the training data;
            (0, 255) also stands for black and white of images.
        calibration: of theta; None: theta is as trained.
        thread_safe: whether several threads may call `upscale` at once.
    """

    scale: int
    channels: int = 3
    value_range: ValueRange = GREY_LEVELS
    calibration: Calibration | None
    thread_safe: bool = False
    _border: int = BORDER  # LR pixels by which `upscale` mirrors an image before the passes

    @property
    def eight_bit(self) -> bool:
        """Whether 16-bit images are computed in 8 bits; results are then multiples of 257."""
        return False

    @property
    @abstractmethod
    def has_uncertainty(self) -> bool:
        """Whether the model predicts theta."""

    @abstractmethod
    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        """Returns the passes that compute sr and, if asked for, theta.

        Args:
            uncertainty: whether to compute theta too.
            bordered: whether the outermost BORDER pixels will be cut off.
        """

    def _theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        """Returns theta, in grey levels, for a network's log scale s."""
        raise NotImplementedError

    @property
    def receptive_field(self) -> int:
        """Side of the square of LR pixels on which an output pixel may depend."""
        passes = self._passes(self.has_uncertainty)
        return 2 * max(pass_.runner.radius for pass_ in passes) + 1

    def __repr__(self) -> str:
        return description(self)

    def upscale(
        self,
        image: np.ndarray | Path | str,
        uncertainty: bool = True,
        self_ensemble: bool = False,
        tile: int | None = None,
        memory_gb: float | None = None,
        progress: Progress = no_progress,
        value_range: tuple[float, float] | None = None,
    ) -> Upscaled:
        """Upscales an image to `scale` times its height and width.

        Args:
            image: a file; or an array of uint8, uint16 or float. (h, w) and
                (h, w, 1) are grey: they are computed as RGB, and the channels of the result are
                averaged. (h, w, 3) is RGB; if its three channels are equal, it is computed as grey
                and stays grey. (h, w, 2) and (h, w, 4) have alpha last, which is upscaled by
                bicubic interpolation; colours where alpha is 0 are replaced by those of the nearest
                pixel that is not hidden. A model of other than three channels takes (h, w,
                channels), and (h, w) if it has one. (n, h, w, c) is a stack of n images.
            uncertainty: whether to compute theta too, if the model has it.
            self_ensemble: whether to average the eight flips and rotations, and to return their
                spread.
            tile: side of the tiles, LR pixels; None: the side that computes fewest pixels twice.
            memory_gb: working memory, in addition to the result; None: 1 GB, or more where tiles
                would overlap too much, but at most a quarter of the free memory.
            progress: receives what is done: LR pixels over all passes, or images of a stack.
            value_range: black and white of an image of floats, such as (0, 1); None: (0, 255). The
                image and the maps of the result have its unit.

        Raises:
            UserError: for a file that cannot be read, an array that is not an image, or floats
                outside `value_range`.

        Warns:
            UserWarning: for floats of at most 1 without `value_range`: taken as 0..255, they are
                nearly black.
        """
        _check_effort(tile, memory_gb)
        effort = Effort(tile, None if memory_gb is None else 1e9 * memory_gb)
        given, given_range = _load(image, value_range)
        pixels = in_gray_levels(given, given_range)
        if pixels.ndim == 4 and len(pixels):
            parts = [part_of(progress, index, 1, len(pixels)) for index in range(len(pixels))]
            result = stacked(
                [
                    self._upscale(one, uncertainty, self_ensemble, effort, part)
                    for one, part in zip(pixels, parts, strict=True)
                ]
            )
        else:
            result = self._upscale(pixels, uncertainty, self_ensemble, effort, progress)
        return in_value_range(result, value_range or FULL_RANGE, given.dtype)

    def _upscale(
        self,
        pixels: np.ndarray,
        uncertainty: bool,
        self_ensemble: bool,
        effort: Effort,
        progress: Progress,
    ) -> Upscaled:
        """Upscales an image; floats are grey levels."""
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        colors, alpha = split_channels(native, self.channels)
        channels = colors.shape[2]
        colors = colors if alpha is None else fill_hidden(colors, alpha)
        if self.channels == 3:
            colors = without_color(colors)
        maps, spread = self._compute(colors, uncertainty, self_ensemble, effort, progress)
        theta = maps.get("theta")
        sr = to_image(maps.pop("sr"), colors.dtype)
        fill_plain_areas(sr, colors, BORDER)
        if colors.shape[2] < channels:  # a grey image stored as RGB
            sr, theta, spread = (
                None if m is None else np.repeat(m, channels, -1) for m in (sr, theta, spread)
            )
        if alpha is not None:
            sr = np.concatenate([sr, resize_image(alpha[..., None], self.scale)], axis=-1)
        if pixels.ndim == 2:
            sr, theta, spread = (None if m is None else m[..., 0] for m in (sr, theta, spread))
        return Upscaled(sr, theta, spread, self.calibration, tuple(effort.notes))

    def predict(self, lr: np.ndarray, border: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the output of the networks for an image, neither clipped nor rounded.

        Args:
            lr: (h, w, channels), values 0..255, any dtype.
            border: LR pixels by which the image is mirrored outwards first. The field's protocol
                evaluates networks without a border; `upscale` uses BORDER.

        Returns:
            (sr, theta): float32 (scale h, scale w, channels) in grey levels; theta is None without
            uncertainty.
        """
        passes = self._passes(self.has_uncertainty, bordered=border >= BORDER)
        maps = self._run_passes(passes, lr.astype(np.float32), border, Effort())
        return maps["sr"], maps.get("theta")

    def _compute(
        self,
        colors: np.ndarray,
        uncertainty: bool,
        self_ensemble: bool,
        effort: Effort,
        progress: Progress,
    ) -> tuple[Maps, np.ndarray | None]:
        """Computes the maps of an image without alpha.

        Args:
            colors: (h, w, channels), or (h, w, 1) for grey images; the dtype of the image.
            uncertainty, self_ensemble, progress: as for `upscale`.
            effort: tiles and memory.

        Returns:
            ("sr" and "theta" in grey levels, with one channel for grey images; the spread of the
            self-ensemble).
        """
        lr = (colors / np.float32(gray_level(colors.dtype))).astype(np.float32, copy=False)
        lr = np.broadcast_to(lr, (*colors.shape[:2], self.channels))
        border, gray = self._border, colors.shape[2] < self.channels
        passes = self._passes(uncertainty, bordered=border >= BORDER)
        runs = len(passes) * (MEMBERS if self_ensemble else 1)
        height, width = (side + 2 * border for side in lr.shape[:2])
        effort = replace(effort, counter=Counter(progress, runs * height * width))

        def run(x: np.ndarray) -> Maps:
            maps = self._run_passes(passes, x, border, effort)
            if not gray:
                return maps
            if not self_ensemble:  # clipped before the mean, as the outputs of exported models are
                np.clip(maps["sr"], 0.0, 255.0, out=maps["sr"])
            return {name: values.mean(axis=-1, keepdims=True) for name, values in maps.items()}

        if not self_ensemble:
            return run(lr), None
        means, spreads = mean_and_spread(lr, run, spread_of=("sr",))
        return means, spreads["sr"]

    def _run_passes(
        self, passes: Sequence[Pass], lr: np.ndarray, border: int, effort: Effort
    ) -> Maps:
        """Runs passes over an image and returns their maps, with theta in place of the log scale.

        Args:
            passes: what to run.
            lr: float32 (h, w, channels).
            border: LR pixels by which the image is mirrored outwards first.
            effort: tiles, memory and progress.

        Raises:
            UserError: if a map contains NaN or infinite values.
        """
        maps: Maps = {}
        for pass_ in passes:
            maps |= compute_maps(pass_, lr, self.scale, border, effort)
        _check_finite(maps)
        if "log_scale" in maps:
            theta = maps["theta"] = maps.pop("log_scale")
            for row in range(0, len(theta), _ROWS):
                theta[row : row + _ROWS] = self._theta_of(theta[row : row + _ROWS])
        return maps


def upscaler_of(model: Any) -> Any:
    """Returns the Upscaler of a model: itself, or that of an SRModel."""
    return getattr(model, "upscaler", model)


def description(model: Any) -> str:
    """Returns class, scale and uncertainty of a trained model, for its `repr`."""
    theta = "no theta"
    if model.has_uncertainty:
        theta = "theta not calibrated" if model.calibration is None else "calibrated theta"
    return f"{type(model).__name__}(x{model.scale}, {theta})"


def _load(
    image: np.ndarray | Path | str, value_range: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Returns the pixels of a file or an array, and their black and white."""
    if not isinstance(image, Path | str):
        return np.asarray(image), value_range
    pixels = read_image(image, value_range=value_range).pixels
    is_known = value_range is not None and pixels.dtype == np.float32
    return pixels, FULL_RANGE if is_known else value_range


def _check_effort(tile: int | None, memory_gb: float | None) -> None:
    if tile is not None and not (isinstance(tile, int) and tile >= 1):
        raise UserError(f"tile {tile}: expected a whole number of LR pixels, at least 1")
    if memory_gb is not None and not 0 < memory_gb < math.inf:
        raise UserError(f"memory_gb {memory_gb}: expected a positive number")


def _check_finite(maps: Maps) -> None:
    """Requires finite values, without a copy: the extrema of a map are NaN if any value is."""
    for name, values in maps.items():
        if not np.isfinite([values.min(), values.max()]).all():
            raise UserError(
                f"the model computed NaN or infinite values ({name}): expected finite ones; its"
                " weights are damaged, or too large for its precision: use another model"
            )
