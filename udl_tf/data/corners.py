"""Corners of patches that hold enough data."""

import numpy as np


def admissible_corners(hr: np.ndarray, scale: int, side: int, share: float) -> np.ndarray | None:
    """Returns where patches of an image with nodata may be.

    Args:
        hr: float (h, w, c), NaN for nodata; h and w are multiples of the scale.
        scale: HR over LR size.
        side: of a patch, LR pixels.
        share: largest share of a patch's pixels that have no data in any channel.

    Returns:
        int (n,), ascending: top * (w / scale - side + 1) + left of each corner in LR pixels; None
        if the image has no nodata, so that all corners are admissible.
    """
    holes = np.isnan(hr).any(axis=-1)
    if not holes.any():
        return None
    height, width = (length // scale for length in holes.shape)
    counts = holes.reshape(height, scale, width, scale).sum(axis=(1, 3))
    sums = np.pad(counts, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.flatnonzero(inside <= share * (side * scale) ** 2)
