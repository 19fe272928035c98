"""Reading and writing image files, as 8-bit RGB. A bad file is a UserError of one line."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from udl_tf.errors import UserError
from udl_tf.files import complete_file

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")

SAVE_OPTIONS = {
    ".png": {"compress_level": 3},  # a third of the time of 6, and 8 % more bytes
    ".webp": {"lossless": True, "exact": True},  # exact: colours under full transparency too
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
}
"""By suffix: lossless where the format can, else hardly visible loss."""

# What Pillow raises for files that are no images, or damaged ones.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
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
def opened(path: Path | str) -> Iterator[Image.Image]:
    """Pillow's image, whose damage becomes one line wherever it shows.

    Raises:
        UserError: if the file is missing, not an image, damaged, or declares more than 179 million
            pixels.
    """
    try:
        # Pillow warns of damage that fails or does not matter, and of 90 million pixels and more.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not yet decoded image has 16-bit channels, which Pillow cuts to 8."""
    if isinstance(image, TiffImageFile):
        return any(bits > 8 for bits in image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,)))
    return image.mode.startswith("I;16") or any(
        ";16" in str(tile) for tile in getattr(image, "tile", ())
    )


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) from the file's header, without decoding the pixels.

    Raises:
        UserError: if the file is not an image.
    """
    with opened(path) as image:
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


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Writes a uint8 image, (h, w) or (h, w, 3), in the suffix' format; lossless if it can."""
    path = Path(path)
    with complete_file(path) as temporary:
        Image.fromarray(image).save(temporary, **SAVE_OPTIONS.get(path.suffix.lower(), {}))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clips a float image in 0..255 and rounds it to uint8: the border where pictures leave."""
    return np.floor(np.clip(image, 0.0, 255.0) + 0.5).astype(np.uint8)


def _unreadable(path: Path | str, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: not an image (its content fits no known format): remove it")
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{path}: declares too many pixels to be decoded safely: remove it")
    return UserError(f"{path}: cannot be decoded ({error}): replace or remove it")
