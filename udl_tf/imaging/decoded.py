"""What a decoder of image files returns, and how it refuses a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from udl_tf.imaging.library_warnings import collected_warnings

_EXIF = ("exif", "Raw profile type exif")  # in Pillow's `info`; the latter is a text of a PNG


class Unsupported(ValueError):
    """An intact file with content that is not supported; the message does not name the file."""


@dataclass(frozen=True)
class Decoded:
    """Content of an image file, before it is turned upright.

    Attributes:
        pixels: uint8, uint16 or float32; (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB,
            (h, w, 4) RGB and alpha.
        icc_profile: colour profile, or None.
        exif: all tags; its orientation is the one that the pixels still have.
        exif_block, xmp: as stored, in formats from which Pillow does not extract them.
        notes: what was converted or skipped.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: Image.Exif = field(default_factory=Image.Exif)
    exif_block: bytes | None = None
    xmp: bytes | None = None
    notes: tuple[str, ...] = ()


class Decoder(Protocol):
    """An open image file whose header has been read.

    Attributes:
        width, height: declared size.
    """

    width: int
    height: int

    def decode(self) -> Decoded:
        """Decodes the pixels."""
        ...


def read_exif(load: Callable[[], Image.Exif]) -> Image.Exif:
    """Returns the EXIF that `load` reads, empty if it is damaged.

    Only its orientation is used; udl_tf.imaging.metadata reads the rest, and names the damage.
    """
    try:
        with collected_warnings():
            exif = load()
            dict(exif)  # values are parsed on access
    except Exception:  # Pillow raises many kinds
        exif = Image.Exif()
    return exif


def load_exif(image: Image.Image) -> Image.Exif:
    """Returns the EXIF of an image that Pillow opened; damage raises an exception.

    The image's own `getexif` would hide damage, and add an orientation from XMP, which other
    programs do not apply.
    """
    bare = Image.Image()
    bare.info = {name: image.info[name] for name in _EXIF if name in image.info}
    return bare.getexif()
