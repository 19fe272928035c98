"""Compression that the header of an image file states."""

import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.imaging.compression import Compression, lossy_compression

IMAGE = Image.fromarray(noise_image(24, 20))


def test_the_quality_of_jpeg_is_that_of_the_encoder(tmp_path):
    for quality in range(1, 101):
        for mode in ("RGB", "L"):
            IMAGE.convert(mode).save(tmp_path / "a.jpg", quality=quality)
            assert lossy_compression(tmp_path / "a.jpg") == Compression("JPEG", quality)


def test_tables_of_another_encoder_have_the_quality_whose_steps_are_as_coarse(tmp_path):
    IMAGE.save(tmp_path / "a.jpg", qtables=[[10] * 64, [20] * 64])
    found = lossy_compression(tmp_path / "a.jpg")
    IMAGE.save(tmp_path / "b.jpg", quality=found.quality)
    with Image.open(tmp_path / "b.jpg") as image:
        assert abs(np.mean(image.quantization[0]) - 10) < 0.5


@pytest.mark.parametrize("extra", [{}, {"exif": b"Exif\0\0"}, {"save_all": True}])
def test_lossy_and_lossless_webp_differ(tmp_path, extra):
    if "save_all" in extra:
        extra = {**extra, "append_images": [Image.fromarray(noise_image(24, 20, seed=1))]}
    transparent = IMAGE.convert("RGBA")
    transparent.putalpha(100)
    for image in (IMAGE, transparent):
        image.save(tmp_path / "a.webp", lossless=True, **extra)
        assert lossy_compression(tmp_path / "a.webp") is None
        image.save(tmp_path / "a.webp", quality=80, **extra)
        assert lossy_compression(tmp_path / "a.webp") == Compression("WebP")


def test_other_and_damaged_files_state_none(tmp_path):
    IMAGE.save(tmp_path / "a.png")
    IMAGE.save(tmp_path / "a.jpg")
    IMAGE.save(tmp_path / "a.webp")
    jpeg, webp = (tmp_path / "a.jpg").read_bytes(), (tmp_path / "a.webp").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(jpeg[:40])
    (tmp_path / "cut.webp").write_bytes(webp[:12])
    (tmp_path / "loop.webp").write_bytes(webp[:12] + b"ANMF" + bytes(10_000))
    (tmp_path / "empty.jpg").touch()
    for name in ("a.png", "cut.jpg", "cut.webp", "loop.webp", "empty.jpg", "none.jpg"):
        assert lossy_compression(tmp_path / name) is None


def test_the_words_name_the_quality():
    assert str(Compression("JPEG", 75)) == "JPEG of quality 75"
    assert str(Compression("WebP")) == "lossy WebP"
