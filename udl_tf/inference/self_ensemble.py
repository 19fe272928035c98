"""The eight flips and rotations of a picture: their mean result, and how far they differ.

Source: Timofte et al., "Seven ways to improve example-based single image super resolution",
CVPR 2016.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

MEMBERS = 8


def mean_and_spread(
    lr: np.ndarray, run: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean and standard deviation of maps over the members of a picture.

    Args:
        lr: (h, w, c).
        run: what makes maps (scale h, scale w, c) of a picture (h, w, c), by name.
    """
    means: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((), np.float32))
    squares = means.copy()
    for member in range(MEMBERS):
        maps = run(np.ascontiguousarray(_turned(lr, member)))
        for name, value in maps.items():
            result = _turned_back(value, member)
            difference = result - means[name]
            means[name] = means[name] + difference / (member + 1)
            squares[name] = squares[name] + difference * (result - means[name])
    return means, {name: np.sqrt(value / MEMBERS) for name, value in squares.items()}


def _turned(image: np.ndarray, member: int) -> np.ndarray:
    turned = np.rot90(image, member % 4)
    return turned[:, ::-1] if member >= 4 else turned


def _turned_back(image: np.ndarray, member: int) -> np.ndarray:
    return np.rot90(image[:, ::-1] if member >= 4 else image, -(member % 4))
