"""Backend-independent super-resolution with uncertainty."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.progress import Counter, Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange
from udl_tf.inference.consistency import back_project
from udl_tf.inference.images import upscale_images
from udl_tf.inference.measurements import NODATA_REACH, upscale_measurements
from udl_tf.inference.passes import BORDER, Effort, Maps, Pass, Wanted, compute_maps
from udl_tf.inference.result import Upscaled
from udl_tf.inference.self_ensemble import MEMBERS, mean_and_spread
from udl_tf.uncertainty.record import Calibration

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
    def measures(self) -> bool:
        """Whether arrays are measurements in the unit of `value_range`, not images."""
        return self.value_range != GREY_LEVELS

    @property
    def radius(self) -> int:
        """LR pixels on each side on which an output pixel may depend."""
        return max(pass_.runner.radius for pass_ in self._passes(self.has_uncertainty))

    @property
    def align(self) -> int:
        """Multiple of LR pixels at which a part of an image must start to equal the whole."""
        return max(pass_.runner.align for pass_ in self._passes(self.has_uncertainty))

    @property
    def nodata_reach(self) -> int:
        """LR pixels from nodata at which filling it still changes the result noticeably."""
        measured = None if self.calibration is None else self.calibration.nodata_reach
        return min(NODATA_REACH, self.radius) if measured is None else measured

    @property
    def receptive_field(self) -> int:
        """Side of the square of LR pixels on which an output pixel may depend."""
        return 2 * self.radius + 1

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
        nodata: float | None = None,
        valid: np.ndarray | None = None,
        consistent: bool = False,
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
                image and the maps of the result have its unit. A model that was trained with a
                value range of its own takes arrays of its unit instead: floats, or integers of at
                most 32 bits, also outside the range, which are not clipped; and files of any number
                of channels if it has one itself.
            nodata: value that marks pixels without data. These are filled before the networks see
                them, and stay without data in the result: NaN in floats and maps, the input's value
                in integers; `flags` of the result mark them and the pixels close to them. NaN marks
                them too, if `nodata` or `valid` is given or the model has a value range.
            valid: bool mask, False for pixels without data; of the shape of the image, with or
                without its channels.
            consistent: whether to change the result so that it equals the image when it is
                degraded (bicubic), by back projection. Calibrate theta for these results.

        Raises:
            UserError: for a file that cannot be read, an array that is not an image, or floats
                outside `value_range`.

        Warns:
            UserWarning: for floats of at most 1 without `value_range`: taken as 0..255, they are
                nearly black.
        """
        _check_effort(tile, memory_gb)
        effort = Effort(tile, None if memory_gb is None else 1e9 * memory_gb)
        wanted = Wanted(uncertainty, self_ensemble, consistent)
        if self.measures or nodata is not None or valid is not None:
            return upscale_measurements(
                self, image, nodata, valid, value_range, wanted, effort, progress
            )
        return upscale_images(self, image, value_range, wanted, effort, progress)

    def predict(
        self,
        lr: np.ndarray,
        border: int = 0,
        consistent: bool = False,
        self_ensemble: bool = False,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the output of the networks for an image, neither clipped nor rounded.

        Args:
            lr: (h, w, channels), values 0..255, any dtype.
            border: LR pixels by which the image is mirrored outwards first. The field's protocol
                evaluates networks without a border; `upscale` uses BORDER.
            consistent: as for `upscale`.
            self_ensemble: as for `upscale`.

        Returns:
            (sr, theta): float32 (scale h, scale w, channels) in grey levels; theta is None without
            uncertainty.
        """
        passes = self._passes(self.has_uncertainty, bordered=border >= BORDER)
        lr = lr.astype(np.float32)

        def run(x: np.ndarray) -> Maps:
            return self._run_passes(passes, x, border, Effort())

        maps = mean_and_spread(lr, run)[0] if self_ensemble else run(lr)
        sr = back_project(maps["sr"], lr, self.scale) if consistent else maps["sr"]
        return sr, maps.get("theta")

    def compute(
        self, lr: np.ndarray, wanted: Wanted, effort: Effort, progress: Progress = no_progress
    ) -> tuple[Maps, np.ndarray | None]:
        """Computes the maps of an image without alpha and without nodata.

        Args:
            lr: float32 (h, w, channels) in 0..255, or (h, w, 1) for grey images.
            wanted: what to compute.
            effort: tiles and memory.
            progress: receives the LR pixels that are done, over all passes.

        Returns:
            ("sr" and "theta" in grey levels, with one channel for grey images; the spread of the
            self-ensemble).
        """
        image = np.broadcast_to(lr, (*lr.shape[:2], self.channels))
        border, gray = self._border, lr.shape[2] < self.channels
        passes = self._passes(wanted.uncertainty, bordered=border >= BORDER)
        runs = len(passes) * (MEMBERS if wanted.self_ensemble else 1)
        height, width = (side + 2 * border for side in lr.shape[:2])
        effort = replace(effort, counter=Counter(progress, runs * height * width))

        def run(x: np.ndarray) -> Maps:
            maps = self._run_passes(passes, x, border, effort)
            if not gray:
                return maps
            if not wanted.self_ensemble:  # before the mean, as the outputs of exported models are
                np.clip(maps["sr"], 0.0, 255.0, out=maps["sr"])
            return {name: values.mean(axis=-1, keepdims=True) for name, values in maps.items()}

        if not wanted.self_ensemble:
            return run(image), None
        means, spreads = mean_and_spread(image, run, spread_of=("sr",))
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


def check_takes_images(model: Any, name: str) -> None:
    """Requires a model of images: theta of measurements is not in grey levels.

    Raises:
        UserError: if the model has a value range of its own.
    """
    if model.measures:
        raise UserError(
            f"{name}: is a model of measurements with the value range {model.value_range.ranges};"
            " expected one of 8-bit images: choose another one, or use udl-tf upscale",
            argument="model",
        )


def description(model: Any) -> str:
    """Returns class, scale and uncertainty of a trained model, for its `repr`."""
    theta = "no theta"
    if model.has_uncertainty:
        theta = "theta not calibrated" if model.calibration is None else "calibrated theta"
    return f"{type(model).__name__}(x{model.scale}, {theta})"


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
