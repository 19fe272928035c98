"""Mutated image files are upscaled to sound results, or a UserError."""

import io
import shutil
from dataclasses import dataclass

import imagecodecs
import numpy as np
import tifffile
from fuzz.mutations import (
    change_png_chunk,
    change_tiff_entry,
    chunks_of,
    mutated,
    png_of,
    set_orientation,
)
from helpers.images import encoded, noise_image
from helpers.upscalers import Repeating
from hypothesis import strategies as st
from PIL import Image, ImageCms, features
from PIL.PngImagePlugin import PngInfo

from udl_tf.errors import UserError
from udl_tf.imaging import image_size, read_image, read_rgb
from udl_tf.imaging.formats import HAS_HEIF
from udl_tf.inference.job_runner import read_job, upscale_file, write_job
from udl_tf.inference.jobs import Options, plan_jobs

SCALE, MAX_PIXELS = 2, 10**6
FORMATS = ("same", "png", "tif", "jpg", "webp", "bmp")
WITHOUT_ALPHA = (".jpg", ".jpeg", ".bmp")
LOSSLESS = (".png", ".tif", ".webp", ".bmp")

RGB = noise_image(6, 8)
GRAY, ALPHA = RGB[..., 0], noise_image(6, 8, seed=1)[..., 0]
RGBA = np.dstack([RGB, ALPHA])
DEEP = RGB.astype(np.uint16) * 257
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a xmlns:t="http://ns.adobe.com/tiff/1.0/"/></x:xmpmeta>'
)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\2\0\x0f\1\2\0\4\0\0\0abc\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"


@dataclass(frozen=True)
class Case:
    """An image file, and the format of its result."""

    suffix: str
    content: bytes
    format: str = "same"


def upscale_case(folder, case):
    """Upscales a file as commands do, and checks the result against what was read."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    source = folder / f"in{case.suffix}"
    source.write_bytes(case.content)
    options = Options(format=case.format, max_pixels=MAX_PIXELS)
    (job,) = plan_jobs([source], folder / "out", options)
    written = False
    try:
        image = read_job(job, SCALE, options)
        check_training(source, image)
        write_job(job, image, upscale_file(Repeating(SCALE), image, options), options)
        written = True
    finally:
        found = sorted(path.name for path in folder.rglob("*") if path.is_file())
        assert found == sorted([source.name, *[job.output.name] * written])
        source.unlink()
    check_result(image.pixels, read_image(job.output).pixels, job.output.suffix)


def check_training(source, image):
    """Training reads the same size, and the image if it has 8 bits."""
    height, width = image.pixels.shape[:2]
    assert image_size(source) in ((height, width), (width, height))
    try:
        assert read_rgb(source).shape == (height, width, 3)
        assert image.pixels.dtype == np.uint8
    except UserError:
        assert image.pixels.dtype != np.uint8


def check_result(pixels, result, suffix):
    """The result has the size, the channels and the dtype that it should, and repeated pixels."""
    assert result.shape[:2] == (SCALE * pixels.shape[0], SCALE * pixels.shape[1])
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    dtype = pixels.dtype
    if suffix in WITHOUT_ALPHA:
        channels -= channels in (2, 4)
    if suffix == ".webp":  # which has neither grey nor alpha without effect
        transparent = channels in (2, 4) and pixels[..., -1].min() < np.iinfo(dtype).max
        channels = 4 if transparent else 3
    if suffix == ".png":
        dtype = np.uint8 if dtype == np.uint8 else np.uint16
    elif suffix not in (".tif", ".tiff"):
        dtype = np.uint8
    assert result.dtype == dtype
    assert (result.shape[2] if result.ndim == 3 else 1) == channels
    if suffix in LOSSLESS and dtype == pixels.dtype and pixels.shape == (*pixels.shape[:2], 3):
        assert np.array_equal(result, pixels.repeat(SCALE, axis=0).repeat(SCALE, axis=1))


def pngs():
    texts = PngInfo()
    texts.add_text("Title", "a")
    texts.add_text("Description", "b", zip=True)
    texts.add_itxt("Author", "c", zip=True)
    for image in (RGB, RGBA, GRAY, np.dstack([GRAY, ALPHA])):
        yield encoded(image, "PNG", pnginfo=texts, exif=EXIF, dpi=(72, 72))
    yield encoded(RGB, "PNG", icc_profile=SRGB)
    for image in (DEEP, DEEP[..., 0], np.dstack([DEEP, DEEP[..., 0]])):
        yield imagecodecs.png_encode(np.ascontiguousarray(image))
    palette = io.BytesIO()
    Image.fromarray(RGB).quantize(8).save(palette, "PNG", transparency=1)
    yield palette.getvalue()
    yield encoded(GRAY > 99, "PNG")
    yield interlaced_png()


def interlaced_png():
    """A grey PNG of 1x1 pixel, which the first of seven passes holds."""
    plain = encoded(np.full((1, 1), 7, np.uint8), "PNG")
    chunks = [
        (kind, data[:-1] + b"\1" if kind == b"IHDR" else data) for kind, data in chunks_of(plain)
    ]
    return png_of(chunks)


def tiffs():
    kinds = [
        (RGB, {"photometric": "rgb"}),
        (GRAY, {"photometric": "miniswhite", "compression": "packbits"}),
        (RGBA, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (RGBA, {"photometric": "rgb", "extrasamples": ["assocalpha"], "compression": "lzw"}),
        (np.dstack([RGB, GRAY]), {"photometric": "separated"}),
        (RGB, {"photometric": "cielab"}),
        (GRAY % 8, {"photometric": "palette", "colormap": np.full((3, 256), 7, np.uint16)}),
        (DEEP, {"photometric": "rgb", "compression": "deflate", "predictor": True}),
        (DEEP, {"photometric": "rgb", "compression": "zstd", "byteorder": ">"}),
        (np.moveaxis(RGB, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (noise_image(20, 24), {"photometric": "rgb", "tile": (16, 16), "compression": "lzma"}),
        (np.stack([GRAY, GRAY]), {"photometric": "minisblack"}),
        (RGB.astype(np.float32), {"photometric": "rgb"}),
        (GRAY.astype(np.float16), {"photometric": "minisblack"}),
        (noise_image(16, 16), {"photometric": "ycbcr", "compression": "jpeg"}),
        (RGB, {"photometric": "rgb", "compression": "jpeg2000"}),
        (RGB, {"photometric": "rgb", "compression": "jpegxl"}),
        (RGB, {"photometric": "rgb", "compression": "webp"}),
        (RGB, {"photometric": "rgb", "compression": "lerc", "bigtiff": True}),
    ]
    for image, options in kinds:
        file = io.BytesIO()
        orientation = [(274, 3, 1, 1, True)]
        tifffile.imwrite(file, image, metadata=None, extratags=orientation, **options)
        yield file.getvalue()
    yield encoded(RGB, "TIFF", compression="tiff_jpeg")
    yield encoded(GRAY > 99, "TIFF", compression="group4")


def seeds():
    """Yields a small file of every readable format and kind."""
    yield from (Case(".png", content) for content in pngs())
    yield from (Case(".tif", content) for content in tiffs())
    extras = {"exif": EXIF, "icc_profile": SRGB}
    yield Case(".jpg", encoded(RGB, "JPEG", xmp=XMP, comment=b"a", **extras))
    yield Case(".jpg", encoded(GRAY, "JPEG", progressive=True))
    cmyk = io.BytesIO()
    Image.fromarray(RGB).convert("CMYK").save(cmyk, "JPEG")
    yield Case(".jpg", cmyk.getvalue())
    yield Case(".webp", encoded(RGBA, "WEBP", lossless=True, xmp=XMP, **extras))
    yield Case(".webp", encoded(RGB, "WEBP"))
    frames = {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]}
    yield Case(".gif", encoded(RGB, "GIF", **frames))
    yield Case(".gif", encoded(GRAY, "GIF", transparency=3, comment=b"a"))
    for image in (RGB, GRAY, RGBA, GRAY > 99):
        yield Case(".bmp", encoded(image, "BMP"))
    yield Case(".ppm", encoded(RGB, "PPM"))
    yield Case(".pgm", encoded(GRAY, "PPM"))
    yield Case(".pgm", b"P5 4 2 1000\n" + bytes(range(16)))
    yield Case(".ppm", b"P6\n# a\n2 1 65535\n" + bytes(range(12)))
    yield Case(".pgm", b"P2 2 2 9\n1 2 3 4")
    yield Case(".pbm", b"P4 8 1\n\x0f")
    for image in (RGB, DEEP, RGBA):
        yield Case(".jp2", imagecodecs.jpeg2k_encode(image, level=0))
        yield Case(".jxl", imagecodecs.jpegxl_encode(image))
    if features.check("avif"):
        yield Case(".avif", encoded(RGBA, "AVIF", **extras))
        yield Case(".avif", imagecodecs.avif_encode(DEEP >> 6, bitspersample=10))
    if HAS_HEIF:
        import pillow_heif

        heif = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(noise_image(32, 32))).save(heif, quality=50)
        yield Case(".heic", heif.getvalue())


OWN = {".png": [change_png_chunk] * 3, ".tif": [change_tiff_entry] * 3}
"""Mutations of a format, repeated so that they are drawn as often as half of the general ones."""


@st.composite
def mutated_cases(draw, cases):
    case = draw(st.sampled_from(cases))
    more = [*OWN.get(case.suffix, []), set_orientation]
    return Case(case.suffix, draw(mutated(case.content, more)), draw(st.sampled_from(FORMATS)))


def test_images(fuzz):
    cases = list(seeds())
    fuzz(upscale_case, cases, mutated_cases(cases))
