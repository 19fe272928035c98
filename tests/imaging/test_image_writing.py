"""What each format stores of an image; notes on the rest. Read back with Pillow and tifffile."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from udl_tf.errors import UserError
from udl_tf.imaging.exif import ASCII, Entry
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import check_format, write_image
from udl_tf.imaging.metadata import MARK, Metadata

RGB = noise_image(12, 9)
ALPHA = np.dstack([RGB, np.full((12, 9), 128, np.uint8)])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
SUFFIXES = [".png", ".jpg", ".webp", ".tif"]
DEPTHS = [np.uint8, np.uint16]


def in_depth(pixels, dtype):
    return pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)


def camera_exif(of_file: bool = True) -> Image.Exif:
    """Returns EXIF of a photo, with or without entries that describe its file."""
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    for tag in (Base.PhotometricInterpretation, Base.PlanarConfiguration, Base.ImageWidth,
                Base.ImageLength, Base.Compression, Base.SamplesPerPixel, Base.ExtraSamples,
                Base.BitsPerSample, Base.Orientation):  # fmt: skip
        if of_file:
            exif[tag] = 3
    exif[IFD.Exif] = {Base.LensModel: "Lens", Base.ExifImageWidth: 9}
    exif[IFD.GPSInfo] = {1: "N"}
    return exif


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", DEPTHS)
def test_metadata_are_carried_over_between_formats(tmp_path, source, target, dtype):
    """Tags of a JPEG such as PlanarConfiguration used to scramble the pixels of a TIFF."""
    first, second = tmp_path / f"a{source}", tmp_path / f"b{target}"
    options = {"xmp": XMP} if source in (".jpg", ".webp") else {}
    exif = camera_exif() if source != ".tif" else camera_exif(of_file=False)
    Image.fromarray(RGB).save(
        first, icc_profile=SRGB, exif=exif.tobytes(), dpi=(300, 150), **options
    )
    image = read_image(first)
    large = ImageFile(in_depth(np.kron(image.pixels, np.ones((2, 2, 1), np.uint8)), dtype),
                      image.icc_profile, image.metadata)  # fmt: skip
    notes = write_image(second, large)
    assert [note for note in notes if "8 bits" not in note] == []
    with Image.open(second) as written:
        assert written.size == large.pixels.shape[1::-1]
        assert written.info["icc_profile"] == SRGB
        exif = written.getexif()
        assert exif[Base.Make] == "Maker"
        assert exif.get_ifd(IFD.Exif) == {Base.LensModel: "Lens"}
        assert exif.get_ifd(IFD.GPSInfo) == {1: "N"}
        expected = None if source == ".webp" else (300, 150)
        if target == ".webp" and expected:
            found = exif[Base.XResolution], exif[Base.YResolution]
            assert found == pytest.approx(expected, rel=1e-4)
        elif expected:
            assert written.info["dpi"] == pytest.approx(expected, rel=1e-4)
        assert written.info.get("xmp") == options.get("xmp")
        if target != ".tif":
            assert set(exif) <= {Base.Make, Base.Software, IFD.Exif, IFD.GPSInfo, 282, 283, 296}
    if target != ".jpg":
        back = read_image(second).pixels
        assert np.array_equal(back, large.pixels if back.dtype == dtype else large.pixels // 257)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_texts_and_colour_space_go_from_png_to_png(tmp_path, dtype):
    info = PngInfo()
    info.add_text("Title", "Roof")
    info.add_itxt("Author", "Zoë", zip=True)
    info.add(b"gAMA", struct.pack(">I", 100000))
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=info)
    image = read_image(tmp_path / "a.png")
    image = ImageFile(in_depth(image.pixels, dtype), metadata=image.metadata)
    assert write_image(tmp_path / "b.png", image) == ()
    with Image.open(tmp_path / "b.png") as written:
        assert written.text == {"Title": "Roof", "Author": "Zoë", "Software": MARK.decode()}
        assert written.info["gamma"] == 1.0
    expected = ("not carried over: PNG text, gAMA",)
    assert write_image(tmp_path / "b.tif", image) == expected


@pytest.mark.parametrize("stored", [b"caf\xe9\0", "café".encode(), "café\0".encode()])
def test_a_comment_in_png_is_text(tmp_path, stored):
    """No format states the encoding of a comment; some programs end it with a zero byte."""
    write_image(tmp_path / "a.png", ImageFile(RGB, metadata=Metadata(comment=stored)))
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Comment"] == "café"


def test_a_comment_goes_to_jpeg_and_png(tmp_path):
    image = ImageFile(RGB, metadata=Metadata(comment=b"by hand"))
    for suffix, key in ((".jpg", "comment"), (".png", "Comment")):
        assert write_image(tmp_path / f"a{suffix}", image) == ()
        with Image.open(tmp_path / f"a{suffix}") as written:
            assert written.info[key] in (b"by hand", "by hand")
    assert write_image(tmp_path / "a.webp", image) == ("not carried over: comment",)


def test_what_bmp_cannot_store_is_one_note(tmp_path):
    metadata = Metadata({Base.Make: Entry(ASCII, b"M\0")}, XMP, (300, 300), omitted=("IPTC",))
    notes = write_image(tmp_path / "a.bmp", ImageFile(RGB, SRGB, metadata))
    assert notes == ("not carried over: IPTC, EXIF, XMP, colour profile",)
    with Image.open(tmp_path / "a.bmp") as written:
        assert written.info["dpi"] == pytest.approx((300, 300), rel=1e-4)
        assert np.array_equal(np.asarray(written), RGB)


def test_what_exceeds_a_segment_of_a_jpeg_is_named(tmp_path):
    """A segment has at most 65533 bytes."""
    long = b"<a>" + b"x" * 70000 + b"</a>"
    comment = Entry(7, b"x" * 70000)
    exif = {Base.Make: Entry(ASCII, b"M\0"), IFD.Exif: {Base.UserComment: comment}}
    image = ImageFile(RGB, metadata=Metadata(exif, long, comment=long))
    notes = write_image(tmp_path / "a.jpg", image)
    assert notes == (
        "not carried over: comment (too long for JPEG), XMP (too long for JPEG), EXIF entries too"
        " long for JPEG",
    )
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.getexif()[Base.Make] == "M"
    for suffix in (".png", ".webp", ".tif"):
        assert "EXIF" not in "".join(write_image(tmp_path / f"a{suffix}", image))
        with Image.open(tmp_path / f"a{suffix}") as written:
            assert written.getexif().get_ifd(IFD.Exif)[Base.UserComment] == b"x" * 70000


@pytest.mark.parametrize(
    ("profile", "pixels", "suffix", "lost"),
    [
        (GRAY, RGB, ".png", "colour profile (GRAY in an RGB image)"),
        (GRAY, RGB[..., 0], ".webp", "colour profile (GRAY in an RGB image)"),
        (SRGB, RGB[..., 0], ".tif", "colour profile (RGB in a grey image)"),
        (SRGB, ALPHA[..., 2:], ".png", "colour profile (RGB in a grey image)"),
        (b"no profile", RGB, ".jpg", "damaged colour profile"),
        (GRAY, RGB[..., 0], ".png", None),
        (GRAY, ALPHA[..., 2:], ".tif", None),
    ],
)
def test_a_profile_goes_only_into_images_of_its_colour_space(
    tmp_path, profile, pixels, suffix, lost
):
    notes = write_image(tmp_path / f"a{suffix}", ImageFile(pixels, profile))
    assert notes == (() if lost is None else (f"not carried over: {lost}",))
    with Image.open(tmp_path / f"a{suffix}") as written:
        assert written.info.get("icc_profile") == (None if lost else profile)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize(
    ("background", "color"), [("white", (255, 255, 255)), ("#ff0000", (255, 0, 0))]
)
def test_without_alpha_an_image_is_on_its_background(tmp_path, suffix, dtype, background, color):
    """Transparent black used to become black."""
    pixels = in_depth(np.zeros((8, 8, 4), np.uint8), dtype)
    notes = write_image(tmp_path / f"a{suffix}", ImageFile(pixels), background)
    assert notes[0] == f"{suffix} stores no alpha: transparent pixels on {background}"
    written = np.asarray(Image.open(tmp_path / f"a{suffix}")).astype(int)
    assert np.abs(written - color).max() <= (2 if suffix == ".jpg" else 0)


def test_alpha_that_hides_nothing_is_not_noted(tmp_path):
    pixels = np.dstack([RGB, np.full((12, 9), 255, np.uint8)])
    assert write_image(tmp_path / "a.bmp", ImageFile(pixels), "black") == ()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.bmp")), RGB)
    write_image(tmp_path / "g.bmp", ImageFile(pixels[..., 2:]))
    assert np.asarray(Image.open(tmp_path / "g.bmp")).shape == (12, 9)


@pytest.mark.parametrize(
    ("suffix", "size", "part"),
    [
        (".jpg", (65501, 1), "at most 65500 pixels per side: use png or tif"),
        (".JPEG", (1, 65501), "at most 65500 pixels per side: use png or tif"),
        (".webp", (16384, 1), "at most 16383 pixels per side: use png or tif"),
        (".webp", (10**6 + 1, 1), "at most 16383 pixels per side: use tif"),
        (".png", (10**6 + 1, 1), "at most 1000000 pixels per side: use tif"),
        (".bmp", (40000, 40000), "at most 4 GB: use png or tif"),
    ],
)
def test_sizes_that_a_format_cannot_store_are_one_line(suffix, size, part):
    with pytest.raises(
        UserError, match=f"a.x: the result has {size[0]}x{size[1]} pix.*{part}"
    ) as e:
        check_format(suffix, *size, "a.x")
    assert e.value.argument == "format"


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png", ".bmp"])
def test_the_largest_sizes_can_be_written(tmp_path, suffix):
    side = {".jpg": 65500, ".webp": 16383}.get(suffix, 10**5)
    check_format(suffix, side, 1, "a.x")
    write_image(tmp_path / f"a{suffix}", ImageFile(np.zeros((1, side), np.uint8)))
    check_format(".tif", 10**7, 1, "a.x")


def test_an_image_too_large_for_its_format_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="16400x1 pixels"):
        write_image(tmp_path / "a.webp", ImageFile(np.zeros((1, 16400, 3), np.uint8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", DEPTHS)
def test_png_chunks_of_16_bits_are_sound(tmp_path, dtype):
    """Every checksum, and the order of chunks that the format prescribes."""
    metadata = Metadata({Base.Make: Entry(ASCII, b"M\0")}, XMP, (300, 300))
    write_image(tmp_path / "a.png", ImageFile(in_depth(RGB, dtype), SRGB, metadata))
    data, kinds, place = (tmp_path / "a.png").read_bytes(), [], 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 4 : place + 8 + length]
        assert data[place + 8 + length : place + 12 + length] == zlib.crc32(body).to_bytes(4, "big")
        kinds.append(kind.decode())
        place += 12 + length
    assert kinds[:6] == ["IHDR", "iCCP", "tEXt", "iTXt", "pHYs", "eXIf"]
    assert set(kinds[6:]) == {"IDAT", "IEND"}


def test_tags_of_a_16_bit_tiff(tmp_path):
    metadata = Metadata({Base.Artist: Entry(ASCII, "Zoë\0".encode())}, XMP, (300, 150))
    write_image(tmp_path / "a.tif", ImageFile(in_depth(ALPHA, np.uint16), SRGB, metadata))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert page.tags[700].value == XMP
        assert page.tags["Artist"].value.encode("latin-1") == "Zoë".encode() or (
            page.tags["Artist"].value == "Zoë"
        )
        assert page.software == MARK.decode()
        assert page.get_resolution("inch") == (300, 150)
        assert page.extrasamples == (2,)
        assert np.array_equal(page.asarray(), in_depth(ALPHA, np.uint16))
