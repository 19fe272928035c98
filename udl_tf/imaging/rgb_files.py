"""Image files as 8-bit RGB arrays: listed, opened, read and written; bad files are UserErrors."""

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")

SAVE_OPTIONS = {
    ".png": {"compress_level": 3},  # a third of the time of 6, and 8 % more bytes
    ".webp": {"lossless": True, "exact": True},  # exact: colours under full transparency too
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
}
"""Pillow's options by suffix: lossless if the format can be, otherwise without visible loss."""

MAX_PIXELS = 2 * 89_478_485
"""Pixels of the largest image that is opened by default; Pillow's limit is the same."""

NO_FILE = "not a regular file (a broken link, pipe or device): replace or remove it"

_OPENING = threading.Lock()

# Exceptions that Pillow raises for damaged files and for files that are not images.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, struct.error)


def list_images(folder: Path | str) -> list[Path]:
    """Lists the image files directly in a folder, recognised by suffix, sorted by name.

    Raises:
        UserError: if the folder is missing or contains no image file, or if an image is no regular
            file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {kind}; expected a folder of images: check the path")
    files = sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: {NO_FILE}")
    if not files:
        raise UserError(f"{folder}: holds no image; expected files ending in {' '.join(SUFFIXES)}")
    return files


@contextmanager
def opened(path: Path | str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Opens an image with Pillow; a damaged file is a UserError inside the block too.

    Args:
        path: image file.
        max_pixels: refuse larger images (protection against decompression bombs); None: MAX_PIXELS.

    Raises:
        UserError: if the file is missing, not an image, damaged or too large.
    """
    try:
        # Pillow's warnings are of damage that either raises an exception later or is harmless.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(path) as image:
                check_size(path, image.width, image.height, max_pixels)
                yield image
    except UserError:
        raise
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _open(path: Path | str) -> Image.Image:
    """Opens an image without Pillow's limit, a global variable; `opened` has it as an argument."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def check_size(path: Path | str, width: int, height: int, max_pixels: int | None) -> None:
    """Checks the declared size of an image.

    Raises:
        UserError: if it has more than `max_pixels`, or MAX_PIXELS if that is None.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if width * height > limit:
        fix = "crop it" if max_pixels is None else "raise the limit if the image is genuine"
        raise UserError(
            f"{path}: declares {width}x{height} pixels; expected at most {limit / 1e6:.0f}"
            f" megapixels (protection against decompression bombs): {fix}",
            argument=None if max_pixels is None else "max_pixels",
        )


def is_deep(image: Image.Image) -> bool:
    """Returns whether an image has 16-bit channels, which Pillow reduces to 8 bits on decoding.

    Args:
        image: opened image, not decoded yet.
    """
    if isinstance(image, TiffImageFile):
        return any(bits > 8 for bits in image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,)))
    return image.mode.startswith("I;16") or any(
        ";16" in str(tile) for tile in getattr(image, "tile", ())
    )


def image_size(path: Path | str, max_pixels: int | None = None) -> tuple[int, int]:
    """Reads (height, width) from the header of a file, without decoding its pixels.

    Raises:
        UserError: as `opened`.
    """
    with opened(path, max_pixels) as image:
        return image.height, image.width


def read_rgb(path: Path | str) -> np.ndarray:
    """Reads an image as uint8 RGB, (h, w, 3); grey is repeated, transparency is dropped.

    Raises:
        UserError: if the file is missing, not an image, damaged, or deeper than 8 bits.
    """
    with opened(path) as image:
        if is_deep(image) or image.mode in ("I", "F"):
            raise UserError(
                f"{path}: more than 8 bits per channel; expected 8-bit images: convert it first"
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def write_rgb(path: Path | str, image: np.ndarray) -> None:
    """Writes an image in the format of the suffix, lossless if the format can be.

    Args:
        path: file to write.
        image: uint8, (h, w) or (h, w, 3).
    """
    path = Path(path)
    with complete_file(path) as temporary:
        Image.fromarray(image).save(temporary, **SAVE_OPTIONS.get(path.suffix.lower(), {}))


def _unreadable(path: Path | str, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: not an image (unknown format): remove it")
    return UserError(f"{path}: cannot be decoded ({error}): replace or remove it")
