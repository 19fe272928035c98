"""Training batches as a pure function of (seed, update): resuming is starting the counter there."""

import numpy as np
import tensorflow as tf

from udl_tf.config import DataConfig
from udl_tf.data.store import ImageStore


def draw_batch(
    store: ImageStore, config: DataConfig, seed: int, update: int
) -> tuple[np.ndarray, np.ndarray]:
    """The batch of one update: random pictures, aligned random crops, flips and transposes.

    Args:
        store: the pictures, each with at least one patch.
        config: patch size, batch size and whether to augment.
        seed: of the run.
        update: number of the update, counted over all steps of the run.

    Returns:
        (lr, hr): uint8, (batch, p/scale, p/scale, 3) and (batch, p, p, 3) for patch size p.
    """
    # Philox is counter-based: equal (seed, update) give equal draws, whatever was drawn before.
    random = np.random.Generator(np.random.Philox(key=[seed, update]))
    lr_size = config.hr_patch_size // store.scale
    shape = (config.batch_size, lr_size, lr_size, 3)
    lr_batch = np.empty(shape, np.uint8)
    hr_batch = np.empty((shape[0], config.hr_patch_size, config.hr_patch_size, 3), np.uint8)
    for i in range(config.batch_size):
        lr, hr = store.pair(int(random.integers(len(store))))
        top = int(random.integers(lr.shape[0] - lr_size + 1))
        left = int(random.integers(lr.shape[1] - lr_size + 1))
        symmetry = random.random(3) < 0.5 if config.augment else (False, False, False)
        lr_batch[i] = _patch(lr, top, left, lr_size, symmetry)
        s = store.scale
        hr_batch[i] = _patch(hr, top * s, left * s, lr_size * s, symmetry)
    return lr_batch, hr_batch


def _patch(image, top: int, left: int, size: int, symmetry) -> np.ndarray:
    patch = image[top : top + size, left : left + size]
    flip_rows, flip_columns, transpose = symmetry
    if flip_rows:
        patch = patch[::-1]
    if flip_columns:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if transpose else patch


def training_batches(
    store: ImageStore, config: DataConfig, seed: int, first_update: int
) -> tf.data.Dataset:
    """An endless tf.data.Dataset of float32 (lr, hr) batches in 0..255 from `first_update` on.

    Under a tf.distribute strategy each batch is split over the replicas.
    """
    n, p = config.batch_size, config.hr_patch_size
    q = p // store.scale

    def draw(update):
        return draw_batch(store, config, seed, int(update))

    def batch(update):
        lr, hr = tf.numpy_function(draw, [update], [tf.uint8, tf.uint8], stateful=False)
        lr, hr = tf.ensure_shape(lr, (n, q, q, 3)), tf.ensure_shape(hr, (n, p, p, 3))
        return tf.cast(lr, tf.float32), tf.cast(hr, tf.float32)

    counter = tf.data.Dataset.counter(start=first_update)
    return counter.map(batch, num_parallel_calls=2, deterministic=True).prefetch(2)
