"""How far from nodata filling it still changes results noticeably, measured on images."""

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import distance_transform_cdt

from udl_tf.imaging.nodata import FILL_DISTANCE, fill_nodata
from udl_tf.inference.measurements import enlarged
from udl_tf.inference.passes import Effort, Wanted
from udl_tf.inference.upscaler import Upscaler, upscaler_of

_NOTICEABLE = 1.0  # grey levels
_SHARE = 0.99  # of values that change by less, at every distance beyond the reach
_SPACING = 48  # LR pixels between holes, and twice the largest distance that is measured
_LARGEST = 8  # side of a hole


def measure_reach(model: Upscaler, images: Iterable[np.ndarray]) -> int:
    """Returns the distance from nodata beyond which filling it no longer matters.

    Holes of 1 to 8 pixels are punched into what has data and filled as nodata is; the results are
    compared with those of the images without these holes. Beyond the reach, at least 99 % of the
    values change by less than a grey level (1/255 of the value range) at every distance. Pixels
    without data do not count.

    Args:
        model: an Upscaler or an SRModel.
        images: LR images (h, w, channels) in the network's 0..255, NaN for nodata.

    Returns:
        LR pixels, 0..24, counted like the moves of a king in chess.
    """
    model = upscaler_of(model)
    largest = min(_SPACING // 2, model.radius)
    counts, noticed = np.zeros(largest + 1), np.zeros(largest + 1)
    for index, image in enumerate(images):
        valid = np.isfinite(image)
        known = valid.all(axis=-1)
        lr = fill_nodata(image, valid, FILL_DISTANCE)
        holes = _holes(image.shape[:2], index) & known
        if not holes.any():
            continue
        punched = fill_nodata(lr, np.broadcast_to(~holes[..., None], lr.shape), FILL_DISTANCE)
        change = np.abs(_sr(model, punched) - _sr(model, lr))
        distance = distance_transform_cdt(~holes, "chessboard")
        near = enlarged(np.where(known, np.minimum(distance, largest), 0), model.scale)
        noticed += np.bincount(near.ravel(), (change >= _NOTICEABLE).sum(-1).ravel(), largest + 1)
        counts += change.shape[2] * np.bincount(near.ravel(), minlength=largest + 1)
    shares = noticed / np.maximum(counts, 1)
    far = np.flatnonzero(shares[1:] > 1 - _SHARE)
    return int(far[-1]) + 1 if len(far) else 0


def _holes(size: tuple[int, int], seed: int) -> np.ndarray:
    """Returns a mask (h, w) that is True in square holes, one in each cell of a grid."""
    random = np.random.default_rng(seed)
    holes = np.zeros(size, bool)
    for top in range(0, size[0], _SPACING):
        for left in range(0, size[1], _SPACING):
            rows, columns = min(_SPACING, size[0] - top), min(_SPACING, size[1] - left)
            side = min(2 ** int(random.integers(_LARGEST.bit_length())), rows, columns)
            places = rows - side + 1, columns - side + 1  # inside the image
            row, column = random.integers(_SPACING - side, size=2) % places
            holes[top + row :, left + column :][:side, :side] = True
    return holes


def _sr(model: Upscaler, lr: np.ndarray) -> np.ndarray:
    return model.compute(lr, Wanted(uncertainty=False), Effort())[0]["sr"]
