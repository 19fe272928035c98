"""The eight flips and rotations of a picture: their mean result, and how far they differ.

Source: Timofte et al., "Seven ways to improve example-based single image super resolution",
CVPR 2016.
"""

from collections.abc import Callable

import numpy as np

MEMBERS = 8


def mean_and_spread(
    lr: np.ndarray, run: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of `run` over the members of a picture.

    Args:
        lr: (h, w, c).
        run: what makes a map (scale h, scale w, c) of a picture (h, w, c).
    """
    mean = squares = np.zeros((), np.float32)
    for member in range(MEMBERS):
        result = _turned_back(run(np.ascontiguousarray(_turned(lr, member))), member)
        difference = result - mean
        mean = mean + difference / (member + 1)
        squares = squares + difference * (result - mean)
    return mean, np.sqrt(squares / MEMBERS)


def _turned(image: np.ndarray, member: int) -> np.ndarray:
    turned = np.rot90(image, member % 4)
    return turned[:, ::-1] if member >= 4 else turned


def _turned_back(image: np.ndarray, member: int) -> np.ndarray:
    return np.rot90(image[:, ::-1] if member >= 4 else image, -(member % 4))
