"""Pictures in, larger pictures and their uncertainty out, whatever computes them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from udl_tf.calibration import Calibration
from udl_tf.errors import UserError
from udl_tf.resize import imresize
from udl_tf.self_ensemble import MEMBERS, mean_and_spread
from udl_tf.upscaled import Upscaled, gray_level

# LR pixels by which a picture is mirrored outwards before the networks see it. They pad with zeros,
# which is no picture's continuation: plain red came out 71 levels wrong at the border. Behind 8
# mirrored pixels the border is as good as the middle.
BORDER = 8

Map = Callable[[np.ndarray], np.ndarray]


class Runner(Protocol):
    """What computes maps of a picture of any size, part by part.

    Attributes:
        radius: LR pixels on each side that a pixel of the maps may depend on.
    """

    @property
    def radius(self) -> int: ...

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """The maps in parts that cover the picture, and perhaps go beyond its bottom and right.

        Args:
            lr: float32 (h, w, 3), values 0..255.
            tile: side of a part, LR pixels; None: the one that computes fewest pixels.
            budget: bytes to compute with; None: as much as is sensible.

        Yields:
            (rows and columns in the maps, float32 values there).
        """
        ...


@dataclass(frozen=True)
class Pass:
    """One run over a picture.

    Attributes:
        runner: what computes.
        maps: "sr", "theta" or both: three channels each in the runner's values, in this order, with
            what makes grey levels of them.
    """

    runner: Runner
    maps: Mapping[str, Map]


class Upscaler(ABC):
    """A trained model, however it is run.

    Attributes:
        scale: HR over LR size.
        calibration: of theta; None: theta is as trained.
        border: LR pixels by which `upscale` mirrors a picture before the passes see it.
    """

    scale: int
    calibration: Calibration | None
    border: int = BORDER

    @property
    def eight_bit(self) -> bool:
        """Whether it knows pictures of 8 bits only: those of 16 bits come out in steps of 257."""
        return False

    @property
    @abstractmethod
    def has_uncertainty(self) -> bool:
        """Whether there is a theta."""

    @abstractmethod
    def passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        """What must run for the picture, and for theta if asked.

        Args:
            uncertainty: whether for theta too.
            bordered: whether what comes of the outermost BORDER pixels will be cut off.
        """

    @property
    def receptive_field(self) -> int:
        """Side of the square of LR pixels on which an output pixel may depend."""
        passes = self.passes(self.has_uncertainty)
        return 2 * max(step.runner.radius for step in passes) + 1

    def upscale(
        self,
        image: np.ndarray,
        uncertainty: bool = True,
        self_ensemble: bool = False,
        tile: int | None = None,
        memory_gb: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Upscaled:
        """Makes a picture `scale` times as high and wide.

        Args:
            image: uint8, uint16, or float with values 0..255. (h, w) or (h, w, 1) is grey: it runs
                as RGB, and the channels of the result are averaged. (h, w, 3) is RGB. (h, w, 2) and
                (h, w, 4) have alpha last, which is enlarged by bicubic interpolation.
            uncertainty: whether to make theta too, if the model has it.
            self_ensemble: the mean over the eight flips and rotations, and their spread.
            tile: side of the tiles, LR pixels; None: what computes fewest pixels twice.
            memory_gb: to compute with, beside the result; None: 1 GB, or more where tiles would
                overlap much, but a quarter of the free memory at most.
            progress: is told, tile after tile, what share of the work was done since the last time.

        Raises:
            UserError: for an array that is no such picture.
        """
        image = np.asarray(image)
        image = image.astype(image.dtype.newbyteorder("="), copy=False)
        colors, alpha = _split(image)
        if tile is not None and not (isinstance(tile, int) and tile >= 1):
            raise UserError(f"tile {tile}: expected a whole number, 1 LR pixel at least")
        if memory_gb is not None and not 0 < memory_gb < math.inf:
            raise UserError(f"memory_gb {memory_gb}: expected a positive number")
        lr = (colors / np.float32(gray_level(image.dtype))).astype(np.float32)
        lr = np.broadcast_to(lr, (*lr.shape[:2], 3))
        keep = np.asarray if colors.shape[2] == 3 else _channel_mean
        finish: dict[str, Map] = {"sr": keep, "theta": keep}
        if not self_ensemble:
            # Clipped before a grey mean, as by an exported model, which gives no values beyond.
            finish["sr"] = lambda sr: _in_dtype(keep(np.clip(sr, 0.0, 255.0)), image.dtype)
        passes = self.passes(uncertainty, bordered=self.border >= BORDER)
        runs = len(passes) * (MEMBERS if self_ensemble else 1)
        budget = None if memory_gb is None else 1e9 * memory_gb

        def tell(share: float) -> None:
            progress(share / runs)

        maps: dict[str, np.ndarray] = {}
        spreads: dict[str, np.ndarray] = {}
        for step in passes:

            def run(lr: np.ndarray, step=step) -> dict[str, np.ndarray]:
                return self.run_pass(step, lr, finish, self.border, tile, budget, tell)

            if self_ensemble:
                mean, spread = mean_and_spread(lr, run)
                maps |= mean
                spreads |= spread
            else:
                maps |= run(lr)
        sr, theta, spread = maps["sr"], maps.get("theta"), spreads.get("sr")
        if self_ensemble:
            sr = _in_dtype(sr, image.dtype)
        sr = _with_plain_areas(sr, colors)
        if alpha is not None:
            sr = np.concatenate([sr, imresize(alpha, self.scale)[..., None]], axis=-1)
        if image.ndim == 2:
            sr, theta, spread = (None if m is None else m[..., 0] for m in (sr, theta, spread))
        return Upscaled(sr, theta, spread, self.calibration)

    def predict(self, lr: np.ndarray, border: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
        """What the networks say of a picture, neither clipped nor rounded.

        Args:
            lr: (h, w, 3) RGB, values 0..255, any dtype.
            border: LR pixels by which the picture is mirrored outwards before. The field judges
                networks without; `upscale` takes BORDER.

        Returns:
            (sr, theta): float32 (scale h, scale w, 3) in grey levels; theta None without
            uncertainty.
        """
        lr = lr.astype(np.float32)
        finish = {"sr": np.asarray, "theta": np.asarray}
        maps: dict[str, np.ndarray] = {}
        for step in self.passes(self.has_uncertainty, bordered=border >= BORDER):
            maps |= self.run_pass(step, lr, finish, border)
        return maps["sr"], maps.get("theta")

    def run_pass(
        self,
        step: Pass,
        lr: np.ndarray,
        finish: Mapping[str, Map],
        border: int,
        tile: int | None = None,
        budget: float | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> dict[str, np.ndarray]:
        """The maps of a pass over a picture, each part brought into its final form by `finish`.

        Args:
            step: the pass.
            lr: float32 (h, w, 3).
            finish: by name of a map.
            border: LR pixels by which the picture is mirrored outwards before.
            tile, progress: as for `upscale`.
            budget: bytes to compute with.
        """
        height, width = (side * self.scale for side in lr.shape[:2])
        offset = border * self.scale
        padded = np.pad(lr, ((border, border), (border, border), (0, 0)), "symmetric")
        out: dict[str, np.ndarray] = {}
        for (rows, columns), values in step.runner.run(padded, tile, budget):
            # In the picture's frame, without what belongs to the mirrored border.
            top, bottom = max(rows.start - offset, 0), min(rows.stop - offset, height)
            left, right = max(columns.start - offset, 0), min(columns.stop - offset, width)
            if top < bottom and left < right:
                first, column = top + offset - rows.start, left + offset - columns.start
                inside = values[first : first + bottom - top, column : column + right - left]
                for index, (name, to_map) in enumerate(step.maps.items()):
                    final = finish[name](to_map(inside[..., 3 * index : 3 * index + 3]))
                    if name not in out:
                        out[name] = np.empty((height, width, final.shape[2]), final.dtype)
                    out[name][top:bottom, left:right] = final
            progress(values.shape[0] * values.shape[1] / padded[..., 0].size / self.scale**2)
        return out


def _split(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(colours (h, w, 1 or 3), alpha (h, w) or None) of a picture.

    Raises:
        UserError: if it is none.
    """
    expected = "expected uint8, uint16 or float of shape (h, w) or (h, w, 1 to 4)"
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


def _with_plain_areas(sr: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """Gives pixels that see nothing but one colour that colour.

    A trained network leaves it by up to three levels, in a pattern. Beyond BORDER pixels nothing
    that is seen changes its output, so this leaves no seam.
    """
    size = (2 * BORDER + 1, 2 * BORDER + 1, 1)
    seen = lr.astype(np.float32) if lr.dtype == np.float16 else lr  # which SciPy does not filter
    plain = (maximum_filter(seen, size) == minimum_filter(seen, size)).all(axis=-1)
    height, width, channels = lr.shape
    scale = sr.shape[0] // height
    sr = np.ascontiguousarray(sr)  # which is a picture of its own already, so changed in place
    blocks = sr.reshape(height, scale, width, scale, channels).transpose(0, 2, 1, 3, 4)
    blocks[plain] = lr[plain][:, None, None]
    return sr


def _channel_mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1, keepdims=True)


def _in_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values of 0..255 clipped, and for an integer dtype rounded, to the range of an image."""
    values = np.clip(values, 0.0, 255.0) * np.float32(gray_level(dtype))
    return (values + 0.5 if np.issubdtype(dtype, np.integer) else values).astype(dtype)
