"""Image files that Pillow decodes: JPEG, BMP, GIF, WebP and other formats of 8 bits."""

import io
import threading
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from udl_tf.imaging.decoded import Decoded, Unsupported, load_exif, read_exif

_GRAY = {"1", "L", "LA", "La"}
_COLOR = {"RGB", "RGBX", "RGBA", "RGBa", "P", "PA"}
_DEEP_TILES = (";16", "SGI16")  # in Pillow's names of the layout that a decoder reads
_OPENING = threading.Lock()


class PillowFile:
    """An image file that Pillow decodes.

    Attributes:
        image: as Pillow opened it.
    """

    def __init__(self, file: BinaryIO):
        self.image = open_with_pillow(file)
        self.width, self.height = self.image.size

    def decode(self) -> Decoded:
        image, notes = self.image, frame_notes(self.image)
        exif = read_exif(partial(load_exif, image))
        pixels, icc_profile = pixels_of(image, notes)
        return Decoded(pixels, icc_profile, exif, notes=tuple(notes))


def open_with_pillow(file: BinaryIO) -> Image.Image:
    """Opens an image without Pillow's global limit of pixels, which `opened` has as an argument."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def frame_notes(image: Image.Image) -> list[str]:
    """Returns a note if the file has more frames than the first."""
    frames = getattr(image, "n_frames", 1)
    return [f"only the first of {frames} frames or pages read"] if frames > 1 else []


def pixels_of(image: Image.Image, notes: list[str]) -> tuple[np.ndarray, bytes | None]:
    """Decodes an image of 8 bits.

    Palettes become RGB, other colour spaces sRGB, with a note.

    Returns:
        (uint8 pixels, their colour profile or None).

    Raises:
        Unsupported: if the image has more than 8 bits per channel.
    """
    deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    if deep or any(kind in str(getattr(image, "tile", "")) for kind in _DEEP_TILES):
        raise Unsupported(
            f"{image.format} with more than 8 bits per channel; expected 8 bits: convert it to PNG"
            " or TIFF first"
        )
    icc_profile = image.info.get("icc_profile")
    if image.mode in _GRAY | _COLOR:
        alpha = "A" in image.mode.upper() or image.has_transparency_data
        mode = ("L" if image.mode in _GRAY else "RGB") + ("A" if alpha else "")
        return np.asarray(image.convert(mode)), icc_profile
    notes.append(f"{image.mode} converted to RGB")
    return to_rgb(image, icc_profile)


def to_rgb(image: Image.Image, icc_profile: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """Converts to sRGB by the image's profile; without a usable one, to RGB by Pillow's formulas.

    Returns:
        (uint8 RGB, profile of the result or None).
    """
    if icc_profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted), ImageCms.ImageCmsProfile(srgb).tobytes()
        except (ImageCms.PyCMSError, OSError):
            pass  # the profile is damaged
    return np.asarray(image.convert("RGB")), None
