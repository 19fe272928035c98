import logging

import keras
import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.config import DataConfig
from udl_tf.data import resident
from udl_tf.data.draws import CropDraws, draw_batch
from udl_tf.data.resident import ResidentSet, resident_set
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.imaging.rgb_files import write_rgb

CONFIG = DataConfig(hr_patch_size=16, batch_size=8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Images of different sizes, the smallest as large as a patch."""
    folder = tmp_path_factory.mktemp("images")
    for index, size in enumerate([(16, 16), (40, 24), (18, 50), (32, 32)]):
        write_rgb(folder / f"{index}.png", noise_image(*size, index))
    return ImageStore(folder_dataset(folder, 2).sources, 2, memory_gb=1)


def hr_map(store):
    return lambda index: (255 - store.pair(index)[1], float(index), 0.5 + index)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("mapped", [False, True])
def test_batches_equal_those_of_the_host(store, augment, mapped):
    """To the bit; 20 batches of 8 contain all images and symmetries."""
    config = CONFIG.model_copy(update={"augment": augment})
    maps = hr_map(store) if mapped else None
    on_device = ResidentSet(store, config, maps)
    for update in range(20):
        rows = range(8) if update else range(2, 5)  # a share of a batch
        batch = on_device(*on_device.places(CropDraws(store, config, 3)(update, rows)))
        expected = draw_batch(store, config, 3, update, maps, rows)
        assert len(batch) == len(expected) == (5 if mapped else 2)
        for part, values in zip(batch, expected, strict=True):
            part = keras.ops.convert_to_numpy(part)
            assert part.dtype == values.dtype
            assert np.array_equal(part, values)


@pytest.mark.parametrize(
    ("wanted", "free", "line"),
    [
        (True, 0, "training images on the device: 0.00 GB"),
        (False, 10**9, "training images on the host: as configured"),
        ("auto", 0, None),
        ("auto", 10**9, "training images on the device: 0.00 GB"),
        ("auto", 10**4, "on the host: 0.00 GB is more than a quarter of the free 0.00 GB"),
    ],
)
def test_the_set_is_resident_if_it_fits_into_the_gpu(
    store, wanted, free, line, monkeypatch, caplog
):
    """It takes 15 kB: 3 * (16 * 16 + 40 * 24 + 18 * 50 + 32 * 32) / 4 * 5 without gaps."""
    monkeypatch.setattr(resident, "free_gpu_memory", lambda: free)
    with caplog.at_level(logging.INFO):
        found = resident_set(store, CONFIG.model_copy(update={"resident": wanted}))
    assert (found is not None) == (line is not None and "on the device:" in line)
    assert (caplog.messages == []) if line is None else (line in caplog.messages[0])
