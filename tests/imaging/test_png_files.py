"""Damaged chunks of a PNG that hold no pixels do not cost the image."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from helpers.images import encoded, noise_image
from PIL import ExifTags, Image

from udl_tf.errors import UserError
from udl_tf.imaging import image_size, read_image, read_rgb
from udl_tf.imaging.png_chunks import SIGNATURE

RGB = noise_image(12, 9)
AFTER_HEADER = 8 + 25  # signature, IHDR
TEXT = b"Title\0"


def chunk(kind, data, damaged=False):
    crc = zlib.crc32(kind + data) ^ int(damaged)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_of(depth):
    """Returns RGB as a PNG of 8 or 16 bits."""
    if depth == 8:
        return encoded(RGB, "PNG")
    return imagecodecs.png_encode(RGB.astype(np.uint16) * 257)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (chunk(b"tEXt", TEXT + b"hello", damaged=True), "tEXt (damaged or too large)"),
        (chunk(b"tIME", bytes(7), damaged=True), None),  # not carried over anyway
        (chunk(b"iCCP", b"name", damaged=True), "damaged iCCP chunk skipped"),
        (chunk(b"zTXt", TEXT + b"\0" + zlib.compress(bytes(2_000_000))), "PNG text"),
        (chunk(b"tEXt", TEXT + b"a" * 2_000_000), "tEXt (damaged or too large)"),
        (chunk(b"pHYs", b"too short"), None),  # of an unknown unit
        (chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff"), "damaged EXIF"),
        (chunk(b"eXIf", b"garbage garbage"), "damaged EXIF"),
        (chunk(b"pHYs", b"short"), "pHYs (damaged or too large)"),
    ],
)
def test_extra_data_does_not_cost_the_image(tmp_path, depth, behind, extra, named):
    data, path = png_of(depth), tmp_path / "a.png"
    place = data.index(b"IEND") - 4 if behind else AFTER_HEADER
    path.write_bytes(data[:place] + extra + data[place:])
    found = read_image(path)
    assert np.array_equal(found.pixels // (257 if depth == 16 else 1), RGB)
    assert (*found.notes, *found.metadata.omitted) == (() if named is None else (named,))
    assert image_size(path) == (12, 9)
    if depth == 8:
        assert np.array_equal(read_rgb(path), RGB)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", [b"IDAT", b"IHDR", b"tRNS", b"PLTE"])
def test_damage_of_pixels_is_an_error(tmp_path, depth, kind):
    data = bytearray(png_of(depth))
    if kind in (b"tRNS", b"PLTE"):
        data[AFTER_HEADER:AFTER_HEADER] = chunk(kind, bytes(6))
    place = data.index(kind)
    (length,) = struct.unpack_from(">I", data, place - 4)
    data[place + 4 + length] ^= 1  # the first byte of the checksum
    (tmp_path / "a.png").write_bytes(data)
    for read in (read_image, read_rgb):
        with pytest.raises(UserError, match=f"the chunk {kind.decode()} is damaged"):
            read(tmp_path / "a.png")


def test_exif_behind_the_pixels(tmp_path):
    """Allowed by PNG; Pillow alone decodes the pixels before it finds it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for depth in (8, 16):
        data = png_of(depth)
        place = data.index(b"IEND") - 4
        (tmp_path / "a.png").write_bytes(data[:place] + block + data[place:])
        pixels = read_image(tmp_path / "a.png").pixels // (257 if depth == 16 else 1)
        assert np.array_equal(pixels, np.rot90(RGB, -1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparency_of_one_grey(tmp_path, bits):
    """The value in tRNS has the depth of the file, also where the pixels are scaled to 8 bits."""
    white, value = 2**bits - 1, 1
    head = struct.pack(">IIBB3x", 8 // bits, 1, bits, 0)
    packed = int("".join(f"{n & white:0{bits}b}" for n in range(8 // bits)), 2).to_bytes(1, "big")
    data = [(b"IHDR", head), (b"tRNS", struct.pack(">H", value))]
    data += [(b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(SIGNATURE + b"".join(chunk(*one) for one in data))
    grey, alpha = np.moveaxis(read_image(tmp_path / "a.png").pixels, -1, 0)
    stored = np.arange(8 // bits) & white
    np.testing.assert_array_equal(grey[0], stored * (255 // white))
    np.testing.assert_array_equal(alpha[0], np.where(stored == value, 0, 255))


def test_16_bit_transparency_of_one_colour(tmp_path):
    data = png_of(16)
    color = struct.pack(">3H", *(RGB[0, 0].astype(int) * 257))
    (tmp_path / "a.png").write_bytes(
        data[:AFTER_HEADER] + chunk(b"tRNS", color) + data[AFTER_HEADER:]
    )
    pixels = read_image(tmp_path / "a.png").pixels
    assert pixels.shape == (12, 9, 4)
    assert np.array_equal(pixels[..., 3] == 0, (RGB[0, 0] == RGB).all(axis=-1))
