"""Image files as 8-bit RGB arrays: listed, read and written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.image_files import read_image
from udl_tf.imaging.opening import NO_FILE
from udl_tf.imaging.png_writing import write_png

SAVE_OPTIONS = {
    ".webp": {"lossless": True, "exact": True},  # exact: colours under full transparency too
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
}
"""Pillow's options by suffix: lossless if the format can be, otherwise without visible loss."""


def list_images(
    folder: Path | str, suffixes: Sequence[str] = READABLE, folder_suffixes: Sequence[str] = ()
) -> list[Path]:
    """Lists the image files directly in a folder, recognised by suffix, sorted by name.

    Args:
        folder: the folder.
        suffixes: in lower case.
        folder_suffixes: those of `suffixes` that folders may have, which then count as files.

    Raises:
        UserError: if the folder is missing or contains no image file, or if an image is not a
            regular file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {kind}; expected a folder of images: check the path")
    files = sorted(
        p
        for p in folder.iterdir()
        if p.name.lower().endswith(tuple(suffixes))
        and not p.name.startswith(".")
        and (not p.is_dir() or p.name.lower().endswith(tuple(folder_suffixes)))
    )
    for file in files:
        if not (file.is_file() or file.is_dir()):
            raise UserError(f"{file}: {NO_FILE}")
    if not files:
        raise UserError(f"{folder}: holds no image; expected files ending in {' '.join(suffixes)}")
    return files


def read_rgb(path: Path | str) -> np.ndarray:
    """Reads an image as uint8 RGB, (h, w, 3), upright.

    Grey is repeated, transparency is dropped; the rest is as `read_image` reads it.

    Raises:
        UserError: as `read_image`, and if the file has more than 8 bits per channel.
    """
    pixels = read_image(path).pixels
    if pixels.dtype != np.uint8:
        raise UserError(
            f"{path}: more than 8 bits per channel; expected 8-bit images: convert it, or train a"
            " network with data.value_range"
        )
    colors = pixels[..., None] if pixels.ndim == 2 else pixels
    colors = colors[..., : 1 if colors.shape[2] <= 2 else 3]
    return np.ascontiguousarray(np.broadcast_to(colors, (*colors.shape[:2], 3)))


def write_rgb(path: Path | str, image: np.ndarray) -> None:
    """Writes an image in the format of the suffix, lossless if the format can be.

    Args:
        path: file to write.
        image: uint8, (h, w) or (h, w, 3).
    """
    path = Path(path)
    with complete_file(path) as temporary:
        if path.suffix.lower() == ".png":
            with open(temporary, "wb") as file:
                write_png(file, image)
        else:
            Image.fromarray(image).save(temporary, **SAVE_OPTIONS.get(path.suffix.lower(), {}))
