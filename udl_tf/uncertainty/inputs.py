"""Statistics of the images that theta was calibrated on, to recognise inputs unlike them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from udl_tf.config import Section
from udl_tf.imaging.degradation_signs import SIGNS, measure_signs

_SIDES = (32, 64, 128)  # of the central squares that are measured, pixels
_FEWEST = 10  # images, for an estimate of the spread
_SMALLEST_SPREAD = 0.01  # a few similar images say little about others
_LIMIT, _FEW = 3.0, 5.0  # 3 (1 + 5/n) spreads; see input_statistics
_EFFECTS = {
    "compression blocks": "too small; for compressed images use a photo preset, such as photo_x4",
    "noise": "too large",
    "blur": "too small",
}
_WITHIN = 0.995  # least share of the calibration images below the limit


Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""


class SizeStatistics(Section):
    """Signs of degradation of images of one size, in the order of SIGNS.

    Attributes:
        pixels: mean number of pixels.
        medians: median of each sign.
        spreads: 95 % quantile of each sign minus the median.
    """

    pixels: Positive
    medians: Annotated[list[float], Field(min_length=len(SIGNS), max_length=len(SIGNS))]
    spreads: Annotated[list[Positive], Field(min_length=len(SIGNS), max_length=len(SIGNS))]


class InputStatistics(Section):
    """Signs of degradation (udl_tf.imaging.degradation_signs) of the calibration images.

    Attributes:
        sizes: ascending; the smaller images are, the more their signs differ.
        limit: difference from the median, in spreads, above which an image is unlike these.
    """

    sizes: Annotated[list[SizeStatistics], Field(min_length=1)]
    limit: Positive

    def deviations(self, image: np.ndarray) -> dict[str, float] | None:
        """Returns how far an image's signs exceed their medians, divided by the limit.

        Args:
            image: LR image (h, w, channels), in 0..255, of any number type.

        Returns:
            For each of SIGNS a number, which is above 1 if the image is unlike those of the
            calibration; None if the image is too small.
        """
        signs = measure_signs(image)
        if signs is None:
            return None
        excess = self._excess(signs, image.shape[0] * image.shape[1]) / self.limit
        return dict(zip(SIGNS, excess.tolist(), strict=True))

    def _excess(self, signs: np.ndarray, pixels: float) -> np.ndarray:
        """Returns by how many spreads the signs of an image exceed their medians."""
        known = np.log([size.pixels for size in self.sizes])
        tables = [size.medians + size.spreads for size in self.sizes]
        # Beyond the known sizes, the nearest one: for large images, whose signs differ less, the
        # limit is then higher than necessary.
        columns = zip(*tables, strict=True)
        found = np.array([np.interp(np.log(pixels), known, column) for column in columns])
        medians, spreads = np.split(found, 2)
        return (signs - medians) / spreads


def above_limit(deviations: Mapping[str, float]) -> tuple[str, ...]:
    """Returns the signs that exceed the limit, the largest first."""
    ordered = sorted(deviations, key=lambda name: -deviations[name])
    return tuple(name for name in ordered if deviations[name] > 1)


def warnings_of(deviations: Mapping[str, float]) -> list[str]:
    """Returns a line for an image that is unlike those of the calibration; else nothing."""
    signs = above_limit(deviations)
    if not signs:
        return []
    reason, effect = ", ".join(signs), _EFFECTS[signs[0]]
    return [f"unlike the training images ({reason}): theta may be {effect}"]


def measure_sizes(image: np.ndarray) -> np.ndarray | None:
    """Measures the signs of the central squares of a calibration image.

    Args:
        image: LR image (h, w, channels), in 0..255, of any number type.

    Returns:
        (sizes, 1 + signs): number of pixels and signs; None if the image is too small.
    """
    rows = []
    for side in _SIDES:
        top, left = (max(0, length - side) // 2 for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        signs = measure_signs(square)
        if signs is None:
            return None
        rows.append([square.shape[0] * square.shape[1], *signs])
    return np.array(rows)


def input_statistics(measured: Sequence[np.ndarray | None]) -> InputStatistics | None:
    """Computes the statistics of calibration images.

    The limit is 3 (1 + 5/n) spreads for n images, because the spread of few images is not known
    well; or more, so that at most one of 200 of these images exceeds it.

    Args:
        measured: results of measure_sizes.

    Returns:
        Statistics; None if fewer than ten images are large enough.
    """
    known = np.array([signs for signs in measured if signs is not None])
    if len(known) < _FEWEST:
        return None
    pixels, signs = known[..., 0], known[..., 1:]
    medians, high = np.quantile(signs, [0.5, 0.95], axis=0)
    spreads = np.maximum(high - medians, _SMALLEST_SPREAD)
    sizes = [
        SizeStatistics(pixels=count, medians=median.tolist(), spreads=spread.tolist())
        for count, median, spread in zip(
            pixels.mean(axis=0).tolist(), medians, spreads, strict=True
        )
    ]
    largest = ((signs[:, -1] - medians[-1]) / spreads[-1]).max(axis=1)
    limit = max(_LIMIT * (1 + _FEW / len(known)), float(np.quantile(largest, _WITHIN)))
    return InputStatistics(sizes=sizes, limit=limit)
