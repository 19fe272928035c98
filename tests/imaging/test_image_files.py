import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.images import declared_png, noise_image
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import write_image
from udl_tf.imaging.rgb_files import read_rgb

RGB = noise_image(12, 9)
DEEP = (RGB.astype(np.uint16) << 8) + np.arange(9, dtype=np.uint16)[None, :, None]
ALPHA = noise_image(12, 9, seed=1)[..., :1]
ORIENTATION = ExifTags.Base.Orientation


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    alpha = ALPHA.astype(image.dtype) * (257 if image.dtype == np.uint16 else 1)
    if channels == 1:
        return image[..., 0]
    if channels == 2:
        return np.concatenate([image[..., :1], alpha], axis=-1)
    return image if channels == 3 else np.concatenate([image, alpha], axis=-1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_written_pixels_are_read_back(tmp_path, channels, suffix, depth):
    pixels = with_channels(RGB if depth == "uint8" else DEEP, channels)
    notes = write_image(tmp_path / f"a{suffix}", ImageFile(pixels))
    back = read_image(tmp_path / f"a{suffix}")
    if suffix == ".webp" and depth == "uint16":
        assert notes == (".webp stores 8 bits per channel: 16-bit pixels rounded",)
        pixels = np.round(pixels / 257).astype(np.uint8)
    else:
        assert notes == ()
    if suffix == ".webp" and channels <= 2:  # WebP has no grey images
        pixels = np.concatenate([pixels.reshape(12, 9, -1)[..., :1]] * 3, axis=-1)
        pixels = pixels if channels == 1 else np.concatenate([pixels, ALPHA], axis=-1)
    assert back.pixels.dtype == pixels.dtype
    assert np.array_equal(back.pixels, pixels)


def exif_of(**tags) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    """Compared with Pillow's transposition of an 8-bit image."""
    path, options = tmp_path / f"a{suffix}", {"quality": 100, "subsampling": 0}
    options = options if suffix == ".jpg" else {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(RGB).save(path, exif=exif_of(Orientation=orientation).tobytes(), **options)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    expected = Image.fromarray(RGB)
    if orientation > 1:
        expected = expected.transpose(turned[orientation])
    image = read_image(path)
    assert image.pixels.shape == np.asarray(expected).shape
    difference = np.abs(image.pixels.astype(int) - np.asarray(expected))
    assert difference.max() <= (12 if suffix == ".jpg" else 0)
    assert ORIENTATION not in image.metadata.exif


def test_orientation_of_deep_files(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(DEEP, -1))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Image.fromarray(RGB[..., 0]), RGB[..., 0]),
        (Image.fromarray(RGB[..., 0] > 99), (RGB[..., 0] > 99) * 255),
        (Image.fromarray(RGB).quantize(16), None),
    ],
)
def test_grey_bilevel_and_palette(tmp_path, source, expected):
    source.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    expected = np.asarray(source.convert("RGB")) if expected is None else expected
    assert np.array_equal(image.pixels, expected)
    assert image.notes == ()


def test_transparency_of_palettes_and_single_colours(tmp_path):
    palette = Image.fromarray(RGB).quantize(8)
    palette.save(tmp_path / "p.png", transparency=0)
    image = read_image(tmp_path / "p.png")
    assert image.pixels.shape == (12, 9, 4)
    assert np.array_equal(image.pixels[..., 3] == 0, np.asarray(palette) == 0)
    Image.fromarray(RGB).save(tmp_path / "c.png", transparency=tuple(RGB[0, 0].tolist()))
    assert read_image(tmp_path / "c.png").pixels[0, 0, 3] == 0


def test_cmyk_is_converted_with_a_note(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert image.notes == ("CMYK converted to RGB",)
    assert np.abs(image.pixels.astype(int) - RGB).max() <= 2


def test_other_colour_spaces_are_converted_by_their_profile(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.createProfile("sRGB")
    plain = Image.new("RGB", (8, 8), (200, 60, 30))
    transform = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    ImageCms.applyTransform(plain, transform).save(tmp_path / "a.tif", icc_profile=lab.tobytes())
    image = read_image(tmp_path / "a.tif")
    assert image.notes == ("LAB converted to RGB",)
    assert np.abs(image.pixels.astype(int) - np.array([200, 60, 30])).max() <= 3
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.icc_profile))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_of_several_frames_is_read_with_a_note(tmp_path, suffix):
    frames = [Image.fromarray(noise_image(12, 9, seed)).quantize(64) for seed in range(3)]
    frames = frames if suffix == ".gif" else [frame.convert("RGB") for frame in frames]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    image = read_image(path)
    assert image.notes == ("only the first of 3 frames or pages read",)
    assert np.array_equal(image.pixels[..., :3], np.asarray(frames[0].convert("RGB")))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("kind", ["rgb", "planar", "minisblack", "miniswhite", "big"])
def test_16_bit_tiffs_of_all_kinds(tmp_path, compression, kind):
    pixels = DEEP if kind in ("rgb", "planar", "big") else DEEP[..., 0]
    data = np.moveaxis(DEEP, -1, 0) if kind == "planar" else pixels
    data = 65535 - data if kind == "miniswhite" else data
    options = {"photometric": {"planar": "rgb", "big": "rgb"}.get(kind, kind)}
    options |= {"planarconfig": "separate"} if kind == "planar" else {}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, compression=compression, bigtiff=kind == "big", **options)
    assert np.array_equal(read_image(path).pixels, pixels)


def test_a_16_bit_png_of_another_program(tmp_path):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(DEEP))
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, DEEP)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.png", b"", "not an image"),
        ("text.jpg", b"hello", "not an image"),
        (
            "bomb.png",
            declared_png(60000, 60000),
            "declares 60000x60000 pixels; expected at most 179 meg",
        ),
        ("head.png", declared_png(40, 40), "cannot be decoded"),
        ("tiff.tif", b"II*\0garbage", "cannot be decoded"),
        ("gone.png", None, "no such file"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, content, part):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=part) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_truncated_files_are_one_line(tmp_path, suffix, depth):
    path = tmp_path / f"a{suffix}"
    write_image(path, ImageFile(RGB if depth == "uint8" else DEEP))
    path.write_bytes(path.read_bytes()[:-120])
    with pytest.raises(UserError, match="cannot be decoded") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_pixel_limit_holds_for_16_bit_files_too(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, ImageFile(DEEP))
    assert read_image(path, max_pixels=12 * 9).pixels.shape == (12, 9, 3)
    with pytest.raises(UserError, match="declares 9x12 pixels") as caught:
        read_image(path, max_pixels=12 * 9 - 1)
    assert caught.value.argument == "max_pixels"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_an_orientation_in_xmp_is_not_applied(tmp_path, suffix):
    """Browsers and viewers ignore it; Pillow applies it where EXIF has none."""
    options, path = {"lossless": True} if suffix == ".webp" else {}, tmp_path / f"a{suffix}"
    space = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    packet = f'<a {space} tiff:Orientation="6"/>'
    if suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet)
    else:
        options["xmp"] = packet.encode()
    Image.fromarray(RGB).save(path, **options)
    with Image.open(path) as image:
        assert ORIENTATION in image.getexif()
    assert read_image(path).pixels.shape == RGB.shape


@pytest.mark.parametrize("value", [0, 9, 65535])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_unknown_orientations_are_ignored_with_a_note(tmp_path, suffix, value):
    path, options = tmp_path / f"a{suffix}", {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(RGB).save(path, exif=exif_of(Orientation=value).tobytes(), **options)
    image = read_image(path)
    assert image.pixels.shape == RGB.shape
    assert image.notes == (f"EXIF orientation {value} ignored: expected 1 to 8",)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",  # 65535 entries, of which there is none
        # One entry: GPS, at a place behind the end.
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x25\x88\4\0\1\0\0\0\xff\xff\0\0\0\0\0\0",
    ],
    ids=["garbage", "cut", "GPS"],
)
def test_damaged_exif_does_not_cost_the_image(tmp_path, suffix, exif):
    path, options = tmp_path / f"a{suffix}", {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(RGB).save(path, **options)
    expected = read_image(path).pixels
    Image.fromarray(RGB).save(path, exif=exif, **options)
    image = read_image(path)
    assert np.array_equal(image.pixels, expected)
    assert np.array_equal(read_rgb(path), image.pixels)
    assert image.notes == ()
    assert image.metadata.omitted == ("damaged EXIF",)


def test_formats_of_8_bits_only_are_not_cut(tmp_path):
    """SGI has 16 bits, which Pillow would reduce to 8."""
    path = tmp_path / "a.sgi"
    Image.fromarray(RGB[..., 0]).save(path, bpc=2)
    with pytest.raises(UserError, match="SGI with more than 8 bits per channel"):
        read_image(path)
