"""PNG files that Pillow and libpng read as written."""

import io

import imagecodecs
import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from udl_tf.data.image_source import BUNDLED_FOLDER
from udl_tf.imaging import imresize, png_writing, read_rgb
from udl_tf.imaging.png_writing import write_png
from udl_tf.imaging.rgb_files import list_images


def png_bytes(pixels: np.ndarray, **metadata) -> bytes:
    file = io.BytesIO()
    write_png(file, pixels, **metadata)
    return file.getvalue()


def pixels_of(channels: int, dtype: type, height: int = 75, width: int = 40) -> np.ndarray:
    """Returns an image that is smooth along rows at the top and along columns at the bottom."""
    noise = np.stack([noise_image(height, width, i)[..., 0] for i in range(channels)], axis=-1)
    smooth = np.cumsum(noise % 5, axis=1)
    smooth[height // 2 :] = np.cumsum(noise[height // 2 :] % 5, axis=0)
    return np.squeeze((smooth * (1 if dtype == np.uint8 else 257)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(75, 40), (1, 1), (1, 9), (9, 1), (64, 3), (65, 3), (128, 3)])
def test_other_readers_find_the_same_pixels(dtype, channels, size):
    image = pixels_of(channels, dtype, *size).reshape(*size, channels)
    written = image[..., 0] if channels == 1 else image
    data = png_bytes(written)
    decoded = imagecodecs.png_decode(data)
    np.testing.assert_array_equal(decoded.reshape(image.shape), image)
    assert decoded.dtype == dtype
    if dtype == np.uint8:
        with Image.open(io.BytesIO(data)) as file:
            np.testing.assert_array_equal(np.asarray(file), written)


def test_an_array_of_another_memory_order():
    image = noise_image(20, 30)
    for view in (image[::-1, ::2], image.transpose(1, 0, 2), image[..., ::-1], image[..., 1]):
        np.testing.assert_array_equal(imagecodecs.png_decode(png_bytes(view)), view)
    big_endian = image.astype(">u2")
    np.testing.assert_array_equal(imagecodecs.png_decode(png_bytes(big_endian)), image)


def test_each_row_has_its_best_filter():
    rows = np.arange(0, 200, 5, dtype=np.uint8)
    along = np.tile(rows, (10, 1))
    along[::2] += 100  # rows differ from those above
    across = np.tile(rows[:, None], (1, 40)) + noise_image(1, 40)[..., 0]
    assert set(png_writing._filtered(along)[1:, 0]) == {1}  # left
    assert set(png_writing._filtered(across)[1:, 0]) == {2}  # above
    steps = 5 * np.arange(20)
    between = (100 + steps - steps[:, None]).astype(np.uint8)  # mean of left and above
    assert set(png_writing._filtered(between)[1:, 0]) == {3}


def test_the_result_is_hardly_larger_than_that_of_pillow():
    ours = theirs = 0
    for path in list_images(BUNDLED_FOLDER / "test"):
        image = imresize(read_rgb(path), 2)  # smooth, as results are
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=3)
        ours, theirs = ours + len(png_bytes(image)), theirs + file.tell()
    assert ours < 1.02 * theirs


def test_pixels_of_more_than_one_chunk(monkeypatch):
    monkeypatch.setattr(png_writing, "_LARGEST", 1000)
    image = noise_image(40, 40)
    data = png_bytes(image)
    assert data.count(b"IDAT") == 5
    np.testing.assert_array_equal(imagecodecs.png_decode(data), image)
    with Image.open(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(np.asarray(file), image)


def test_metadata_are_those_that_pillow_writes():
    texts = PngInfo()
    texts.add_text("Software", "a program")
    exif = Image.Exif()
    exif[0x010F] = "maker"
    options = {"pnginfo": texts, "dpi": (300, 300), "icc_profile": b"profile", "exif": exif}
    image, theirs = noise_image(9, 8), io.BytesIO()
    Image.fromarray(image).save(theirs, "PNG", **options)
    with Image.open(io.BytesIO(png_bytes(image, **options))) as ours:
        expected = Image.open(theirs)
        assert ours.info == expected.info
        assert len(ours.info) > 3
        assert ours.getexif() == expected.getexif()
        np.testing.assert_array_equal(np.asarray(ours), image)
