"""Statistics of the images that theta was calibrated on, to recognise inputs unlike them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from udl_tf.config import Section
from udl_tf.imaging.degradation_signs import SIGNS, SMALLEST, measure_signs

_SIDES = (32, 64, 128)  # of the central squares that are measured, pixels
_FEWEST = 10  # images, for an estimate of the spread
_SMALLEST_SPREAD = 0.01  # a few similar images say little about others
_LIMIT, _FEW = 3.0, 5.0  # 3 (1 + 5/n) spreads; see input_statistics
_WITHIN = 0.995  # least share of the calibration images below the limit, for each sign


Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""


class SizeStatistics(Section):
    """Signs of degradation of images of one size, in the order of SIGNS.

    Attributes:
        pixels: mean number of pixels.
        centres: usual value of each sign; see input_statistics.
        spreads: usual distance from it.
    """

    pixels: Positive
    centres: Annotated[list[float], Field(min_length=len(SIGNS), max_length=len(SIGNS))]
    spreads: Annotated[list[Positive], Field(min_length=len(SIGNS), max_length=len(SIGNS))]


class InputStatistics(Section):
    """Signs of degradation (udl_tf.imaging.degradation_signs) of the calibration images.

    Attributes:
        sizes: ascending; the smaller images are, the more their signs differ.
        limit: difference from the centre, in spreads, above which an image is unlike these.
        degraded: whether these images were degraded on purpose.
    """

    sizes: Annotated[list[SizeStatistics], Field(min_length=1)]
    limit: Positive
    degraded: bool = False

    def deviations(self, image: np.ndarray) -> dict[str, float] | None:
        """Returns how far an image's signs exceed their centres, divided by the limit.

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
        """Returns by how many spreads the signs of an image exceed their centres."""
        known = np.log([size.pixels for size in self.sizes])
        tables = [size.centres + size.spreads for size in self.sizes]
        # Beyond the known sizes, the nearest one: for large images, whose signs differ less, the
        # limit is then higher than necessary.
        columns = zip(*tables, strict=True)
        found = np.array([np.interp(np.log(pixels), known, column) for column in columns])
        centres, spreads = np.split(found, 2)
        return (signs - centres) / spreads

    def warnings_of(self, deviations: Mapping[str, float]) -> list[str]:
        """Returns a line for an image that is unlike these; else nothing."""
        signs = above_limit(deviations)
        if not signs:
            return []
        line = f"unlike the training images ({', '.join(signs)}): theta may be too "
        line += "large" if signs[0] == "noise" else "small"
        if "compression" in signs[0] and not self.degraded:
            line += "; for compressed images use a photo preset, such as photo_x4"
        return [line]


def above_limit(deviations: Mapping[str, float]) -> tuple[str, ...]:
    """Returns the signs that exceed the limit, the largest first."""
    ordered = sorted(deviations, key=lambda name: -deviations[name])
    return tuple(name for name in ordered if deviations[name] > 1)


def measure_sizes(image: np.ndarray, clean: np.ndarray | None = None) -> np.ndarray | None:
    """Measures the signs of the central squares of a calibration image.

    Args:
        image: LR image (h, w, channels), in 0..255, of any number type.
        clean: the same image before it was degraded; None: it is not degraded.

    Returns:
        (2, sizes, 1 + signs): number of pixels and signs, of `image` and of `clean`; None if the
        image is too small.
    """
    if min(image.shape[:2]) < SMALLEST:
        return None
    signs = _signs_of_squares(image)
    return np.stack([signs, signs if clean is None else _signs_of_squares(clean)])


def _signs_of_squares(image: np.ndarray) -> np.ndarray:
    """Returns number of pixels and signs of each central square, (sizes, 1 + signs)."""
    rows = []
    for side in _SIDES:
        top, left = (max(0, length - side) // 2 for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        signs = measure_signs(square)
        assert signs is not None
        rows.append([square.shape[0] * square.shape[1], *signs])
    return np.array(rows)


def input_statistics(measured: Sequence[np.ndarray | None]) -> InputStatistics | None:
    """Computes the statistics of calibration images.

    The spread of a sign is its 95 % quantile minus its median, for the images before they were
    degraded. Its centre is one spread below its 95 % quantile for the images as they are: without
    degradations, the median; with them, images that exceed the strongest ones are unlike these. The
    limit is 3 (1 + 5/n) spreads for n images, because the spread of few images is not known well.
    If more than one of 200 images exceeds it in a sign, the spread of this sign is raised.

    Args:
        measured: results of measure_sizes.

    Returns:
        Statistics; None if fewer than ten images are large enough.
    """
    known = np.array([signs for signs in measured if signs is not None])
    if len(known) < _FEWEST:
        return None
    pixels = known[:, 0, :, 0].mean(axis=0)
    signs, clean = known[:, 0, :, 1:], known[:, 1, :, 1:]
    medians, high = np.quantile(clean, [0.5, 0.95], axis=0)
    spreads = np.maximum(high - medians, _SMALLEST_SPREAD)
    centres = np.quantile(signs, 0.95, axis=0) - (high - medians)
    limit = _LIMIT * (1 + _FEW / len(known))
    farthest = np.quantile((signs[:, -1] - centres[-1]) / spreads[-1], _WITHIN, axis=0)
    spreads *= np.maximum(1, farthest / limit)
    sizes = [
        SizeStatistics(pixels=count, centres=centre, spreads=spread)
        for count, centre, spread in zip(
            pixels.tolist(), centres.tolist(), spreads.tolist(), strict=True
        )
    ]
    return InputStatistics(sizes=sizes, limit=limit, degraded=not np.array_equal(signs, clean))
