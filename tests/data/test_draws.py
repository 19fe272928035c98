import numpy as np
import pytest

from udl_tf.config import DataConfig
from udl_tf.data.draws import draw_batch
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


def test_a_map_is_cropped_like_its_image(store):
    """With the HR image itself as the map, the patches of both are equal."""
    first = store.pair(0)[1]

    def hr_map(index):
        hr = store.pair(index)[1]
        return hr, 7.0, (0.25 if np.array_equal(hr, first) else 0.5)

    lr, hr, levels, a, b = draw_batch(store, CONFIG, 3, 0, hr_map)
    assert np.array_equal(lr, draw_batch(store, CONFIG, 3, 0)[0])
    assert np.array_equal(levels, hr)
    assert levels.dtype == np.uint8
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((8, 1, 1, 1), "float32") * 2
    assert (a == 7).all()
    for patch, unit in zip(hr, b, strict=True):
        found = any(places(p, first) for p in symmetries(patch))
        assert unit.item() == (0.25 if found else 0.5)
    assert len(np.unique(b)) == 2
