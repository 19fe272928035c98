"""Images made of smooth noise, which differ like photographs of different scenes."""

import io

import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.data.leaks import SIMILAR, find_leaks, thumbnail
from udl_tf.imaging.resize import imresize

IMAGE = noise_image(200, 300, 0)


def compressed(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def texture(seed, size=(200, 300), low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def correlation(a, b):
    return float(np.sum(thumbnail(a) * thumbnail(b)))


@pytest.mark.parametrize(
    "copy",
    [
        compressed(IMAGE),
        imresize(IMAGE, 0.67),  # as in Set5's "woman", of a training image of the BSD
        compressed(imresize(IMAGE, size=(320, 400))),
        np.rot90(IMAGE),
        IMAGE[:, ::-1],
        (IMAGE * 0.6 + 50).astype(np.uint8),
        IMAGE[2:-2, 1:-2],
    ],
)
def test_a_copy_of_an_image_is_found(copy):
    others = [thumbnail(noise_image(200, 300, seed)) for seed in range(1, 9)]
    ((index, test_index, value),) = find_leaks(
        [*others, thumbnail(copy)], [others[0] * 0, thumbnail(IMAGE)]
    )
    assert (index, test_index) == (8, 1)
    assert SIMILAR < value <= 1.0001


def test_unrelated_images_and_textures_are_not_found():
    images = [noise_image(200, 300, seed) for seed in range(20)]
    images += [texture(seed) for seed in range(20)]
    images += [texture(seed, low=120, high=130) for seed in range(20)]  # hardly any contrast
    images += [np.full((20, 30, 3), value, np.uint8) for value in (0, 0, 128, 255)]
    thumbnails = [thumbnail(image) for image in images]
    half = len(images) // 2
    assert list(find_leaks(thumbnails[:half], thumbnails[half:])) == []
    assert list(find_leaks(thumbnails[half:], thumbnails[:half])) == []
    assert list(find_leaks(thumbnails, [])) == []


def test_images_with_the_same_nodata_are_not_alike():
    """With 0 in place of nodata, their correlation would be 0.9999."""
    pair = [texture(seed, (48, 48), 115, 126).astype(np.float32) for seed in range(2)]
    for image in pair:
        image[:, 10:20] = np.nan
    assert abs(correlation(*pair)) < 0.5
    pair[1][...] = 2 * pair[0] + 30  # the same scene in another unit
    assert correlation(*pair) > SIMILAR
    assert not thumbnail(np.full((20, 20, 1), np.nan)).any()


def test_a_crop_is_not_found():
    """A limit: the thumbnails of whole images are compared."""
    assert correlation(IMAGE, IMAGE) == pytest.approx(1)
    assert correlation(IMAGE[:120, :180], IMAGE) < SIMILAR


def test_every_training_image_of_several_blocks_is_compared(monkeypatch):
    monkeypatch.setattr("udl_tf.data.leaks._BLOCK", 2)
    thumbnails = [thumbnail(noise_image(32, 32, seed)) for seed in range(5)]
    assert [(i, j) for i, j, _ in find_leaks(thumbnails, thumbnails)] == [(i, i) for i in range(5)]
