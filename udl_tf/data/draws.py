"""Draws of training patches: the batch of an update is a pure function of (seed, update)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from logging import getLogger

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.data.corners import admissible_corners
from udl_tf.data.degradations import PatchDegradations
from udl_tf.data.philox import RowDraws
from udl_tf.data.store import ImageStore
from udl_tf.errors import UserError

log = getLogger(__name__)

HRMap = Callable[[int], tuple[np.ndarray, float, float]]
"""Index of an image -> (uint8 map of the HR image's shape, a, b), for the values a + b * map."""

Batch = tuple[np.ndarray, ...]
"""(lr, hr) of the store's dtype, or (lr, hr, map, a, b) with float32 a and b, of cut_batch."""

_TOGETHER = 16  # updates that are drawn together, in little more than the time of one


class CropDraws:
    """Draws where the patches of each update are: random images, crops, flips, transposition.

    Args:
        store: training images, each at least as large as a patch.
        config: patch size, share of nodata, batch size and whether to augment.
        seed: seed of the run.

    Raises:
        UserError: if no image has a patch with enough data.
    """

    def __init__(self, store: ImageStore, config: DataConfig, seed: int):
        self._store, self._config, self._seed = store, config, seed
        self._corners = _corners(store, config)
        self._usable = np.array(
            [i for i in range(len(store)) if i not in self._corners or len(self._corners[i])]
        )
        if not len(self._usable):
            raise UserError(
                f"every training patch would have more than {100 * config.nodata_share:g} % of"
                " pixels without data: raise data.nodata_share, or lower data.hr_patch_size"
            )
        self._drawn = lru_cache(maxsize=8)(self._draw)  # for several threads and shares

    def __call__(self, update: int, rows: range | None = None) -> np.ndarray:
        """Returns the crops of an update, a pure function of (seed, update).

        Args:
            update: number of the update, counted over all steps of the run.
            rows: rows of the batch; None: all.

        Returns:
            int32 (n, 6): index of an image, top and left in LR pixels, and whether to flip the
            rows, flip the columns and then transpose (0 or 1).
        """
        rows = range(self._config.batch_size) if rows is None else rows
        group, index = divmod(update, _TOGETHER)
        return self._drawn(group, rows)[index]

    def _draw(self, group: int, rows: range) -> np.ndarray:
        """Returns the crops of a group of updates, (updates, n, 6)."""
        store, first = self._store, group * _TOGETHER
        size = self._config.hr_patch_size // store.scale
        updates = np.repeat(np.arange(first, first + _TOGETHER), len(rows))
        keys = np.stack([np.full(len(updates), self._seed), updates], axis=1)
        draws = RowDraws(keys, np.tile(rows, _TOGETHER))
        crops = np.zeros((len(updates), 6), np.int32)
        chosen = draws.integers(np.full(len(updates), len(self._usable)))
        crops[:, 0] = index = self._usable[chosen]
        rows_of, columns_of = np.array([store.lr_size(i) for i in index.tolist()]).T - size + 1
        # Of an image with nodata, the first draw is the number of an admissible corner.
        counts = np.array([len(self._corners.get(i, ())) for i in index.tolist()])
        crops[:, 1] = draws.integers(np.where(counts, counts, rows_of))
        crops[:, 2] = draws.integers(np.where(counts, 1, columns_of))
        for row in np.flatnonzero(counts).tolist():
            corner = self._corners[int(index[row])][crops[row, 1]]
            crops[row, 1:3] = divmod(corner, columns_of[row])
        if self._config.augment:
            crops[:, 3:] = draws.coins(3)
        crops.flags.writeable = False  # the next updates get parts of the same array
        return crops.reshape(_TOGETHER, len(rows), 6)


def _corners(store: ImageStore, config: DataConfig) -> dict[int, np.ndarray]:
    """Returns the admissible corners of the images with nodata, by index."""
    if not store.pixels.measured:
        return {}
    size, found = config.hr_patch_size // store.scale, {}
    for index in range(len(store)):
        hr = store.pair(index)[1]
        corners = admissible_corners(hr, store.scale, size, config.nodata_share)
        if corners is not None:
            found[index] = corners
    if empty := sum(not len(corners) for corners in found.values()):
        log.info("not drawn: %d training images without a patch of enough data", empty)
    return found


def cut_lr(
    store: ImageStore,
    config: DataConfig,
    crops: np.ndarray,
    degrade: PatchDegradations | None = None,
) -> np.ndarray:
    """Cuts the LR patches of a batch, (n, p / scale, p / scale, c) for HR patch size p.

    They are degraded upright and then flipped: images are compressed upright, and flips only
    augment the data.

    Args:
        store, config, crops, degrade: as for cut_batch.
    """
    size, pixels = config.hr_patch_size // store.scale, store.pixels
    batch = np.empty((len(crops), size, size, pixels.channels), pixels.dtype)
    for i, (index, top, left, *symmetry) in enumerate(crops.tolist()):
        image, place = store.pair(index)[0], (top, left, size)
        patch = _crop(image, *place) if degrade is None else degrade(image, *place, i)
        batch[i] = _turned(patch, symmetry)
    return batch


def cut_batch(
    store: ImageStore,
    config: DataConfig,
    crops: np.ndarray,
    hr_map: HRMap | None = None,
    degrade: PatchDegradations | None = None,
) -> Batch:
    """Cuts the patches of a batch.

    Args:
        store, config: as for CropDraws.
        crops: (n, 6), as it returns them.
        hr_map: further map of each image, from which the HR patches are also cut.
        degrade: degradations of these LR patches, or None.

    Returns:
        (lr, hr), of the store's dtype and shapes (n, p / scale, p / scale, c) and (n, p, p, c) for
        n rows and patch size p; with `hr_map` (lr, hr, map, a, b), whose values are a + b * map:
        uint8 (n, p, p, c), and float32 (n, 1, 1, 1) twice.
    """
    scale, size, pixels = store.scale, config.hr_patch_size, store.pixels
    lr_batch = cut_lr(store, config, crops, degrade)
    hr_batch = np.empty((len(crops), size, size, pixels.channels), pixels.dtype)
    map_batch = np.empty(hr_batch.shape, np.uint8)
    a, b = np.empty((2, len(crops), 1, 1, 1), np.float32)
    for i, (index, top, left, *symmetry) in enumerate(crops.tolist()):
        place = top * scale, left * scale, size
        hr_batch[i] = _turned(_crop(store.pair(index)[1], *place), symmetry)
        if hr_map is not None:
            whole_map, a[i], b[i] = hr_map(index)
            map_batch[i] = _turned(_crop(whole_map, *place), symmetry)
    return (lr_batch, hr_batch) if hr_map is None else (lr_batch, hr_batch, map_batch, a, b)


def draw_degradations(
    config: DataConfig, seed: int, update: int, rows: range | None = None
) -> PatchDegradations | None:
    """Returns the degradations of the LR patches of an update; None if the config has none.

    Args:
        config, seed, update, rows: as for CropDraws. The crops are the same with and without.
    """
    if not config.degradations:
        return None
    rows = range(config.batch_size) if rows is None else rows
    return PatchDegradations(config.degradations, seed, update, rows)


def draw_batch(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    update: int,
    hr_map: HRMap | None = None,
    rows: range | None = None,
) -> Batch:
    """Draws and cuts the batch of a single update; arguments as for CropDraws and cut_batch."""
    crops = CropDraws(store, config, seed)(update, rows)
    degrade = draw_degradations(config, seed, update, rows)
    return cut_batch(store, config, crops, hr_map, degrade)


def _crop(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    return image[top : top + size, left : left + size]


def _turned(patch: np.ndarray, symmetry: Sequence[int]) -> np.ndarray:
    """Returns a view of a patch, flipped and transposed."""
    flip_rows, flip_columns, transpose = symmetry
    if flip_rows:
        patch = patch[::-1]
    if flip_columns:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if transpose else patch
