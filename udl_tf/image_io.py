"""Reading and writing image files, as 8-bit RGB. A bad file is a UserError of one line."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.files import complete_file

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")

SAVE_OPTIONS = {
    ".webp": {"lossless": True},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
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


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) from the file's header, without decoding the pixels.

    Raises:
        UserError: if the file is not an image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except DAMAGE as error:
        raise unreadable(path, error) from error


def read_rgb(path: Path | str) -> np.ndarray:
    """Decodes an image as uint8 RGB, (h, w, 3); grey is repeated, transparency is dropped.

    Raises:
        UserError: if the file is missing, not an image, truncated, or deeper than 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")) or any(";16" in str(t) for t in image.tile):
                raise UserError(
                    f"{path}: pixels deeper than 8 bits; expected 8-bit grey or RGB: convert it"
                    " first"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except DAMAGE as error:
        raise unreadable(path, error) from error


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Writes a uint8 image, (h, w) or (h, w, 3), in the suffix' format; lossless if it can."""
    path = Path(path)
    with complete_file(path) as temporary:
        Image.fromarray(image).save(temporary, **SAVE_OPTIONS.get(path.suffix.lower(), {}))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clips a float image in 0..255 and rounds it to uint8: the border where pictures leave."""
    return np.floor(np.clip(image, 0.0, 255.0) + 0.5).astype(np.uint8)


def unreadable(path: Path | str, error: BaseException) -> UserError:
    """The line for a file that could not be decoded because of `error`."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: not an image (its content fits no known format): remove it")
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{path}: declares too many pixels to be decoded safely: remove it")
    return UserError(f"{path}: cannot be decoded ({error}): replace or remove it")
