"""Consistency of a result with its input: what is left of the input when the result is degraded.

A result that is degraded as the training images were (bicubic) should equal its input. Networks
come close; back projection makes it so.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from udl_tf.imaging.bicubic import RADIUS, enlarge, shrink

TOLERANCE = 0.1
"""Largest difference that back projection leaves alone, in the network's 0..255."""

_ROUNDS = 10
# Bicubic enlarging after shrinking keeps between 0.22 and 1 of a difference, depending on its
# frequencies: with this step, the rest after a round is 0.66 at most; with 1 it would be 0.78.
_STEP = np.float32(1.5)

MARGIN = 2 * RADIUS * _ROUNDS
"""LR pixels on each side that a pixel of a back-projected result depends on."""


def back_project(sr: np.ndarray, lr: np.ndarray, scale: int) -> np.ndarray:
    """Changes a result so that, degraded, it equals its input within TOLERANCE.

    Where the difference exceeds it, the difference is enlarged and added to the result, up to ten
    times. Pixels within the tolerance are left alone, each for itself: parts of an image with a
    margin of MARGIN become as in the whole image, to the bit.

    Args:
        sr: float32 (scale h, scale w, c) in the network's 0..255; unchanged.
        lr: float32 (h, w, c), the input in the same unit, finite.
        scale: HR size divided by LR size.

    Returns:
        float32 (scale h, scale w, c).

    Source: Irani and Peleg, "Improving resolution by image registration", CVGIP 1991.
    """
    for _ in range(_ROUNDS):
        difference = lr - shrink(sr, scale)
        difference[np.abs(difference) <= TOLERANCE] = 0
        if not difference.any():
            break
        sr = sr + enlarge(_STEP * difference, scale)
    return sr


@dataclass
class Consistency:
    """Sums over pixels, of which `report` computes the consistency of each channel.

    Attributes:
        sums: float64 (6, c): number of pixels, and sums of x, y, xx, yy, xy, where x is the input
            and y the degraded result.
    """

    sums: np.ndarray

    @classmethod
    def of(cls, channels: int) -> Self:
        """Returns the sums over no pixels."""
        return cls(np.zeros((6, channels)))

    def add(self, lr: np.ndarray, degraded: np.ndarray, valid: np.ndarray) -> None:
        """Adds pixels.

        Args:
            lr, degraded: (h, w, c): the input and the degraded result, in the network's 0..255.
            valid: bool (h, w, c): False for pixels without data, which do not count.
        """
        x, y = (np.where(valid, values, 0).astype(np.float64) for values in (lr, degraded))
        for row, values in enumerate((valid, x, y, x * x, y * y, x * y)):
            self.sums[row] += values.sum(axis=(0, 1), dtype=np.float64)

    def report(self, step: np.ndarray | float = 1.0) -> list[dict[str, float]]:
        """Returns {"mean", "rms", "correlation"} of each channel; NaN without data.

        Mean and RMS are those of degraded result minus input, the correlation is between the two.

        Args:
            step: one grey level in the unit of the report.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y, xx, yy, xy = self.sums[1:] / self.sums[0]
            mean, square = y - x, np.maximum(yy - 2 * xy + xx, 0)
            correlation = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))
        rows = zip(mean * step, np.sqrt(square) * step, correlation, strict=True)
        return [
            dict(zip(("mean", "rms", "correlation"), map(float, row), strict=True)) for row in rows
        ]
