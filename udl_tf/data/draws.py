"""Draws of training patches: the batch of an update is a pure function of (seed, update)."""

from collections.abc import Callable, Sequence

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.data.philox import RowDraws
from udl_tf.data.store import ImageStore

HRMap = Callable[[int], tuple[np.ndarray, float, float]]
"""Index of an image -> (uint8 map of the HR image's shape, a, b), for the values a + b * map."""

Batch = tuple[np.ndarray, ...]
"""uint8 (lr, hr), or (lr, hr, map, a, b) with float32 a and b, as draw_batch returns it."""


def draw_crops(
    store: ImageStore, config: DataConfig, seed: int, update: int, rows: range | None = None
) -> np.ndarray:
    """Draws where the patches of one update are: random images, crops, flips, transposition.

    Args:
        store: training images, each at least as large as a patch.
        config: patch size, batch size and whether to augment.
        seed: seed of the run.
        update: number of the update, counted over all steps of the run.
        rows: rows of the batch to draw; None: all.

    Returns:
        int32 (n, 6): index of an image, top and left in LR pixels, and whether to flip the rows,
        flip the columns and then transpose (0 or 1).
    """
    rows = range(config.batch_size) if rows is None else rows
    size = config.hr_patch_size // store.scale
    draws = RowDraws((seed, update), rows)
    crops = np.zeros((len(rows), 6), np.int32)
    crops[:, 0] = index = draws.integers(np.full(len(rows), len(store)))
    heights, widths = np.array([store.lr_size(i) for i in index.tolist()]).T
    crops[:, 1] = draws.integers(heights - size + 1)
    crops[:, 2] = draws.integers(widths - size + 1)
    if config.augment:
        crops[:, 3:] = draws.coins(3)
    return crops


def draw_batch(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    update: int,
    hr_map: HRMap | None = None,
    rows: range | None = None,
) -> Batch:
    """Draws the batch of one update, as draw_crops says, and cuts the patches.

    Args:
        store, config, seed, update, rows: as for draw_crops.
        hr_map: further map of each image, from which the HR patches are also cut.

    Returns:
        (lr, hr), uint8 of shapes (n, p / scale, p / scale, 3) and (n, p, p, 3) for n rows and patch
        size p; with `hr_map` (lr, hr, map, a, b), whose values are a + b * map: uint8 (n, p, p, 3),
        and float32 (n, 1, 1, 1) twice.
    """
    crops = draw_crops(store, config, seed, update, rows)
    scale, hr_size = store.scale, config.hr_patch_size
    lr_size = hr_size // scale
    lr_batch = np.empty((len(crops), lr_size, lr_size, 3), np.uint8)
    hr_batch = np.empty((len(crops), hr_size, hr_size, 3), np.uint8)
    map_batch = np.empty(hr_batch.shape, np.uint8)
    a, b = np.empty((2, len(crops), 1, 1, 1), np.float32)
    for i, (index, top, left, *symmetry) in enumerate(crops.tolist()):
        lr, hr = store.pair(index)
        lr_batch[i] = _patch(lr, top, left, lr_size, symmetry)
        hr_crop = top * scale, left * scale, hr_size, symmetry
        hr_batch[i] = _patch(hr, *hr_crop)
        if hr_map is not None:
            whole_map, a[i], b[i] = hr_map(index)
            map_batch[i] = _patch(whole_map, *hr_crop)
    return (lr_batch, hr_batch) if hr_map is None else (lr_batch, hr_batch, map_batch, a, b)


def _patch(
    image: np.ndarray, top: int, left: int, size: int, symmetry: Sequence[int]
) -> np.ndarray:
    """Returns a view of a square crop, flipped and transposed."""
    patch = image[top : top + size, left : left + size]
    flip_rows, flip_columns, transpose = symmetry
    if flip_rows:
        patch = patch[::-1]
    if flip_columns:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if transpose else patch
