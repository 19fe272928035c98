import time

import numpy as np
import pytest
import tensorflow as tf

from udl_tf.config import DataConfig
from udl_tf.data.pipeline import Waiting, draw_batch, training_batches
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore

CONFIG = DataConfig(hr_patch_size=16, batch_size=8)


@pytest.fixture
def store(image_folder):
    return ImageStore(folder_dataset(image_folder, 2).sources, 2, memory_gb=1)


def symmetries(image):
    for flipped in (image, image[::-1]):
        for other in (flipped, flipped[:, ::-1]):
            yield other
            yield other.transpose(1, 0, 2)


def places(patch, image):
    """Positions at which `patch` occurs in `image`."""
    windows = np.lib.stride_tricks.sliding_window_view(image, patch.shape)[:, :, 0]
    return {tuple(p) for p in np.argwhere((windows == patch).all(axis=(2, 3, 4)))}


def test_patches_are_aligned_crops_under_one_of_eight_symmetries(store):
    lr_batch, hr_batch = draw_batch(store, CONFIG, seed=1, update=0)
    assert (lr_batch.shape, hr_batch.shape) == ((8, 8, 8, 3), (8, 16, 16, 3))
    assert lr_batch.dtype == hr_batch.dtype == np.uint8
    for lr, hr in zip(lr_batch, hr_batch, strict=True):
        found = [
            (number, top, left)
            for number, (small, large) in enumerate(
                zip(symmetries(lr), symmetries(hr), strict=True)
            )
            for index in range(len(store))
            for top, left in places(small, store.pair(index)[0])
            if (2 * top, 2 * left) in places(large, store.pair(index)[1])
        ]
        assert found, "an HR patch is not at the position of its LR patch"


def test_all_images_and_all_symmetries_are_drawn(store):
    batches = [draw_batch(store, CONFIG, 0, update)[1] for update in range(40)]
    assert len({patch.tobytes() for batch in batches for patch in batch}) > 300
    plain = DataConfig(hr_patch_size=16, batch_size=8, augment=False)
    patch = draw_batch(store, plain, 0, 0)[1][0]
    assert any(places(patch, store.pair(i)[1]) for i in range(len(store)))


def test_a_batch_is_a_pure_function_of_seed_and_update(store):
    first = [draw_batch(store, CONFIG, 7, update) for update in (0, 1, 2)]
    again = [draw_batch(store, CONFIG, 7, update) for update in (2, 0, 1)]
    for a, b in zip(first, [again[1], again[2], again[0]], strict=True):
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(first[0][1], draw_batch(store, CONFIG, 8, 0)[1])
    assert not np.array_equal(first[0][1], first[1][1])


def test_the_dataset_starts_at_any_update(store):
    batches = training_batches(store, CONFIG, seed=5, first_update=3).take(2)
    for update, (lr, hr) in enumerate(batches.as_numpy_iterator(), start=3):
        expected = draw_batch(store, CONFIG, 5, update)
        assert lr.dtype == hr.dtype == np.float32
        assert np.array_equal(lr, expected[0])
        assert np.array_equal(hr, expected[1])


def test_a_map_is_cropped_like_its_image(store):
    """With the HR image itself as the map, the patches of both are equal."""
    batches = training_batches(store, CONFIG, 3, 0, lambda index: (store.pair(index)[1], 7.0, 0.5))
    for _, hr, values in batches.take(2):
        assert np.array_equal(values, 7.0 + 0.5 * hr.numpy())


def test_the_shares_of_a_batch_are_disjoint_and_complete(store):
    """As for two workers of two replicas each."""
    whole = draw_batch(store, CONFIG, 5, 3)[1]
    shares = [
        hr
        for first in (0, 2)
        for _, hr in training_batches(store, CONFIG, 5, 3, None, range(first, first + 2), 4).take(2)
    ]
    assert np.array_equal(np.concatenate(shares), whole)


def test_waiting_time_is_measured(store):
    plain = list(training_batches(store, CONFIG, 3, 0).take(3).as_numpy_iterator())
    waiting = Waiting()

    def delay(batch):
        time.sleep(0.05)
        return batch

    batches = training_batches(store, CONFIG, 3, 0).take(3)
    delayed = tf.data.Dataset.zip(
        batches.map(lambda lr, hr: tf.numpy_function(delay, [lr], tf.float32)), batches
    ).map(lambda lr, pair: (lr, pair[1]))
    for (lr, hr), expected in zip(waiting.timed(delayed), plain, strict=True):
        assert np.array_equal(lr, expected[0])
        assert np.array_equal(hr, expected[1])
    assert 0.15 <= waiting.seconds < 2


def test_autotuning_of_tf_data_is_off(store):
    """Its thread sleeps for up to a minute, and deleting the iterator would wait for it."""
    timed = Waiting().timed(training_batches(store, CONFIG, 3, 0))
    assert timed.options().autotune.enabled is False
