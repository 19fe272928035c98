"""What the tags of a TIFF say about its samples is honoured, or the file is refused."""

import struct

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging import image_size, read_image

RGB = noise_image(12, 9)
GRAY = RGB[..., 0]
ALPHA = noise_image(12, 9, seed=1)[..., 0]
ORIENTATION, MAX_SAMPLE_VALUE, INK_SET = 274, 281, 332


def write(path, samples, **options):
    """Writes samples as they are; options are tifffile's."""
    tags = options.pop("tags", {})
    extra = [(tag, 3, np.size(value), value, True) for tag, value in tags.items()]
    tifffile.imwrite(path, samples, metadata=None, extratags=extra, **options)
    return path


def raw_tiff(path, tags, data):
    """Writes a TIFF of one strip with exactly these tags, of the type SHORT."""
    tags = tags | {273: 8, 279: len(data)}
    place = 8 + len(data) + len(data) % 2
    outside = place + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, value in sorted(tags.items()):
        packed = struct.pack(f"<{np.size(value)}H", *np.atleast_1d(value))
        if len(packed) > 4:
            values, packed = values + packed, struct.pack("<I", outside + len(values))
        entries += struct.pack("<HHI4s", tag, 3, np.size(value), packed)
    head = b"II*\0" + struct.pack("<I", place) + data.ljust(place - 8, b"\0")
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4) + values)
    return path


def deep(image):
    return image.astype(np.uint16) * 257


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "lerc", "zstd"])
@pytest.mark.parametrize("convert", [np.asarray, deep], ids=["8", "16"])
def test_photometric_interpretation(tmp_path, convert, compression):
    """PhotometricInterpretation at both depths, whichever library decodes."""
    image, gray = convert(RGB), convert(GRAY)
    full = np.iinfo(gray.dtype).max
    path, options = tmp_path / "a.tif", {"compression": compression}
    write(path, full - gray, photometric="miniswhite", **options)
    assert np.array_equal(read_image(path).pixels, gray)
    write(path, np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate", **options)
    assert np.array_equal(read_image(path).pixels, image)
    cmyk = np.dstack([full - image, np.zeros_like(gray)])
    write(path, cmyk, photometric="separated", **options)
    found = read_image(path)
    assert np.array_equal(found.pixels, image), "without black, the inverse of CMY"
    assert found.notes == ("CMYK converted to RGB",)


@pytest.mark.parametrize("compression", [None, "lzw", "lerc", "jpegxl"])
def test_palette(tmp_path, compression):
    """Entries of a ColorMap have 16 bits, of which the upper 8 are used; some programs write 8."""
    colors = np.random.default_rng(0).integers(256, 65536, (3, 256)).astype(np.uint16)
    path = tmp_path / "a.tif"
    options = {"photometric": "palette", "compression": compression}
    write(path, GRAY, colormap=colors, **options)
    expected = (colors >> 8).astype(np.uint8).T[GRAY]
    assert np.array_equal(read_image(path).pixels, expected)
    write(path, GRAY, colormap=colors >> 8, **options)
    assert np.array_equal(read_image(path).pixels, expected)


def test_black_of_cmyk(tmp_path):
    """Half of the ink black over no colour: (1 - c)(1 - k) = 128/255 of white."""
    samples = np.zeros((8, 8, 4), np.uint8)
    samples[..., 3] = 127
    for convert in (np.asarray, deep):
        write(tmp_path / "a.tif", convert(samples), photometric="separated")
        pixels = read_image(tmp_path / "a.tif").pixels
        assert np.all(pixels == convert(np.uint8([128])))


@pytest.mark.parametrize(
    ("kind", "samples"),
    [  # sRGB red is L 54.29, a 80.81, b 69.89 under D50 (Lindbloom's calculator)
        ("cielab", np.int8([54.29 * 2.55 - 256, 81, 70])),
        ("cielab", np.int16([54.29 * 655.35 - 65536, 80.81 * 256, 69.89 * 256])),
        ("icclab", np.uint8([54.29 * 2.55, 81 + 128, 70 + 128])),
        ("icclab", np.uint16([54.29 * 652.8, (80.81 + 128) * 256, (69.89 + 128) * 256])),
    ],
    ids=["8", "16", "icc8", "icc16"],
)
def test_lab(tmp_path, kind, samples):
    is_deep = samples.dtype.itemsize == 2
    samples = np.broadcast_to(samples.view(f"u{samples.dtype.itemsize}"), (8, 8, 3))
    write(tmp_path / "a.tif", samples, photometric=kind)
    found = read_image(tmp_path / "a.tif")
    assert found.notes == ("LAB converted to RGB",)
    assert found.icc_profile is not None
    error = found.pixels / (257 if is_deep else 1) - np.array([255, 0, 0])
    assert np.abs(error).max() < 4, "a step of a or b is up to 4 levels of sRGB"


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_uncompressed_ycbcr(tmp_path, subsampling):
    """Red by JFIF: Y = 0.299 * 255, Cb = 128 - 0.1687 * 255, Cr = 128 + 0.5 * 255."""
    y, cb, cr = 76, 85, 255
    # Blocks of 1 or 4 luma samples and their chroma.
    data = bytes([y, cb, cr] * 16 if subsampling == (1, 1) else [y, y, y, y, cb, cr] * 4)
    tags = {256: 4, 257: 4, 258: (8, 8, 8), 259: 1, 262: 6, 277: 3, 278: 4, 530: subsampling}
    path = raw_tiff(tmp_path / "a.tif", tags, data)
    pixels = read_image(path).pixels
    assert pixels.shape == (4, 4, 3)
    assert np.abs(pixels.astype(int) - [254, 0, 0]).max() <= 1
    # Black on the left of the upper half.
    part = [16, 128, 128] * 2 if subsampling == (1, 1) else [16, 16, 16, 16, 128, 128]
    data = bytes(part) + data[len(part) :]
    upright = read_image(raw_tiff(path, tags, data)).pixels
    for orientation, turns in ((3, 2), (6, -1), (8, 1)):
        raw_tiff(path, tags | {ORIENTATION: orientation}, data)
        assert np.array_equal(read_image(path).pixels, np.rot90(upright, turns))


@pytest.mark.parametrize("convert", [np.asarray, deep], ids=["8", "16"])
def test_extra_samples(tmp_path, convert):
    path, image, alpha = tmp_path / "a.tif", convert(RGB), convert(ALPHA)
    joined = np.dstack([image, alpha])
    write(path, joined, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_image(path).pixels, joined)
    write(path, joined, photometric="rgb", extrasamples=["unspecified"])  # such as near infrared
    found = read_image(path)
    assert np.array_equal(found.pixels, image)
    assert found.notes == ("1 channel skipped: not alpha by ExtraSamples",)
    five = np.dstack([joined, alpha // 2])
    write(path, five, photometric="rgb", extrasamples=["unspecified", "unassalpha"])
    found = read_image(path)
    assert np.array_equal(found.pixels, np.dstack([image, alpha // 2]))
    assert found.notes == ("1 channel skipped: not alpha by ExtraSamples",)
    write(path, np.dstack([image[..., 0], alpha]), extrasamples=["unassalpha"], planarconfig=1)
    assert np.array_equal(read_image(path).pixels, np.dstack([image[..., 0], alpha]))


@pytest.mark.parametrize("compression", [None, "lerc"])
@pytest.mark.parametrize("convert", [np.asarray, deep], ids=["8", "16"])
def test_premultiplied_alpha_is_divided_out(tmp_path, convert, compression):
    full = int(convert(np.uint8([255]))[0])
    image, alpha = convert(RGB).astype(int), convert(ALPHA // 2 + 100).astype(int)
    stored = (image * alpha[..., None] + full // 2) // full
    joined = np.dstack([stored, alpha]).astype(convert(RGB).dtype)
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "extrasamples": ["assocalpha"], "compression": compression}
    write(path, joined, **options)
    pixels = read_image(path).pixels
    assert np.array_equal(pixels[..., 3], alpha)
    # The error of storing is half a level, times white / alpha, at most 2.55 here.
    assert np.abs(pixels[..., :3].astype(int) - image).max() <= 2


def test_white_of_fewer_bits_than_the_samples(tmp_path):
    """12 bits: packed, or in 16 bits with the MaxSampleValue that cameras write."""
    gray = (deep(GRAY) >> 4).astype(np.uint16)
    gray[0, 0] = 4095
    path = tmp_path / "a.tif"
    expected = np.round(gray.astype(float) * 65535 / 4095)
    write(path, gray, photometric="minisblack", tags={MAX_SAMPLE_VALUE: 4095})
    assert np.array_equal(read_image(path).pixels, expected)
    write(path, 4095 - gray, photometric="miniswhite", tags={MAX_SAMPLE_VALUE: 4095})
    assert np.array_equal(read_image(path).pixels, 65535 - (65535 - expected))
    # A statistic: not 2^n - 1, or exceeded.
    for value in (int(gray.max()) - 3, 2047):
        write(path, gray, photometric="minisblack", tags={MAX_SAMPLE_VALUE: value})
        assert np.array_equal(read_image(path).pixels, gray)


def test_a_fourth_channel_without_the_tag_extra_samples(tmp_path):
    tags = {256: 1, 257: 1, 258: (8, 8, 8, 8), 259: 1, 262: 2, 277: 4, 278: 1}
    found = read_image(raw_tiff(tmp_path / "a.tif", tags, bytes([1, 2, 3, 4])))
    assert found.pixels.tolist() == [[[1, 2, 3]]]
    assert found.notes == ("1 channel skipped: not alpha by ExtraSamples",)


@pytest.mark.parametrize(
    ("bits", "data", "row"),
    [
        (1, b"\x50", [0, 255, 0, 255]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x01\xef", [0, 17, 238, 255]),
        (12, b"\x00\x08\x00\xff\xff\xff", [0, 32776, 65535, 65535]),  # 2048 * 65535 / 4095
    ],
)
def test_packed_samples_are_scaled_to_white(tmp_path, bits, data, row):
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: 1, 277: 1, 278: 1}
    assert read_image(raw_tiff(tmp_path / "a.tif", tags, data)).pixels.tolist() == [row]


@pytest.mark.parametrize("compression", ["jpegxl", "jpeg2000", "lerc", "lzw"])
def test_orientation_and_profile_with_every_compression(tmp_path, compression):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "compression": compression, "iccprofile": b"profile"}
    write(path, RGB, tags={ORIENTATION: 6}, **options)
    found = read_image(path)
    assert np.array_equal(found.pixels, np.rot90(RGB, -1))
    assert found.icc_profile == b"profile"


def test_pages(tmp_path):
    """Reduced-resolution pages and masks are no further images."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        file.write(RGB, photometric="rgb", metadata=None)
        file.write(GRAY > 99, photometric=4, subfiletype=4, metadata=None)
    found = read_image(path)
    assert np.array_equal(found.pixels, RGB)
    assert image_size(path) == RGB.shape[:2]
    assert found.notes == ("transparency mask skipped: it is a separate page",)


def test_a_damaged_second_page_does_not_cost_the_first(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(2):
            file.write(RGB, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        place = file.pages[1].offset
    data = path.read_bytes()
    path.write_bytes(data[:place] + b"\xff\xff" + data[place + 2 :])  # 65535 tags
    assert np.array_equal(read_image(path).pixels, RGB)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_8_bit_rgb_is_as_pillow_reads_it(tmp_path, compression):
    path, image = tmp_path / "a.tif", noise_image(40, 50)
    Image.fromarray(image).save(path, compression=compression)
    with Image.open(path) as expected:
        assert np.array_equal(read_image(path).pixels, np.asarray(expected))


@pytest.mark.parametrize(
    ("samples", "options", "part"),
    [
        (GRAY.astype(np.int16), {}, "SampleFormat INT"),
        (GRAY.astype(np.uint32), {}, "BitsPerSample 32"),
        (GRAY.astype(np.complex64), {}, "SampleFormat COMPLEXIEEEFP"),
        (GRAY.astype(np.float32), {"photometric": "miniswhite"}, r"SampleFormat 3 \(float\)"),
        (GRAY, {"photometric": 32803}, "PhotometricInterpretation CFA"),
        (np.dstack([RGB, GRAY]), {"photometric": 5, "tags": {INK_SET: 2}}, "InkSet 2"),
        (np.zeros((3, 16, 16), np.uint8), {"volumetric": True, "tile": (16, 16, 16)}, "ImageDepth"),
        (np.zeros((8, 8, 3), np.uint8), {"planarconfig": 1}, "SamplesPerPixel 3 in MINISBLACK"),
        (GRAY, {"subfiletype": 1}, "NewSubfileType"),
        (GRAY, {"tags": {50706: 1}}, "camera raw is not supported: develop it"),
    ],
)
def test_what_is_not_understood_is_refused_by_the_name_of_the_tag(tmp_path, samples, options, part):
    write(tmp_path / "a.tif", samples, **({"photometric": "minisblack"} | options))
    for read in (read_image, image_size):
        with pytest.raises(UserError, match=part) as caught:
            read(tmp_path / "a.tif")
        assert "a.tif: " in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{}, {"rowsperstrip": 2}, {"compression": "lzw"}, {"tile": (16, 16), "compression": "deflate"}],
)
def test_missing_pixels_are_an_error(tmp_path, options):
    """The tags precede the pixels, so that the header of the cut file is whole."""
    path = write(tmp_path / "a.tif", noise_image(48, 48), photometric="rgb", **options)
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    with pytest.raises(UserError, match="cut off"):
        read_image(path)


def test_tiles_and_streams_larger_than_the_image_are_refused(tmp_path):
    """A header of few pixels must not make a decoder allocate many."""
    path = write(tmp_path / "a.tif", RGB, photometric="rgb", tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(60000)
    with pytest.raises(UserError, match="TileWidth 60000 and TileLength 60000"):
        image_size(path)
    write(path, RGB, photometric="rgb", compression="jpeg")
    data = path.read_bytes()
    start = data.index(b"\xff\xc0")  # SOF0: length, precision, height, width
    path.write_bytes(data[: start + 5] + struct.pack(">HH", 60000, 60000) + data[start + 9 :])
    with pytest.raises(UserError, match="declares 60000x60000 pixels"):
        read_image(path)
    write(path, RGB, photometric="rgb", compression="lerc")
    data = path.read_bytes()
    start = data.index(struct.pack("<2i", *RGB.shape[:2]), data.index(b"Lerc2 "))
    path.write_bytes(data[:start] + struct.pack("<2i", 60000, 60000) + data[start + 8 :])
    with pytest.raises(UserError, match="declares 60000x60000 pixels"):
        read_image(path)
