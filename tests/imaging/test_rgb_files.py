import struct
import zlib

import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.rgb_files import list_images, read_rgb, write_rgb


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_round_trip(tmp_path, suffix):
    image = noise_image(13, 17)
    path = tmp_path / f"image{suffix}"
    write_rgb(path, image)
    assert np.array_equal(read_rgb(path), image)
    assert image_size(path) == (13, 17)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file remains


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_other_modes_become_rgb(tmp_path, mode):
    source = Image.fromarray(noise_image(10, 12)).convert(mode)
    source.save(tmp_path / "image.png")
    assert np.array_equal(read_rgb(tmp_path / "image.png"), np.asarray(source.convert("RGB")))


def deep_rgb_png() -> bytes:
    """An 8x8 RGB PNG of 16 bits per channel, which Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(8 * 6)) * 8)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bad_files(folder):
    good = folder / "good.png"
    write_rgb(good, noise_image(64, 64))
    (folder / "truncated.png").write_bytes(good.read_bytes()[:2000])
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "deep.png")
    (folder / "deep_rgb.png").write_bytes(deep_rgb_png())
    return {
        "truncated": "decoded",
        "text": "not an image",
        "empty": "not an image",
        "deep": "8 bits",
        "deep_rgb": "8 bits",
    }


def test_a_bad_file_is_one_clear_line(tmp_path):
    for name, part in {**bad_files(tmp_path), "missing": "no such file"}.items():
        with pytest.raises(UserError, match=part) as caught:
            read_rgb(tmp_path / f"{name}.png")
        assert f"{name}.png" in str(caught.value)


def test_folders(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        list_images(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no image"):
        list_images(tmp_path)
    write_rgb(tmp_path / "b.png", noise_image(4, 4))
    write_rgb(tmp_path / "A.BMP", noise_image(4, 4))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "c.ppm").write_bytes(b"P6 1 1 255\n\1\2\3")
    assert [p.name for p in list_images(tmp_path)] == ["A.BMP", "b.png", "c.ppm"]
    assert read_rgb(tmp_path / "c.ppm").tolist() == [[[1, 2, 3]]]
    with pytest.raises(UserError, match="is a file"):
        list_images(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"c\.png: not a regular file"):
        list_images(tmp_path)
