"""Passes over an image: whole maps from the parts that a runner computes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from udl_tf._support.progress import Counter
from udl_tf.inference.tiling import Notes

Maps = dict[str, np.ndarray]

Part = tuple[tuple[slice, slice], np.ndarray | Sequence[np.ndarray]]
"""Rows and columns in the maps, and the float32 values there of each map, (rows, columns, c)."""

# LR pixels by which an image is mirrored outwards before the networks see it. Their zero padding
# does not continue the image: plain red was wrong by 71 levels at the border. Behind 8 mirrored
# pixels, results are as accurate at the border as in the middle.
BORDER = 8


class Runner(Protocol):
    """Computes maps of an image of any size, part by part.

    Attributes:
        radius: LR pixels on each side that a pixel of the maps may depend on.
        align: multiple of LR pixels at which a part of an image must start to equal the whole.
    """

    @property
    def radius(self) -> int: ...

    @property
    def align(self) -> int: ...

    def run(
        self,
        lr: np.ndarray,
        tile: int | None = None,
        budget: float | None = None,
        notes: Notes | None = None,
        counter: Counter | None = None,
    ) -> Iterator[Part]:
        """Yields parts that cover the image once, and may exceed it at the bottom and right.

        Args:
            lr: float32 (h, w, c), values 0..255.
            tile: side of a part, LR pixels; None: the side that computes fewest pixels twice.
            budget: bytes of working memory; None: chosen by the runner.
            notes: receives lines about how the image was computed.
            counter: receives the progress within the current part, in LR pixels.
        """
        ...


@dataclass(frozen=True)
class Pass:
    """One pass over an image.

    Attributes:
        runner: computes the maps.
        maps: their names, in the order of the runner's maps: "sr", "theta" (grey levels) or
            "log_scale" (of a Keras network).
    """

    runner: Runner
    maps: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is computed of an image.

    Attributes:
        uncertainty, self_ensemble, consistent: as for `Upscaler.upscale`.
    """

    uncertainty: bool = True
    self_ensemble: bool = False
    consistent: bool = False


WANTED = Wanted()
"""Image and theta."""


@dataclass(frozen=True)
class Effort:
    """Limits of a pass (tile side and working memory, see `Upscaler.upscale`) and its reports.

    Attributes:
        tile: LR pixels; None: chosen by the runner.
        budget: bytes; None: chosen by the runner.
        counter: receives the LR pixels that are done, those of the mirrored border included.
        notes: receives lines about how the image was computed.
    """

    tile: int | None = None
    budget: float | None = None
    counter: Counter | None = None
    notes: Notes = field(default_factory=dict)


def compute_maps(pass_: Pass, lr: np.ndarray, scale: int, border: int, effort: Effort) -> Maps:
    """Runs a pass over an image, mirrored outwards by `border` LR pixels, and returns its maps.

    Args:
        pass_: what to run.
        lr: float32 (h, w, c).
        scale: HR size divided by LR size.
        border: LR pixels.
        effort: tiles, memory and progress.

    Returns:
        By name float32 (scale h, scale w, c).
    """
    height, width = (side * scale for side in lr.shape[:2])
    channels = lr.shape[2]
    offset = border * scale
    padded = np.pad(lr, ((border, border), (border, border), (0, 0)), "symmetric")
    padded_height, padded_width = (side * scale for side in padded.shape[:2])
    maps: Maps = {name: np.empty((height, width, channels), np.float32) for name in pass_.maps}
    parts = pass_.runner.run(padded, effort.tile, effort.budget, effort.notes, effort.counter)
    for (rows, columns), values in parts:
        # The part's rows and columns in the image. Its pixels in the mirrored border are dropped.
        top, bottom = max(rows.start - offset, 0), min(rows.stop - offset, height)
        left, right = max(columns.start - offset, 0), min(columns.stop - offset, width)
        if top < bottom and left < right:
            # The same rows and columns, counted from the first pixel of the part.
            first, column = top + offset - rows.start, left + offset - columns.start
            inside = np.s_[first : first + bottom - top, column : column + right - left]
            for index, name in enumerate(pass_.maps):
                maps[name][top:bottom, left:right] = values[index][inside]
        if effort.counter:
            covered = max(0, min(rows.stop, padded_height) - rows.start)
            covered *= max(0, min(columns.stop, padded_width) - columns.start)
            effort.counter.add(covered // scale**2)
    return maps
