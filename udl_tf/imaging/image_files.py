"""Image files with everything they contain: grey, RGB, alpha, profile and metadata.

Conversions and skipped frames are reported in notes.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import FULL_RANGE, is_nearly_black, to_gray_levels
from udl_tf.imaging.metadata import Metadata, read_metadata
from udl_tf.imaging.opening import opened


@dataclass(frozen=True)
class ImageFile:
    """Content of an image file.

    Attributes:
        pixels: uint8, uint16, or float32 grey levels of 0..255; upright; (h, w) grey, (h, w, 2)
            grey and alpha, (h, w, 3) RGB, (h, w, 4) RGB and alpha.
        icc_profile: colour profile, or None.
        metadata: EXIF, XMP, resolution, texts.
        notes: what was converted or skipped.
        value_range: black and white of floats in the file.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    value_range: tuple[float, float] = FULL_RANGE


def read_image(
    path: Path | str,
    max_pixels: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> ImageFile:
    """Reads an image file and turns the image upright according to its EXIF orientation.

    Palettes are converted to RGB, bilevel images to grey, 9 to 15 bits to 16. Other colour spaces,
    such as CMYK, are converted to RGB with a note; of several frames or pages only the
    first is read, with a note.

    Args:
        path: image file.
        max_pixels: as for `opened`.
        value_range: black and white of files of floats; None: 0 and 255.

    Raises:
        UserError: if the file is missing, not an image, damaged, not supported or too large, or
            holds floats outside `value_range`.
    """
    with opened(path, max_pixels) as image:
        found = image.decode()
    notes = list(found.notes)
    orientation = _orientation(found.exif, notes)
    metadata = read_metadata(path, found.exif_block, found.xmp)
    if orientation >= 5 and metadata.dpi:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    pixels = _upright(found.pixels, orientation)
    if pixels.dtype == np.float32:
        if value_range is None and is_nearly_black(pixels):
            notes.append(
                "floats of at most 1, taken as 0..255, are nearly black: if 1 is white, give the"
                " value range 0 to 1"
            )
        try:
            pixels = to_gray_levels(pixels, value_range or FULL_RANGE)
        except UserError as error:
            raise UserError(f"{path}: {error}", argument=error.argument) from error
    notes = tuple(dict.fromkeys(notes))
    return ImageFile(pixels, found.icc_profile, metadata, notes, value_range or FULL_RANGE)


def _orientation(exif: Image.Exif, notes: list[str]) -> int:
    """Returns EXIF's orientation 1..8; other values are ignored with a note."""
    value = exif.get(ExifTags.Base.Orientation, 1)
    if value in range(1, 9):
        return value
    notes.append(f"EXIF orientation {value} ignored: expected 1 to 8")
    return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels upright according to EXIF's orientation 1..8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
