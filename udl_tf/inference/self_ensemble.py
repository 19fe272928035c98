"""Self-ensemble: the mean over the eight flips and rotations of an image, and their spread.

Source: Timofte et al., "Seven ways to improve example-based single image super resolution",
CVPR 2016.
"""

from collections.abc import Callable, Sequence

import numpy as np

MEMBERS = 8

_ROWS = 64  # of a map that are accumulated at a time, so that intermediate arrays stay small


def mean_and_spread(
    lr: np.ndarray,
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    spread_of: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Computes the mean and standard deviation of maps over an image's eight flips and rotations.

    Args:
        lr: (h, w, c).
        run: computes maps (scale h, scale w, c), by name, of an image (h, w, c). The maps may be
            overwritten.
        spread_of: names of the maps whose standard deviation is needed.

    Returns:
        (means of all maps, standard deviations of those in `spread_of`).
    """
    means: dict[str, np.ndarray] = {}
    squares: dict[str, np.ndarray] = {}
    for member in range(MEMBERS):
        maps = run(np.ascontiguousarray(_turned(lr, member)))
        if member == 0:
            means = maps
            squares = {name: np.zeros_like(means[name]) for name in spread_of}
            continue
        for name in means:
            # Not kept in a variable: no map must remain in memory while the next member runs.
            _accumulate(
                means[name], squares.get(name), _turned_back(maps.pop(name), member), member + 1
            )
    for squared in squares.values():
        squared /= MEMBERS
        np.sqrt(squared, out=squared)
    return means, squares


def _accumulate(
    mean: np.ndarray, squares: np.ndarray | None, values: np.ndarray, count: int
) -> None:
    """Adds the `count`-th member to a mean, and to a sum of squared deviations, in place.

    Source: Welford's method, which needs one member at a time and is numerically stable.
    """
    for row in range(0, len(mean), _ROWS):
        rows = slice(row, row + _ROWS)
        deviation = values[rows] - mean[rows]
        mean[rows] += deviation / count
        if squares is not None:
            squares[rows] += deviation * (values[rows] - mean[rows])


def _turned(image: np.ndarray, member: int) -> np.ndarray:
    turned = np.rot90(image, member % 4)
    return turned[:, ::-1] if member >= 4 else turned


def _turned_back(image: np.ndarray, member: int) -> np.ndarray:
    return np.rot90(image[:, ::-1] if member >= 4 else image, -(member % 4))
