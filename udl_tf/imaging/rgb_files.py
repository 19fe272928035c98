"""Reading and writing image files, as 8-bit RGB. A bad file is a UserError of one line."""

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
"""By suffix: lossless where the format can, else hardly visible loss."""

MAX_PIXELS = 2 * 89_478_485
"""Pixels of the largest image that is opened unless asked otherwise, as in Pillow."""

_OPENING = threading.Lock()

# What Pillow raises for damaged files, and for files that are not images.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    struct.error,
)


def image_files(folder: Path | str) -> list[Path]:
    """The image files directly in `folder`, by suffix, sorted by name.

    Raises:
        UserError: if the folder is missing or holds no image file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {kind}; expected a folder of images: check the path")
    files = sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")
    )
    if not files:
        raise UserError(f"{folder}: holds no image; expected files ending in {' '.join(SUFFIXES)}")
    return files


@contextmanager
def opened(path: Path | str, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Opens an image with Pillow; damage becomes one line wherever it shows.

    Args:
        path: of the file.
        max_pixels: larger images are refused (protection against decompression bombs).

    Raises:
        UserError: if the file is missing, not an image, damaged or too large.
    """
    try:
        # Pillow warns about damage, which either fails later or does not matter.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(path) as image:
                if image.width * image.height > max_pixels:
                    raise UserError(
                        f"{path}: declares {image.width}x{image.height} pixels; at most"
                        f" {max_pixels / 1e6:.0f} megapixels are allowed (protection against"
                        " decompression bombs): raise the limit if the image is genuine",
                        argument="max_pixels",
                    )
                yield image
    except UserError:
        raise
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def _open(path: Path | str) -> Image.Image:
    """Image.open without Pillow's own limit, which is a global variable: ours is an argument."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not yet decoded image has 16-bit channels, which Pillow cuts to 8."""
    if isinstance(image, TiffImageFile):
        return any(bits > 8 for bits in image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,)))
    return image.mode.startswith("I;16") or any(
        ";16" in str(tile) for tile in getattr(image, "tile", ())
    )


def image_size(path: Path | str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) from the file's header, without decoding the pixels.

    Raises:
        UserError: if the file is not an image, or declares more than `max_pixels`.
    """
    with opened(path, max_pixels) as image:
        return image.height, image.width


def read_rgb(path: Path | str) -> np.ndarray:
    """Decodes an image as uint8 RGB, (h, w, 3); grey is repeated, transparency is dropped.

    Raises:
        UserError: if the file is missing, not an image, truncated, or deeper than 8 bits.
    """
    with opened(path) as image:
        if is_deep(image) or image.mode in ("I", "F"):
            raise UserError(
                f"{path}: pixels deeper than 8 bits; expected 8-bit grey or RGB: convert it first"
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def write_rgb(path: Path | str, image: np.ndarray) -> None:
    """Writes a uint8 image, (h, w) or (h, w, 3), in the suffix' format; lossless if it can."""
    path = Path(path)
    with complete_file(path) as temporary:
        Image.fromarray(image).save(temporary, **SAVE_OPTIONS.get(path.suffix.lower(), {}))


def _unreadable(path: Path | str, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: not an image (its content fits no known format): remove it")
    return UserError(f"{path}: cannot be decoded ({error}): replace or remove it")
