"""Metadata of files as other programs write them; the mark of results."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import write_image
from udl_tf.imaging.metadata import MARK, Metadata, is_result, read_metadata
from udl_tf.imaging.theta_map import write_map

IMAGE = Image.new("RGB", (5, 4), (200, 60, 30))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
TOO_LARGE = 2**20 + 1


def metadata_of(path) -> Metadata:
    return read_image(path).metadata


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"dpi": (300, 150)}),
        ("a.jpg", {"dpi": (300, 150)}),
        ("a.tif", {"dpi": (300, 150)}),
        ("a.bmp", {"dpi": (300, 150)}),
        ("cm.tif", {"resolution_unit": 3, "x_resolution": 118.11, "y_resolution": 59.055}),
    ],
)
def test_resolution(tmp_path, name, options):
    IMAGE.save(tmp_path / name, **options)
    assert metadata_of(tmp_path / name).dpi == pytest.approx((300, 150), rel=1e-4)


def exif_with(**tags) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[Base[name]] = value
    return exif


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_resolution_of_exif(tmp_path, suffix):
    exif = exif_with(XResolution=300.0, YResolution=150.0, ResolutionUnit=2, Make="Maker")
    IMAGE.save(tmp_path / f"a{suffix}", exif=exif)
    metadata = metadata_of(tmp_path / f"a{suffix}")
    assert metadata.dpi == (300, 150)
    assert set(metadata.exif) == {Base.Make}


@pytest.mark.parametrize(
    "exif",
    [
        exif_with(Make="Maker"),
        exif_with(XResolution=300.0, YResolution=150.0, ResolutionUnit=1),
        exif_with(XResolution=0.0, YResolution=0.0, ResolutionUnit=2),
    ],
)
def test_no_resolution_is_invented(tmp_path, exif):
    IMAGE.save(tmp_path / "a.jpg", exif=exif)
    assert metadata_of(tmp_path / "a.jpg").dpi is None


def test_resolution_turns_with_the_image(tmp_path):
    IMAGE.save(tmp_path / "a.jpg", exif=exif_with(Orientation=6), dpi=(300, 150))
    assert metadata_of(tmp_path / "a.jpg").dpi == (150, 300)


def test_texts_and_colour_space_of_a_png(tmp_path):
    info = PngInfo()
    info.add_text("Title", "Roof")
    info.add_text("Raw profile type exif", "00")
    info.add_text("Software", "another program")
    info.add_text("Thumb::Image::Width", "32")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    info.add(b"gAMA", struct.pack(">I", 100000))
    info.add(b"prVt", b"?")
    IMAGE.save(tmp_path / "a.png", pnginfo=info)
    metadata = metadata_of(tmp_path / "a.png")
    assert sorted(metadata.chunks) == [
        (b"gAMA", struct.pack(">I", 100000)),
        (b"tEXt", b"Title\0Roof"),
    ]
    assert metadata.xmp == XMP
    assert metadata.omitted == ("prVt",)


@pytest.mark.parametrize("damage", ["checksum", "size", "deflate"])
def test_damaged_texts_of_a_png_are_named(tmp_path, damage):
    data = b"K\0" + (b"x" * TOO_LARGE if damage == "size" else b"text")
    kind = b"tEXt"
    if damage == "deflate":
        kind, data = b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no deflate"
    check = zlib.crc32(kind + data) ^ (damage == "checksum")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
    png = io.BytesIO()
    IMAGE.save(png, "PNG", dpi=(300, 300))
    (tmp_path / "a.png").write_bytes(png.getvalue()[:33] + chunk + png.getvalue()[33:])
    named = {"deflate": "XMP"}.get(damage, "tEXt (damaged or too large)")
    metadata = read_metadata(tmp_path / "a.png")
    assert metadata.omitted == (named,)
    assert metadata.dpi == pytest.approx((300, 300), rel=1e-4)


def test_blocks_of_a_jpeg_that_are_not_carried_over_are_named(tmp_path):
    IMAGE.save(tmp_path / "a.jpg", comment=b"by hand", xmp=XMP)
    data = (tmp_path / "a.jpg").read_bytes()
    for marker, content in (
        (b"\xff\xed", b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"),
        (b"\xff\xeb", b"JP"),
        (b"\xff\xe1", b"http://ns.adobe.com/xmp/extension/\0more"),
    ):
        data = data[:2] + marker + struct.pack(">H", 2 + len(content)) + content + data[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    metadata = metadata_of(tmp_path / "a.jpg")
    assert metadata.comment == b"by hand"
    assert metadata.xmp == XMP
    assert sorted(metadata.omitted) == ["APP11", "IPTC or Photoshop data", "extended XMP"]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_tags_of_a_tiff(tmp_path, deep, big):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((4, 5, 3), np.uint16 if deep else np.uint8),
        photometric="rgb",
        bigtiff=big,
        metadata=None,
        description="A roof",
        extratags=[(315, 2, None, "Artist", True), (700, 1, len(XMP), XMP, True),
                   (33723, 7, 4, b"\x1c\2\0\0", True), (65000, 3, 1, 7, True)],
    )  # fmt: skip
    metadata = metadata_of(tmp_path / "a.tif")
    assert {tag: value.data for tag, value in metadata.exif.items()} == {
        Base.ImageDescription: b"A roof\0",
        Base.Artist: b"Artist\0",
    }
    assert metadata.xmp == XMP
    assert metadata.omitted == ("IPTC", "private tags")


@pytest.mark.parametrize("description", ['{"shape": [4, 5, 3]}', "ImageJ=1.53", "<OME/>"])
def test_a_description_of_the_file_is_omitted(tmp_path, description):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8), description=description,
                     metadata=None)  # fmt: skip
    assert metadata_of(tmp_path / "a.tif").exif == {}


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", "inner"])
def test_damaged_exif_does_not_cost_the_image(tmp_path, suffix, exif):
    if exif == "inner":  # of the GPS entries, two letters are left
        whole = exif_with(Make="Maker")
        whole[IFD.GPSInfo] = {1: "N", 18: "WGS-84 and a long name"}
        exif = whole.tobytes()[:-20]
    IMAGE.save(tmp_path / f"a{suffix}", exif=exif)
    image = read_image(tmp_path / f"a{suffix}")
    assert image.pixels.shape == (4, 5, 3)
    assert image.metadata.omitted == ("damaged EXIF",)
    assert (Base.Make in image.metadata.exif) == (b"Maker" in exif)


def test_attributes_are_emptied_and_named_if_they_hold_anything():
    metadata = Metadata(xmp=XMP, omitted=("IPTC",)).without(xmp="XMP", exif="EXIF", comment="x")
    assert metadata == Metadata(omitted=("IPTC", "XMP"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_results_are_recognised(tmp_path, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    IMAGE.save(path)
    assert not is_result(path)
    write_image(path, ImageFile(np.asarray(IMAGE).astype(dtype)))
    assert is_result(path)
    write_image(path, read_image(path))  # a result may be upscaled again
    assert is_result(path)


def test_maps_are_recognised_and_other_files_are_not(tmp_path):
    for suffix in (".png", ".tiff", ".npy"):
        write_map(tmp_path / f"t{suffix}", np.ones((4, 5, 3), np.float32), "theta")
        assert is_result(tmp_path / f"t{suffix}") == (suffix != ".npy")
    (tmp_path / "text.bmp").write_bytes(b"BM" + MARK)
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.bmp", "empty.png", "gone.png", "."):
        assert not is_result(tmp_path / name)
