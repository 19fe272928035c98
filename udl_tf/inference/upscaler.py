"""Backend-independent super-resolution with uncertainty."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from udl_tf._support.progress import Counter, Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import gray_level, to_dtype
from udl_tf.imaging.image_files import read_image
from udl_tf.imaging.resize import imresize
from udl_tf.inference.result import Upscaled, stacked
from udl_tf.inference.self_ensemble import MEMBERS, mean_and_spread
from udl_tf.uncertainty.record import Calibration

# LR pixels by which an image is mirrored outwards before the networks see it. They pad with zeros,
# which continue no image: plain red was 71 levels wrong at the border. Behind 8 mirrored pixels the
# border is as good as the middle.
BORDER = 8

Maps = dict[str, np.ndarray]


class Runner(Protocol):
    """Computes maps of an image of any size, part by part.

    Attributes:
        radius: LR pixels on each side that a pixel of the maps may depend on.
    """

    @property
    def radius(self) -> int: ...

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Yields parts that cover the image, and may exceed it at the bottom and right.

        Args:
            lr: float32 (h, w, 3), values 0..255.
            tile: side of a part, LR pixels; None: the side that computes fewest pixels twice.
            budget: bytes of working memory; None: a sensible amount.

        Yields:
            (rows and columns in the maps, float32 values there).
        """
        ...


@dataclass(frozen=True)
class Pass:
    """One run over an image.

    Attributes:
        runner: computes the maps.
        maps: their names, in the order of the runner's channels, three channels each: "sr",
            "theta" (grey levels) or "log_scale" (of a Keras network).
    """

    runner: Runner
    maps: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """How a pass computes: tile side and working memory, as for `Upscaler.upscale`, and progress.

    Attributes:
        tile: LR pixels; None: chosen by the runner.
        budget: bytes; None: chosen by the runner.
        counter: gets the LR pixels that are done.
    """

    tile: int | None = None
    budget: float | None = None
    counter: Counter | None = None


class Upscaler(ABC):
    """A trained model, whatever runs it.

    Attributes:
        scale: HR size divided by LR size.
        calibration: of theta; None: theta is as trained.
    """

    scale: int
    calibration: Calibration | None
    _border: int = BORDER  # LR pixels by which `upscale` mirrors an image before the passes

    @property
    def eight_bit(self) -> bool:
        """Whether it computes 16-bit images in 8 bits, so that results come in steps of 257."""
        return False

    @property
    @abstractmethod
    def has_uncertainty(self) -> bool:
        """Whether it predicts theta."""

    @abstractmethod
    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        """Returns the passes that compute sr and, if asked, theta.

        Args:
            uncertainty: whether to compute theta too.
            bordered: whether the outermost BORDER pixels will be cut off.
        """

    def _theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        """Returns theta, in grey levels, for a network's log-scale s."""
        raise NotImplementedError

    @property
    def receptive_field(self) -> int:
        """Side of the square of LR pixels on which an output pixel may depend."""
        passes = self._passes(self.has_uncertainty)
        return 2 * max(one.runner.radius for one in passes) + 1

    def __repr__(self) -> str:
        theta = "no theta"
        if self.has_uncertainty:
            theta = "theta not calibrated" if self.calibration is None else "calibrated theta"
        return f"{type(self).__name__}(x{self.scale}, {theta})"

    def upscale(
        self,
        image: np.ndarray | Path | str,
        uncertainty: bool = True,
        self_ensemble: bool = False,
        tile: int | None = None,
        memory_gb: float | None = None,
        progress: Progress = no_progress,
    ) -> Upscaled:
        """Upscales an image to `scale` times its height and width.

        Args:
            image: a file; or an array of uint8, uint16, or float with values 0..255. (h, w) and
                (h, w, 1) are grey: they are computed as RGB, and the channels of the result are
                averaged. (h, w, 3) is RGB. (h, w, 2) and (h, w, 4) have alpha last, which is
                upscaled by bicubic interpolation. (n, h, w, c) is a stack of n images.
            uncertainty: whether to compute theta too, if the model has it.
            self_ensemble: mean over the eight flips and rotations, and their spread.
            tile: side of the tiles, LR pixels; None: the side that computes fewest pixels twice.
            memory_gb: working memory, in addition to the result; None: 1 GB, or more where tiles
                would overlap too much, but at most a quarter of the free memory.
            progress: gets the LR pixels that are done.

        Raises:
            UserError: for a file that cannot be read, or an array that is not an image.
        """
        pixels = read_image(image).pixels if isinstance(image, Path | str) else np.asarray(image)
        _check_effort(tile, memory_gb)
        if pixels.ndim == 4 and len(pixels):
            options = (uncertainty, self_ensemble, tile, memory_gb, progress)
            return stacked([self.upscale(one, *options) for one in pixels])
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        colors, alpha = _split_alpha(pixels)
        unit = np.float32(gray_level(pixels.dtype))
        lr = np.broadcast_to((colors / unit).astype(np.float32), (*colors.shape[:2], 3))
        gray = colors.shape[2] == 1

        passes = self._passes(uncertainty, bordered=self._border >= BORDER)
        runs = len(passes) * (MEMBERS if self_ensemble else 1)
        counter = Counter(progress, runs * colors.shape[0] * colors.shape[1])
        effort = Effort(tile, None if memory_gb is None else 1e9 * memory_gb, counter)

        def run(x: np.ndarray) -> Maps:
            return self._maps(passes, x, effort, gray)

        maps, spreads = mean_and_spread(lr, run) if self_ensemble else (run(lr), {})
        sr, theta, spread = maps["sr"], maps.get("theta"), spreads.get("sr")
        np.clip(sr, 0.0, 255.0, out=sr)
        sr *= unit
        sr = to_dtype(sr, pixels.dtype)
        _fill_plain_areas(sr, colors)
        if alpha is not None:
            sr = np.concatenate([sr, imresize(alpha, self.scale)[..., None]], axis=-1)
        if pixels.ndim == 2:
            sr, theta, spread = (None if m is None else m[..., 0] for m in (sr, theta, spread))
        return Upscaled(sr, theta, spread, self.calibration)

    def predict(self, lr: np.ndarray, border: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the output of the networks for an image, neither clipped nor rounded.

        Args:
            lr: (h, w, 3) RGB, values 0..255, any dtype.
            border: LR pixels by which the image is mirrored outwards before. The field's protocol
                evaluates networks without; `upscale` takes BORDER.

        Returns:
            (sr, theta): float32 (scale h, scale w, 3) in grey levels; theta is None without
            uncertainty.
        """
        lr = lr.astype(np.float32)
        maps: Maps = {}
        for one in self._passes(self.has_uncertainty, bordered=border >= BORDER):
            maps |= self._run_pass(one, lr, border)
        return maps["sr"], maps.get("theta")

    def _run_pass(self, one: Pass, lr: np.ndarray, border: int, effort: Effort = Effort()) -> Maps:
        """Runs a pass over an image and returns its maps, with theta in place of the log-scale.

        Args:
            one: the pass.
            lr: float32 (h, w, 3).
            border: LR pixels by which the image is mirrored outwards before.
            effort: tiles, memory and progress.
        """
        maps = compute_maps(one, lr, self.scale, border, effort)
        if "log_scale" in maps:
            maps["theta"] = self._theta_of(maps.pop("log_scale"))
        return maps

    def _maps(self, passes: Sequence[Pass], lr: np.ndarray, effort: Effort, gray: bool) -> Maps:
        """Runs all passes as `upscale` needs them; the maps of grey images have one channel."""
        maps: Maps = {}
        for one in passes:
            maps |= self._run_pass(one, lr, self._border, effort)
        if not gray:
            return maps
        np.clip(maps["sr"], 0.0, 255.0, out=maps["sr"])  # as the outputs of exported models are
        return {name: values.mean(axis=-1, keepdims=True) for name, values in maps.items()}


def compute_maps(one: Pass, lr: np.ndarray, scale: int, border: int, effort: Effort) -> Maps:
    """Runs a pass over an image, mirrored outwards by `border` LR pixels, and returns its maps.

    Args:
        one: the pass.
        lr: float32 (h, w, 3).
        scale: of the maps.
        border: LR pixels.
        effort: tiles, memory and progress.

    Returns:
        By name float32 (scale h, scale w, 3).
    """
    height, width = (side * scale for side in lr.shape[:2])
    offset = border * scale
    padded = np.pad(lr, ((border, border), (border, border), (0, 0)), "symmetric")
    maps = {name: np.empty((height, width, 3), np.float32) for name in one.maps}
    for (rows, columns), values in one.runner.run(padded, effort.tile, effort.budget):
        # From the padded image to the image: what belongs to the mirrored border is dropped.
        top, bottom = max(rows.start - offset, 0), min(rows.stop - offset, height)
        left, right = max(columns.start - offset, 0), min(columns.stop - offset, width)
        if top < bottom and left < right:
            first, column = top + offset - rows.start, left + offset - columns.start
            inside = values[first : first + bottom - top, column : column + right - left]
            for index, values_of_all in enumerate(maps.values()):
                values_of_all[top:bottom, left:right] = inside[..., 3 * index : 3 * index + 3]
        if effort.counter:
            share = values.shape[0] * values.shape[1] / scale**2 / padded[..., 0].size
            effort.counter.add(min(share, 1.0) * lr[..., 0].size)
    return maps


def _check_effort(tile: int | None, memory_gb: float | None) -> None:
    if tile is not None and not (isinstance(tile, int) and tile >= 1):
        raise UserError(f"tile {tile}: expected a whole number of LR pixels, at least 1")
    if memory_gb is not None and not 0 < memory_gb < math.inf:
        raise UserError(f"memory_gb {memory_gb}: expected a positive number")


def _split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns (colours (h, w, 1 or 3), alpha (h, w) or None) of an image.

    Raises:
        UserError: if the array is not an image.
    """
    expected = (
        "expected uint8, uint16 or float of shape (h, w), (h, w, 1 to 4) or (n, h, w, 1 to 4)"
    )
    channels = image.shape[-1] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or image.size == 0:
        raise UserError(f"an image of shape {image.shape}: {expected}")
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"an image of dtype {image.dtype}: {expected}")
    if np.issubdtype(image.dtype, np.floating):
        low, high = image.min(), image.max()
        if not (low >= 0 and high <= 255):  # so NaN too
            raise UserError(f"a float image with values {low}..{high}: expected 0..255, no NaN")
    image = image.reshape(*image.shape[:2], channels)
    if channels in (1, 3):
        return image, None
    return image[..., :-1], image[..., -1]


def _fill_plain_areas(sr: np.ndarray, lr: np.ndarray) -> None:
    """Gives the pixels of `sr` that see nothing but one colour that colour, in place.

    A trained network leaves it by up to three levels, in a pattern. No pixel beyond BORDER changes
    the output there, so there is no seam.
    """
    size = (2 * BORDER + 1, 2 * BORDER + 1, 1)
    seen = lr.astype(np.float32) if lr.dtype == np.float16 else lr  # which SciPy does not filter
    plain = (maximum_filter(seen, size) == minimum_filter(seen, size)).all(axis=-1)
    height, width, channels = lr.shape
    scale = sr.shape[0] // height
    blocks = sr.reshape(height, scale, width, scale, channels).transpose(0, 2, 1, 3, 4)
    blocks[plain] = lr[plain][:, None, None]
