"""EXIF entries that are copied; blocks as Pillow and this package write them."""

import io
import struct

import pytest
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base, Interop

from udl_tf.imaging.exif import (
    ASCII,
    Entry,
    ExifReader,
    Ifd,
    append_to_tiff,
    exif_block,
    shortened,
)

FRACTION = TiffImagePlugin.IFDRational(1, 250)
ARTIST = "Zoë Müller".encode() + b"\0"


def block_of(**inner) -> bytes:
    """Returns a block as cameras write it: descriptive entries, those of the file, a maker note."""
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    exif[Base.Orientation] = 6
    exif[Base.ImageWidth] = exif[Base.PlanarConfiguration] = 2
    exif[IFD.Exif] = {
        Base.ExposureTime: FRACTION,
        Base.ExifImageWidth: 32,
        Base.MakerNote: b"secret",
        **{Base[name]: value for name, value in inner.items()},
    }
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N"}
    return exif.tobytes()


def read(block: bytes, more=()) -> tuple[dict, list[str]]:
    reader = ExifReader(io.BytesIO(block.removeprefix(b"Exif\0\0")))
    return reader.read(more), list(reader.omitted)


def in_pillow(ifd) -> Image.Exif:
    exif = Image.Exif()
    exif.load(exif_block(ifd))
    return exif


def test_descriptive_entries_pass_and_those_of_the_file_do_not():
    ifd, omitted = read(block_of(LensModel="Lens"))
    assert set(ifd) == {Base.Make, IFD.Exif, IFD.GPSInfo}
    assert set(ifd[IFD.Exif]) == {Base.ExposureTime, Base.LensModel}
    assert omitted == ["maker note"]
    exif = in_pillow(ifd)
    assert dict(exif)[Base.Make] == "Maker"
    assert exif.get_ifd(IFD.Exif) == {Base.ExposureTime: FRACTION, Base.LensModel: "Lens"}
    assert exif.get_ifd(IFD.GPSInfo) == {GPS.GPSLatitudeRef: "N"}


@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_and_types_are_kept_in_either_byte_order(order):
    """A block written by hand: SRATIONAL -1/3, UTF-8 in ASCII, UNDEFINED and SHORT."""
    bias = struct.pack(order + "ii", -1, 3)
    inner = struct.pack(order + "HHHII", 2, Base.ExposureBiasValue, 10, 1, 80)
    inner += struct.pack(order + "HHI4sI", Base.FileSource, 7, 1, b"\3", 0)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    table = struct.pack(order + "IHHHII", 8, 3, Base.Artist, ASCII, len(ARTIST), 96)
    table += struct.pack(order + "HHIHH", Base.Rating, 3, 1, 4, 0)
    table += struct.pack(order + "HHIII", IFD.Exif, 4, 1, 50, 0)
    block = (mark + table).ljust(50, b"\0") + inner
    block = block.ljust(80, b"\0") + bias
    block = block.ljust(96, b"\0") + ARTIST
    ifd, omitted = read(block)
    assert omitted == []
    assert ifd == {
        Base.Artist: Entry(ASCII, ARTIST),
        Base.Rating: Entry(3, b"\4\0"),
        IFD.Exif: {
            Base.ExposureBiasValue: Entry(10, struct.pack("<ii", -1, 3)),
            Base.FileSource: Entry(7, b"\3"),
        },
    }
    assert read(exif_block(ifd))[0] == ifd


def test_the_colour_space_of_the_interoperability_ifd_is_kept():
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.ColorSpace: 65535, IFD.Interop: {Interop.InteropIndex: "R03"}}
    ifd, _ = read(exif.tobytes())
    assert in_pillow(ifd).get_ifd(IFD.Interop) == {Interop.InteropIndex: "R03"}


def test_a_second_ifd_is_found():
    exif = block_of().removeprefix(b"Exif\0\0")
    assert not ExifReader(io.BytesIO(exif)).has_second_image()
    (count,) = struct.unpack(">H", exif[8:10])  # Pillow's byte order
    end = 10 + 12 * count
    exif = exif[:end] + struct.pack(">I", 8) + exif[end + 4 :]
    assert ExifReader(io.BytesIO(exif)).has_second_image()


@pytest.mark.parametrize("cut", [18, 40, 90, 130, 160])
def test_of_a_truncated_block_the_rest_is_read(cut):
    ifd, omitted = read(block_of()[:cut])
    assert "damaged EXIF" in omitted
    for tag, value in read(exif_block(ifd))[0].items():
        assert ifd[tag] == value


@pytest.mark.parametrize("field", [b"\xff\xff", b"\0\0"])
def test_an_entry_of_unknown_type_is_omitted(field):
    block = bytearray(exif_block({Base.Make: Entry(ASCII, b"Maker\0")}))
    block[18:20] = field  # prefix, header, count, tag; then the type
    assert read(bytes(block)) == ({}, ["damaged EXIF"])


def test_text_of_exif_3_is_kept():
    """EXIF 3.0 added the type 129: UTF-8."""
    ifd: Ifd = {int(Base.Artist): Entry(129, ARTIST), int(Base.Make): Entry(ASCII, b"Maker\0")}
    assert read(exif_block(ifd)) == (ifd, [])


def test_what_is_no_block_is_an_error():
    with pytest.raises(ValueError, match="byte order"):
        read(b"hello, this is no EXIF")


def test_the_largest_entries_are_removed_first():
    ifd, _ = read(block_of(UserComment=b"x" * 3000, LensModel="y" * 2000))
    same, removed = shortened(ifd, 6000)
    assert (same, removed) == (ifd, False)
    smaller, removed = shortened(ifd, 4000)
    assert removed
    assert Base.UserComment not in smaller[IFD.Exif]
    assert Base.LensModel in smaller[IFD.Exif]
    assert len(exif_block(shortened(ifd, 300)[0])) <= 300


def test_entries_are_added_to_a_tiff():
    file = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(file, "TIFF")
    append_to_tiff(file, read(block_of())[0])
    with Image.open(file) as image:
        assert image.getpixel((1, 1)) == (255, 0, 0)
        assert image.getexif()[Base.Make] == "Maker"
        assert image.getexif().get_ifd(IFD.Exif) == {Base.ExposureTime: FRACTION}
        assert image.getexif().get_ifd(IFD.GPSInfo) == {GPS.GPSLatitudeRef: "N"}
