"""Test images among training images, found by thumbnails.

An image is found although it was resized, compressed, flipped, rotated by quarter turns, or changed
in brightness or contrast. A crop is not found, unless it lacks only about one percent per side.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from udl_tf.imaging.dtypes import to_dtype

SIMILAR = 0.98
"""Correlation of thumbnails above which two images show the same.

Of 1,131 training images (T91, BSD200, INS500 and others) and 119 test images (Set5, Set14, BSD100)
of different scenes, no pair exceeds 0.96, in any orientation.
"""
_SIDE = 16
_LEAST_CONTRAST = 1.0  # standard deviation, grey levels; flatter images resemble each other
_BLOCK = 4096  # training images compared at a time


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns the luma of an image in 16x16 pixels, with mean 0 and norm 1.

    Args:
        image: uint8 RGB, (h, w, 3); or floats (h, w, c) of any range, whose mean over channels
            with data takes the place of the luma.

    Returns:
        float32 (16, 16); zeros for a flat image.
    """
    luma = Image.fromarray(_stretched(image) if image.dtype != np.uint8 else image).convert("L")
    luma = luma.convert("F")
    small = np.asarray(luma.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    small = small - small.mean()
    contrast = small.std()
    return small / (contrast * _SIDE if contrast > _LEAST_CONTRAST else np.inf)


def _stretched(image: np.ndarray) -> np.ndarray:
    """Returns the mean over channels in the range of its values, uint8 (h, w).

    Nodata becomes the mean of the image, so that holes of equal shape resemble nothing.
    """
    known = np.isfinite(image)
    counts = known.sum(axis=-1)
    mean = np.where(known, image, 0).sum(axis=-1) / np.maximum(counts, 1)
    if counts.any():
        mean[counts == 0] = mean[counts > 0].mean()
    low, high = mean.min(), mean.max()
    return to_dtype(255 * (mean - low) / (high - low if high > low else 1.0), np.uint8)


def find_leaks(
    training: Sequence[np.ndarray], test: Sequence[np.ndarray]
) -> Iterator[tuple[int, int, float]]:
    """Finds training images that show the same as a test image.

    Args:
        training: thumbnails of the training images.
        test: thumbnails of the test images.

    Yields:
        (index of the training image, index of the test image, correlation).
    """
    if not test:
        return
    wanted = np.stack(test)
    turned = [
        np.rot90(flipped, k, (1, 2)) for flipped in (wanted, wanted[:, ::-1]) for k in range(4)
    ]
    turned = [part.reshape(len(part), -1) for part in turned]
    for start in range(0, len(training), _BLOCK):
        block = np.stack(training[start : start + _BLOCK]).reshape(-1, _SIDE**2)
        correlation = np.max([block @ part.T for part in turned], axis=0)
        for i, j in np.argwhere(correlation > SIMILAR):
            yield start + int(i), int(j), float(correlation[i, j])
