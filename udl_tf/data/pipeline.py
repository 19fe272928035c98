"""Training batches as a pure function of (seed, update), so a run can resume at any update."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from udl_tf.config import DataConfig
from udl_tf.data.store import ImageStore

HRMap = Callable[[int], tuple[np.ndarray, float, float]]
"""Index of an image -> (uint8 map of the HR image's shape, a, b), for the values a + b * map."""


def draw_batch(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    update: int,
    hr_map: HRMap | None = None,
    rows: range | None = None,
) -> tuple[np.ndarray, ...]:
    """Draws the batch of one update: random images, aligned random crops, flips, transposition.

    Args:
        store: training images, each at least as large as a patch.
        config: patch size, batch size and whether to augment.
        seed: seed of the run.
        update: number of the update, counted over all steps of the run.
        hr_map: further map of each image, from which the HR patches are also cut.
        rows: rows of the batch to draw; None: all.

    Returns:
        (lr, hr), uint8 of shapes (n, p / scale, p / scale, 3) and (n, p, p, 3) for n rows and patch
        size p; with `hr_map` also the map's values, float32 (n, p, p, 3).
    """
    rows = range(config.batch_size) if rows is None else rows
    scale, hr_size = store.scale, config.hr_patch_size
    lr_size = hr_size // scale
    lr_batch = np.empty((len(rows), lr_size, lr_size, 3), np.uint8)
    hr_batch = np.empty((len(rows), hr_size, hr_size, 3), np.uint8)
    map_batch = np.empty(hr_batch.shape, np.float32)
    for i, row in enumerate(rows):
        # Philox is counter-based: equal (seed, update, row) give equal draws in every process.
        random = np.random.Generator(np.random.Philox(key=[seed, update], counter=[0, 0, 0, row]))
        index = int(random.integers(len(store)))
        lr, hr = store.pair(index)
        top = int(random.integers(lr.shape[0] - lr_size + 1))
        left = int(random.integers(lr.shape[1] - lr_size + 1))
        symmetry = tuple(random.random(3) < 0.5) if config.augment else (False, False, False)
        lr_batch[i] = _patch(lr, top, left, lr_size, symmetry)
        hr_crop = top * scale, left * scale, hr_size, symmetry
        hr_batch[i] = _patch(hr, *hr_crop)
        if hr_map is not None:
            values, a, b = hr_map(index)
            map_batch[i] = a + b * _patch(values, *hr_crop).astype(np.float32)
    return (lr_batch, hr_batch) if hr_map is None else (lr_batch, hr_batch, map_batch)


def _patch(
    image: np.ndarray, top: int, left: int, size: int, symmetry: Sequence[bool]
) -> np.ndarray:
    """Returns a view of a square crop, flipped and transposed."""
    patch = image[top : top + size, left : left + size]
    flip_rows, flip_columns, transpose = symmetry
    if flip_rows:
        patch = patch[::-1]
    if flip_columns:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if transpose else patch


class Waiting:
    """Measures how long training waits for its batches.

    Attributes:
        seconds: total waiting time so far.
    """

    def __init__(self):
        self.seconds = self._began = 0.0

    def timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the same batches; the time taken to get each one is added to `seconds`."""

        def begin(_):
            self._began = time.perf_counter()
            return np.int64(0)

        def end(_):
            self.seconds += time.perf_counter() - self._began
            return np.int64(0)

        def clock(function):
            counter = tf.data.Dataset.counter()
            return counter.map(lambda i: tf.numpy_function(function, [i], tf.int64))

        # zip gets its elements in this order: begin, the batch, end. Prefetching, which TensorFlow
        # adds by default, would run ahead of the training loop and hide the waiting.
        timed = tf.data.Dataset.zip(clock(begin), batches, clock(end)).map(lambda _, x, __: x)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return timed.with_options(options)


def training_batches(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    first_update: int,
    hr_map: HRMap | None = None,
    shares: range = range(1),
    num_shares: int = 1,
) -> tf.data.Dataset:
    """Returns an endless tf.data.Dataset of float32 batches (lr, hr) in 0..255.

    Args:
        store, config, seed, hr_map: as for draw_batch; with `hr_map` a batch is (lr, hr, values).
        first_update: number of the update that the first batch is for.
        shares: shares of each batch to produce, one after another: those of this worker's replicas.
        num_shares: number of equal shares that each batch is divided into.
    """
    n, p = config.batch_size // num_shares, config.hr_patch_size
    q = p // store.scale
    parts = [(q, tf.uint8), (p, tf.uint8), (p, tf.float32)][: 2 if hr_map is None else 3]

    def draw(number):
        update, share = divmod(int(number), len(shares))
        first = shares[share] * n
        return draw_batch(store, config, seed, update, hr_map, range(first, first + n))

    def batch(number):
        drawn = tf.numpy_function(draw, [number], [dtype for _, dtype in parts], stateful=False)
        return tuple(
            tf.cast(tf.ensure_shape(x, (n, side, side, 3)), tf.float32)
            for x, (side, _) in zip(drawn, parts, strict=True)
        )

    counter = tf.data.Dataset.counter(start=first_update * len(shares))
    options = tf.data.Options()
    # The pipeline has nothing to tune, and deleting its iterator would wait up to a minute for the
    # autotuning thread.
    options.autotune.enabled = False
    batches = counter.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)
    return batches.with_options(options)
