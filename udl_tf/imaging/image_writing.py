"""Writing of image files in the format of their suffix; notes on what a format cannot store."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging import png_chunks
from udl_tf.imaging.dtypes import from_gray_levels, gray_level, to_dtype
from udl_tf.imaging.exif import RATIONAL, RESOLUTION, SHORT, Entry, exif_block, shortened
from udl_tf.imaging.image_files import ImageFile
from udl_tf.imaging.metadata import BMP_MARK, MARK, Metadata, marked
from udl_tf.imaging.png_writing import write_png
from udl_tf.imaging.rgb_files import SAVE_OPTIONS
from udl_tf.imaging.tiff_writing import write_tiff
from udl_tf.imaging.transparency import compose, is_opaque, parse_color

_TIFF, _JPEG = (".tif", ".tiff"), (".jpg", ".jpeg")
_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".png": 10**6, ".bmp": 2**31 - 1}
"""Pixels per side that a format supports; for PNG, that common programs read."""

_BMP_BYTES = 2**32 - 1
_MARKER = 65533  # bytes of a segment of a JPEG
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


def check_format(suffix: str, width: int, height: int, file: Path | str) -> None:
    """Checks that a format can store an image of this size.

    Args:
        suffix: with dot; formats without a limit are accepted.
        width, height: pixels.
        file: which an error names.

    Raises:
        UserError: naming the limit.
    """
    suffix = suffix.lower()
    limit, others = _SIDES.get(suffix), "png or tif"
    if limit is not None and max(width, height) > limit:
        trouble = f"at most {limit} pixels per side"
        others = others if max(width, height) <= _SIDES[".png"] else "tif"
    elif suffix == ".bmp" and 4 * width * height > _BMP_BYTES:
        trouble = "at most 4 GB"
    else:
        return
    raise UserError(
        f"{file}: the result has {width}x{height} pixels; {suffix} stores {trouble}: use {others}",
        argument="format",
    )


def write_image(path: Path | str, image: ImageFile, background: str = "white") -> tuple[str, ...]:
    """Writes an image in the format of the suffix, lossless if the format can be.

    The file carries the mark of results, see udl_tf.imaging.metadata.

    Args:
        path: file to write.
        image: pixels, colour profile and metadata.
        background: colour behind transparent pixels where the format stores no alpha; a name or
            `#rrggbb`.

    Returns:
        Notes on what the format cannot store.

    Raises:
        UserError: if the format cannot store the image, such as WebP above 16383 pixels per side.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    height, width = image.pixels.shape[:2]
    check_format(suffix, width, height, path)
    pixels, notes = _storable_pixels(image, suffix, background)
    metadata = _storable_metadata(image.metadata, suffix)
    profile = image.icc_profile
    if profile and (lost := _profile_trouble(profile, pixels, suffix)):
        profile, metadata = None, replace(metadata, omitted=(*metadata.omitted, lost))
    with complete_file(path) as temporary:
        if suffix in _TIFF:
            metadata = write_tiff(temporary, pixels, profile, metadata)
        elif suffix == ".png":
            with open(temporary, "wb") as file:
                write_png(file, pixels, **_options(suffix, profile, metadata))
        else:
            _save(temporary, pixels, _options(suffix, profile, metadata), path)
    if metadata.omitted:
        notes.append(f"not carried over: {', '.join(metadata.omitted)}")
    return tuple(notes)


def _storable_pixels(
    image: ImageFile, suffix: str, background: str
) -> tuple[np.ndarray, list[str]]:
    """Returns pixels with the channels and the depth of a format, and notes."""
    pixels, notes = image.pixels, []
    if pixels.dtype == np.float32 and suffix in _TIFF:
        pixels = from_gray_levels(pixels, image.value_range)
    elif pixels.dtype == np.float32:
        bits, dtype = (16, np.uint16) if suffix == ".png" else (8, np.uint8)
        notes.append(f"{suffix} stores no floats: rounded to {bits} bits per channel")
        pixels = to_dtype(pixels * gray_level(dtype), dtype)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and suffix in (*_JPEG, ".bmp"):
        if not is_opaque(pixels):
            notes.append(f"{suffix} stores no alpha: transparent pixels on {background}")
        pixels = compose(pixels, parse_color(background))
    if pixels.dtype == np.uint16 and suffix not in (".png", *_TIFF):
        notes.append(f"{suffix} stores 8 bits per channel: 16-bit pixels rounded")
        pixels = to_dtype(pixels / 257.0, np.uint8)
    return pixels, notes


def _storable_metadata(metadata: Metadata, suffix: str) -> Metadata:
    """Removes, and names, what a format cannot store."""
    if suffix != ".png":
        chunks = {kind.decode() for kind, _ in metadata.chunks}
        names = ["PNG text"] if chunks & {"tEXt", "zTXt", "iTXt"} else []
        if "sRGB" not in chunks:  # which is how untagged images are read
            names += sorted(chunks & {"cICP", "gAMA", "cHRM"})
        metadata = metadata.without(chunks=", ".join(names))
    if suffix not in (".png", *_JPEG):
        metadata = metadata.without(comment="comment")
    if suffix not in (".png", ".webp", *_JPEG, *_TIFF):
        metadata = metadata.without(exif="EXIF", xmp="XMP")
    if suffix in _JPEG:
        if len(metadata.comment or b"") > _MARKER:
            metadata = metadata.without(comment="comment (too long for JPEG)")
        if len(_XMP_PREFIX + (metadata.xmp or b"")) > _MARKER:
            metadata = metadata.without(xmp="XMP (too long for JPEG)")
        exif, removed = shortened(marked(metadata.exif), _MARKER)
        if removed:
            names = (*metadata.omitted, "EXIF entries too long for JPEG")
            metadata = replace(metadata, exif=exif, omitted=names)
    return metadata


def _profile_trouble(profile: bytes, pixels: np.ndarray, suffix: str) -> str | None:
    """Returns a name for a profile that cannot be stored with the pixels; None if it can."""
    if suffix == ".bmp":
        return "colour profile"
    gray = suffix != ".webp" and (pixels.ndim == 2 or pixels.shape[2] == 2)  # WebP is always RGB
    space = profile[16:20].decode("latin-1").strip()
    if profile[36:40] != b"acsp":
        return "damaged colour profile"
    if space != ("GRAY" if gray else "RGB"):
        return f"colour profile ({space} in {'a grey' if gray else 'an RGB'} image)"
    return None


def _options(suffix: str, profile: bytes | None, metadata: Metadata) -> dict[str, Any]:
    """Returns Pillow's options for saving; all but BMP carry the mark of results."""
    options: dict[str, Any] = dict(SAVE_OPTIONS.get(suffix, {}))
    exif = metadata.exif
    if profile:
        options["icc_profile"] = profile
    if suffix == ".bmp":
        options["dpi"] = metadata.dpi or (0, 0)  # unknown; Pillow's default is 96
    elif metadata.dpi and suffix != ".webp":
        options["dpi"] = metadata.dpi
    if suffix == ".png":
        options["pnginfo"] = _png_texts(metadata)
    elif suffix != ".bmp":
        exif = marked(exif)
        if metadata.xmp:
            options["xmp"] = metadata.xmp
    if suffix == ".webp" and metadata.dpi:
        exif = exif | _resolution(metadata.dpi)
    if suffix in _JPEG and metadata.comment:
        options["comment"] = metadata.comment
    if exif:
        options["exif"] = exif_block(exif)
    return options


def _resolution(dpi: tuple[float, float]) -> dict[int, Entry]:
    """Returns the entries of EXIF for a resolution."""
    x, y = (Entry(RATIONAL, struct.pack("<II", round(1000 * v), 1000)) for v in dpi)
    return dict(zip(RESOLUTION, (x, y, Entry(SHORT, b"\2\0")), strict=True))  # 2: per inch


def _png_texts(metadata: Metadata) -> PngInfo:
    info = PngInfo()
    info.add_text("Software", MARK.decode())
    for kind, data in metadata.chunks:
        info.add(kind, data)
    if metadata.comment:
        info.add_text("Comment", _text(metadata.comment))
    if metadata.xmp:
        info.add(*png_chunks.itxt(png_chunks.XMP_KEYWORD, metadata.xmp))
    return info


def _text(comment: bytes) -> str:
    """Returns a comment, whose encoding no format states: UTF-8, or else Latin-1."""
    comment = comment.rstrip(b"\0")
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _save(temporary: Path, pixels: np.ndarray, options: dict[str, Any], path: Path) -> None:
    """Writes 8-bit pixels with Pillow."""
    try:
        Image.fromarray(pixels).save(temporary, **options)
    except (ValueError, KeyError, struct.error) as error:
        height, width = pixels.shape[:2]
        raise UserError(
            f"{path}: {width}x{height} pixels cannot be written in this format ({error}): use png",
            argument="format",
        ) from error
    if path.suffix.lower() == ".bmp":
        with open(temporary, "ab") as file:
            file.write(BMP_MARK)
