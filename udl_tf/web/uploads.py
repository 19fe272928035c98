"""Uploaded images: which are accepted, and how they are shown before they are upscaled."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.compression import Compression, lossy_compression
from udl_tf.imaging.image_files import read_image
from udl_tf.imaging.opening import image_size
from udl_tf.web.views import reduced, shown_rgb

MOST_PIXELS = 40_000_000

EXAMPLE = Path(str(files("udl_tf.data"))) / "bundled" / "test" / "rocket.webp"
"""For visitors without an image at hand."""


@dataclass(frozen=True)
class Upload:
    """An uploaded image that can be upscaled.

    Attributes:
        path: its file.
        height, width: pixels, upright.
        shown: uint8 (h, w, 3), reduced if the image is large.
        notes: what was converted or skipped while it was read.
        compression: of the file, if it is JPEG or lossy WebP.
    """

    path: Path
    height: int
    width: int
    shown: np.ndarray
    notes: tuple[str, ...]
    compression: Compression | None


def open_upload(path: Path) -> Upload:
    """Reads an uploaded image.

    Raises:
        UserError: if it cannot be read or has more than MOST_PIXELS; names the file without folder.
    """
    try:
        _check_size(path)
        image = read_image(path)
    except UserError as error:
        raise without_folder(error, path) from error
    height, width = image.pixels.shape[:2]
    shown = reduced(shown_rgb(image.pixels))
    return Upload(path, height, width, shown, image.notes, lossy_compression(path))


def _check_size(path: Path) -> None:
    height, width = image_size(path)
    if height * width > MOST_PIXELS:
        raise UserError(
            f"{path}: {width} x {height} pixels are {height * width / 1e6:.1f} megapixels; this"
            f" page accepts at most {MOST_PIXELS / 1e6:.0f}: crop the image, or use the command"
            " udl-tf upscale"
        )


def without_folder(error: UserError, path: Path) -> UserError:
    """Returns an error that names a file without its folder, which means nothing to the user."""
    return UserError(str(error).replace(str(path), path.name), error.argument)
