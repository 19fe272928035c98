import struct
import zlib

import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.rgb_files import image_files, image_size, read_rgb, write_rgb


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_round_trip(tmp_path, suffix):
    image = noise_image(13, 17)
    path = tmp_path / f"image{suffix}"
    write_rgb(path, image)
    assert np.array_equal(read_rgb(path), image)
    assert image_size(path) == (13, 17)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing temporary is left


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_other_modes_become_rgb(tmp_path, mode):
    source = Image.fromarray(noise_image(10, 12)).convert(mode)
    source.save(tmp_path / "image.png")
    assert np.array_equal(read_rgb(tmp_path / "image.png"), np.asarray(source.convert("RGB")))


def deep_rgb_png() -> bytes:
    """An 8x8 RGB PNG of 16 bits a channel, which Pillow cannot write."""

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
    (folder / "text.png").write_text("no picture")
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
        image_files(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no image"):
        image_files(tmp_path)
    write_rgb(tmp_path / "b.png", noise_image(4, 4))
    write_rgb(tmp_path / "A.BMP", noise_image(4, 4))
    (tmp_path / "notes.txt").write_text("")
    assert [p.name for p in image_files(tmp_path)] == ["A.BMP", "b.png"]
    with pytest.raises(UserError, match="is a file"):
        image_files(tmp_path / "b.png")


def test_to_uint8_clips_and_rounds_half_up():
    assert to_dtype(np.array([-3.0, 0.49, 0.5, 254.5, 300.0]), np.uint8).tolist() == [
        0,
        0,
        1,
        255,
        255,
    ]
