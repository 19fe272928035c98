"""JPEG 2000, JPEG XL, AVIF and HEIC: depth, alpha, profile, size before decoding."""

import struct

import imagecodecs
import numpy as np
import pytest
from helpers.images import encoded, noise_image
from PIL import ExifTags, Image, ImageCms, features
from PIL.ExifTags import IFD, Base

from udl_tf.errors import UserError
from udl_tf.imaging import formats, image_size, read_image, read_rgb
from udl_tf.imaging.coded_files import boxes
from udl_tf.imaging.exif import Entry, Ifd, exif_block

RGB = noise_image(16, 24)
ALPHA = noise_image(16, 24, seed=1)[..., 0]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NEEDS_AVIF = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")


def of_bits(image, bits):
    """Returns an image of `bits` bits, and as it should be read, in 16 bits."""
    white = 2**bits - 1
    stored = np.round(image / 255 * white).astype(np.uint8 if bits == 8 else np.uint16)
    return stored, stored if bits == 8 else np.floor(stored * (65535 / white) + 0.5)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("gray", [False, True], ids=["rgb", "grey"])
@pytest.mark.parametrize("kind", ["jp2", "jxl"])
def test_lossless_formats_keep_their_bits(tmp_path, bits, gray, kind):
    stored, expected = of_bits(RGB[..., 0] if gray else RGB, bits)
    if kind == "jp2":
        data = imagecodecs.jpeg2k_encode(stored, level=0, bitspersample=bits)
    else:
        data = imagecodecs.jpegxl_encode(stored, bitspersample=bits)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    found = read_image(path)
    assert found.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(found.pixels, expected)
    assert found.notes == ()
    assert image_size(path) == (16, 24)
    # imagecodecs stores JPEG XL of more than 8 bits as linear light, which the profile says.
    assert (found.icc_profile is not None) == (kind == "jxl" and bits > 8)


@pytest.mark.parametrize("kind", ["jp2", "jxl"])
def test_alpha(tmp_path, kind):
    image, path = np.dstack([RGB, ALPHA]), tmp_path / f"a.{kind}"
    if kind == "jp2":
        Image.fromarray(image).save(path)
    else:
        path.write_bytes(imagecodecs.jpegxl_encode(image))
    assert np.array_equal(read_image(path).pixels, image)
    assert np.array_equal(read_rgb(path), RGB)


def jp2_with(data, color=b"", definitions=b""):
    """Replaces the colour specification of a JP2 and adds channel definitions."""
    ((first, end),) = [(first, end) for kind, first, end in boxes(data) if kind == b"jp2h"]
    header = b""
    for kind, start, stop in boxes(data, first, end):
        content = color if kind == b"colr" and color else data[start:stop]
        if kind != b"cdef":
            header += struct.pack(">I4s", 8 + len(content), kind) + content
    if definitions:
        header += struct.pack(">I4s", 8 + len(definitions), b"cdef") + definitions
    return data[: first - 8] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + data[end:]


def test_jpeg_2000_profile_and_channels(tmp_path):
    path = tmp_path / "a.jp2"
    path.write_bytes(jp2_with(encoded(RGB, "JPEG2000"), color=b"\2\0\0" + SRGB))
    assert read_image(path).icc_profile == SRGB
    path.write_bytes(jp2_with(encoded(RGB, "JPEG2000"), color=b"\1\0\0\0\0\0\x0c"))
    with pytest.raises(UserError, match=r"colour space 12 \(box colr\)"):
        read_image(path)
    four = encoded(np.dstack([RGB, ALPHA]), "JPEG2000")
    colors = struct.pack(">H9H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3)
    path.write_bytes(jp2_with(four, definitions=colors + struct.pack(">3H", 3, 65535, 65535)))
    found = read_image(path)
    assert np.array_equal(found.pixels, RGB)
    assert found.notes == ("1 channel skipped: not alpha",)
    opaque = np.full_like(ALPHA, 255)
    four = encoded(np.dstack([RGB, opaque]), "JPEG2000")
    path.write_bytes(jp2_with(four, definitions=colors + struct.pack(">3H", 3, 2, 0)))
    assert np.array_equal(read_image(path).pixels, np.dstack([RGB, opaque]))


def test_jpeg_2000_that_is_not_understood_is_refused(tmp_path):
    data = bytearray(encoded(RGB, "JPEG2000"))
    depth = data.index(b"\xff\x4f\xff\x51") + 42  # of the first component in SIZ
    data[depth] = 0x87  # signed
    (tmp_path / "a.jp2").write_bytes(data)
    with pytest.raises(UserError, match=r"depths \[7, 135\] \(marker SIZ\)"):
        image_size(tmp_path / "a.jp2")


@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_jpeg_2000_of_many_pixels_is_refused_by_its_header(tmp_path, kind):
    data = bytearray(encoded(RGB, "JPEG2000", no_jp2=kind == "j2k"))
    struct.pack_into(">2I", data, data.index(b"\xff\x4f\xff\x51") + 8, 60000, 60000)
    (tmp_path / f"a.{kind}").write_bytes(data)
    with pytest.raises(UserError, match="declares 60000x60000 pixels"):
        read_image(tmp_path / f"a.{kind}")


def test_jpeg_xl_exif_and_first_frame(tmp_path):
    """The pixels are upright already: the orientation of EXIF is not applied again."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Maker", 6
    block = bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")
    data = imagecodecs.jpegxl_encode(RGB, usecontainer=True)
    path = tmp_path / "a.jxl"
    path.write_bytes(data + struct.pack(">I4s", 8 + len(block), b"Exif") + block)
    found = read_image(path)
    assert np.array_equal(found.pixels, RGB)
    assert b"Maker" in found.metadata.exif[ExifTags.Base.Make].data
    frames = np.stack([RGB, 255 - RGB])
    path.write_bytes(imagecodecs.jpegxl_encode(frames))
    found = read_image(path)
    assert np.array_equal(found.pixels, RGB)
    assert found.notes == ("only the first frame of an animation read",)


def with_exif(path, block):
    """Writes RGB with an EXIF block; returns the path."""
    if path.suffix == ".heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(Image.fromarray(RGB)).save(path, quality=-1, chroma=444, exif=block)
    else:
        content = bytes(4) + block.removeprefix(b"Exif\0\0")
        path.write_bytes(imagecodecs.jpegxl_encode(RGB, usecontainer=True) + box(b"Exif", content))
    return path


@pytest.mark.parametrize("suffix", ["jxl", "heic"])
def test_exif_is_carried_over_as_it_is_stored(tmp_path, suffix):
    """Texts that are not ASCII, types, and values that Pillow cannot encode, such as -1/0."""
    comment = Entry(7, b"UNICODE\0" + "Größe".encode("utf-16-le"))
    bias = Entry(10, struct.pack("<ii", -1, 0))
    inner: Ifd = {int(Base.UserComment): comment, int(Base.ExposureBiasValue): bias}
    expected: Ifd = {int(Base.Artist): Entry(2, "Zoë\0".encode()), int(IFD.Exif): inner}
    written = expected | {700: Entry(2, b"abc\0")}  # XMP of a TIFF, of a wrong type
    found = read_image(with_exif(tmp_path / f"a.{suffix}", exif_block(written)))
    assert np.abs(found.pixels.astype(int) - RGB).max() <= 3
    assert found.metadata.exif == expected
    assert found.metadata.omitted == ()


@pytest.mark.parametrize("suffix", ["jxl", "heic"])
@pytest.mark.parametrize(
    "block", [b"garbage garbage", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 8]
)
def test_damaged_exif_does_not_cost_the_image(tmp_path, suffix, block):
    found = read_image(with_exif(tmp_path / f"a.{suffix}", b"Exif\0\0" + block))
    assert found.pixels.shape == RGB.shape
    assert found.metadata.omitted == ("damaged EXIF",)


UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # of XMP, by ISO 16684-1
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize(
    ("suffix", "added", "expected"),
    [
        ("jxl", box(b"xml ", XMP), (XMP, ())),
        ("jxl", box(b"brob", b"xml " + imagecodecs.brotli_encode(XMP)), (XMP, ())),
        ("jxl", box(b"brob", b"xml no brotli"), (None, ("XMP",))),
        ("jp2", box(b"uuid", bytes(16) + b"other") + box(b"uuid", UUID + XMP), (XMP, ())),
        ("heic", b"", (XMP, ())),
    ],
)
def test_xmp(tmp_path, suffix, added, expected):
    path = tmp_path / f"a.{suffix}"
    if suffix == "heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(Image.fromarray(RGB)).save(path, xmp=XMP)
    elif suffix == "jxl":
        path.write_bytes(imagecodecs.jpegxl_encode(RGB, usecontainer=True) + added)
    else:
        path.write_bytes(encoded(RGB, "JPEG2000") + added)
    metadata = read_image(path).metadata
    assert (metadata.xmp, metadata.omitted) == expected


def test_jpeg_xl_of_floats_is_refused(tmp_path):
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(RGB.astype(np.float32) / 255))
    with pytest.raises(UserError, match="JPEG XL with 32 bits per channel"):
        image_size(tmp_path / "a.jxl")


@NEEDS_AVIF
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_keeps_its_bits(tmp_path, bits):
    stored, expected = of_bits(RGB, bits)
    path = tmp_path / "a.avif"
    path.write_bytes(imagecodecs.avif_encode(stored, level=100, speed=8, bitspersample=bits))
    found = read_image(path)
    assert found.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    white = 255 if bits == 8 else 65535
    assert np.abs(found.pixels / white - expected / white).max() <= 2 / 2**bits
    assert found.notes == ()


@NEEDS_AVIF
def test_avif_orientation_profile_and_hdr(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "a.avif"
    options = {"quality": 100, "subsampling": "4:4:4", "icc_profile": SRGB}
    Image.fromarray(RGB).save(path, exif=exif.tobytes(), **options)
    found = read_image(path)
    assert np.abs(found.pixels.astype(int) - np.rot90(RGB, -1)).max() <= 3
    assert found.icc_profile == SRGB
    stored, _ = of_bits(RGB, 10)
    hdr = {"primaries": 9, "transfer": 16}  # BT.2020 and PQ
    path.write_bytes(imagecodecs.avif_encode(stored, speed=8, bitspersample=10, **hdr))
    note = "colour primaries 9 and transfer 16 (ITU-T H.273) taken as sRGB"
    assert read_image(path).notes == (note,)


@pytest.mark.parametrize("bits", [8, 10])
def test_heic(tmp_path, bits):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    if bits == 8:
        file = pillow_heif.from_pillow(Image.fromarray(RGB))
    else:
        deep = RGB.astype(np.uint16) * 257
        file = pillow_heif.from_bytes("RGB;16", (24, 16), deep.tobytes())
    path = tmp_path / "a.heic"
    file.save(path, quality=-1, chroma=444, exif=exif.tobytes(), icc_profile=SRGB)
    found = read_image(path)
    upright = np.rot90(RGB, -1)
    assert found.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert image_size(path) == upright.shape[:2]
    white = 255 if bits == 8 else 65535
    assert np.abs(found.pixels / white - upright / 255).max() <= 3 / 255
    assert found.icc_profile == SRGB


def test_heic_without_pillow_heif_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "HAS_HEIF", False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(
        UserError, match=r'HEIC needs pillow-heif: run pip install "udl_tf\[heif\]"'
    ):
        read_image(tmp_path / "a.heic")
