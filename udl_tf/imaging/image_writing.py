"""Writing of image files in the format of their suffix; notes on what a format cannot store."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import from_gray_levels, gray_level, to_dtype
from udl_tf.imaging.image_files import ImageFile
from udl_tf.imaging.rgb_files import SAVE_OPTIONS


def write_image(path: Path | str, image: ImageFile) -> tuple[str, ...]:
    """Writes an image in the format of the suffix, lossless if the format can be.

    Returns:
        Notes on what the format cannot store.

    Raises:
        UserError: if the format cannot store the image, such as WebP above 16383 pixels per side.
    """
    path = Path(path)
    suffix, pixels, notes = path.suffix.lower(), image.pixels, []
    if pixels.dtype == np.float32:
        if suffix in (".tif", ".tiff"):
            pixels = from_gray_levels(pixels, image.value_range)
        else:
            bits, dtype = (16, np.uint16) if suffix == ".png" else (8, np.uint8)
            notes.append(f"{suffix} stores no floats: rounded to {bits} bits per channel")
            pixels = to_dtype(pixels * gray_level(dtype), dtype)
    if pixels.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        notes.append(f"{suffix} stores 8 bits per channel: 16-bit pixels rounded")
        pixels = to_dtype(pixels / 257.0, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and suffix in (".jpg", ".jpeg", ".bmp"):
        notes.append(f"{suffix} stores no alpha: dropped")
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    if suffix == ".bmp" and (image.icc_profile or image.exif):
        notes.append(".bmp stores no colour profile or EXIF: dropped")
    image = replace(image, pixels=pixels)
    with complete_file(path) as temporary:
        if pixels.dtype == np.uint8:
            _save_8_bit(temporary, image, path)
        elif suffix == ".png":
            temporary.write_bytes(_png_16_bit(image))
        else:
            _save_deep_tiff(temporary, image)
            if image.exif:
                notes.append("EXIF dropped: 16-bit and float TIFF store the colour profile only")
    return tuple(notes)


def _save_8_bit(temporary: Path, image: ImageFile, path: Path) -> None:
    options = dict(SAVE_OPTIONS.get(path.suffix.lower(), {}))
    if image.icc_profile:
        options["icc_profile"] = image.icc_profile
    if image.exif:
        options["exif"] = image.exif
    try:
        Image.fromarray(image.pixels).save(temporary, **options)
    except (ValueError, KeyError, struct.error) as error:
        height, width = image.pixels.shape[:2]
        raise UserError(
            f"{path}: {width}x{height} pixels cannot be written in this format ({error}): use png",
            argument="format",
        ) from error


def _png_16_bit(image: ImageFile) -> bytes:
    encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(image.pixels), level=6))
    chunks = b""
    if image.icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc_profile))
    if image.exif:
        chunks += _chunk(b"eXIf", image.exif.removeprefix(b"Exif\0\0"))
    after_header = 8 + 25  # signature, IHDR
    return encoded[:after_header] + chunks + encoded[after_header:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _save_deep_tiff(temporary: Path, image: ImageFile) -> None:
    channels = 1 if image.pixels.ndim == 2 else image.pixels.shape[2]
    tifffile.imwrite(
        temporary,
        image.pixels,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="adobe_deflate",
        iccprofile=image.icc_profile,
        metadata=None,
    )
