"""Training batches as a pure function of (seed, update): resuming is starting the counter there."""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from udl_tf.config import DataConfig
from udl_tf.data.store import ImageStore

HRMap = Callable[[int], tuple[np.ndarray, float, float]]
"""Number of a picture -> (uint8 map of the HR image's shape, a, b) of the values a + b map."""


def draw_batch(
    store: ImageStore,
    config: DataConfig,
    seed: int,
    update: int,
    hr_map: HRMap | None = None,
    rows: range | None = None,
) -> tuple[np.ndarray, ...]:
    """The batch of one update: random pictures, aligned random crops, flips and transposes.

    Args:
        store: the pictures, each with at least one patch.
        config: patch size, batch size and whether to augment.
        seed: of the run.
        update: number of the update, counted over all steps of the run.
        hr_map: a further map of each picture, of which the same patches are cut.
        rows: the patches of the batch to draw; None: all.

    Returns:
        (lr, hr): uint8, (rows, p/scale, p/scale, 3) and (rows, p, p, 3) for patch size p; and where
        there is a map its values there, float32.
    """
    rows = range(config.batch_size) if rows is None else rows
    lr_size = config.hr_patch_size // store.scale
    shape = (len(rows), lr_size, lr_size, 3)
    lr_batch = np.empty(shape, np.uint8)
    hr_batch = np.empty((shape[0], config.hr_patch_size, config.hr_patch_size, 3), np.uint8)
    map_batch = np.empty(hr_batch.shape, np.float32)
    s = store.scale
    for i, row in enumerate(rows):
        # Philox is counter-based: equal (seed, update, row) give equal draws, whoever draws.
        random = np.random.Generator(np.random.Philox(key=[seed, update], counter=[0, 0, 0, row]))
        index = int(random.integers(len(store)))
        lr, hr = store.pair(index)
        top = int(random.integers(lr.shape[0] - lr_size + 1))
        left = int(random.integers(lr.shape[1] - lr_size + 1))
        symmetry = random.random(3) < 0.5 if config.augment else (False, False, False)
        lr_batch[i] = _patch(lr, top, left, lr_size, symmetry)
        hr_place = top * s, left * s, lr_size * s, symmetry
        hr_batch[i] = _patch(hr, *hr_place)
        if hr_map is not None:
            values, a, b = hr_map(index)
            map_batch[i] = a + b * _patch(values, *hr_place).astype(np.float32)
    return (lr_batch, hr_batch) if hr_map is None else (lr_batch, hr_batch, map_batch)


def _patch(image, top: int, left: int, size: int, symmetry) -> np.ndarray:
    patch = image[top : top + size, left : left + size]
    flip_rows, flip_columns, transpose = symmetry
    if flip_rows:
        patch = patch[::-1]
    if flip_columns:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if transpose else patch


class Waiting:
    """How long the training waited for its batches.

    Attributes:
        seconds: so far.
    """

    def __init__(self):
        self.seconds = self._began = 0.0

    def timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches: how long it takes to get each is added to `seconds`."""

        def begin(_):
            self._began = time.perf_counter()
            return np.int64(0)

        def end(_):
            self.seconds += time.perf_counter() - self._began
            return np.int64(0)

        def clock(function):
            counter = tf.data.Dataset.counter()
            return counter.map(lambda i: tf.numpy_function(function, [i], tf.int64))

        # A zip asks its parts one after another, and here nothing may ask it ahead of time.
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
    of: int = 1,
) -> tf.data.Dataset:
    """An endless tf.data.Dataset of float32 batches from `first_update` on: lr, hr in 0..255.

    Args:
        store, config, seed, hr_map: as for draw_batch; with `hr_map` a batch has a third part.
        first_update: number of the first batch.
        shares: which shares of each batch are wanted, one after another.
        of: how many equal shares a batch has.
    """
    n, p = config.batch_size // of, config.hr_patch_size
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
    # Nothing here is left to be tuned, and its thread may keep a finished training for a minute.
    options.autotune.enabled = False
    batches = counter.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)
    return batches.with_options(options)
