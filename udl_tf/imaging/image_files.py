"""Image files with everything they contain: grey, RGB, alpha, 8 or 16 bits, profile, metadata.

Conversions and skipped frames are reported in notes.
"""

import io
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.imaging.metadata import Metadata, read_metadata
from udl_tf.imaging.rgb_files import check_size, is_deep, opened

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY = {"1", "L", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOR = {"RGB", "RGBX", "RGBA", "RGBa", "P", "PA", "LA", "La"}


@dataclass(frozen=True)
class ImageFile:
    """Content of an image file.

    Attributes:
        pixels: uint8 or uint16, upright; (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB,
            (h, w, 4) RGB and alpha.
        icc_profile: colour profile, or None.
        metadata: what else the file says about the image.
        notes: what was converted or skipped.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()


def read_image(path: Path | str, max_pixels: int | None = None) -> ImageFile:
    """Reads an image file and turns the image upright according to its EXIF orientation.

    Palettes are converted to RGB, bilevel images to grey. Other colour spaces, such as CMYK, are
    converted to RGB with a note; of several frames or pages the first is read, with a note.

    Args:
        path: image file.
        max_pixels: as for `opened`.

    Raises:
        UserError: if the file is missing, not an image, damaged, too large, or not of 8 or 16 bits.
    """
    path = Path(path)
    try:
        with opened(path, max_pixels) as image:
            return _decoded(path, image, max_pixels)
    except UserError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        with open(path, "rb") as file:
            if file.read(4) not in _TIFF:
                raise
    # tifffile supports more kinds of TIFF than Pillow.
    return ImageFile(_read_deep(path, "TIFF", max_pixels), metadata=read_metadata(path))


def _decoded(path: Path, image: Image.Image, max_pixels: int | None) -> ImageFile:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames or pages")
    deep, icc_profile = is_deep(image), image.info.get("icc_profile")
    metadata = read_metadata(path)
    if deep:
        pixels = _read_deep(path, image.format, max_pixels)
    elif image.mode in _GRAY | _COLOR:
        alpha = "A" in image.mode.upper() or image.has_transparency_data
        gray = image.mode in ("1", "L", "LA", "La")
        pixels = np.asarray(image.convert(("L" if gray else "RGB") + ("A" if alpha else "")))
    elif image.mode in ("I", "F"):
        raise UserError(f"{path}: 32 bits per channel; expected 8 or 16 bits: convert it first")
    else:
        notes.append(f"{image.mode} converted to RGB")
        pixels, icc_profile = _to_rgb(image, icc_profile)
    orientation = _orientation(image)  # after decoding, which it may cause
    if orientation >= 5 and metadata.dpi:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    return ImageFile(_upright(pixels, orientation), icc_profile, metadata, tuple(notes))


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation 1..8; 1 if EXIF is damaged."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        return 1


def _read_deep(path: Path, kind: str | None, max_pixels: int | None) -> np.ndarray:
    """Reads pixels that Pillow would reduce to 8 bits or cannot read."""
    try:
        if kind == "PNG":
            pixels = imagecodecs.png_decode(path.read_bytes())
        else:
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                check_size(path, page.imagewidth, page.imagelength, max_pixels)
                pixels = page.asarray()
                if page.axes == "SYX":
                    pixels = np.moveaxis(pixels, 0, -1)
                if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    pixels = np.iinfo(pixels.dtype).max - pixels
    except UserError:
        raise
    except Exception as error:  # the two libraries share no narrower base class
        text = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be decoded ({text}): replace or remove it") from error
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim > 3 or channels > 4:
        raise UserError(
            f"{path}: {pixels.dtype} pixels of shape {pixels.shape}; expected 8 or 16 bits and at"
            " most 4 channels: convert it first"
        )
    return pixels


def _to_rgb(image: Image.Image, icc_profile: bytes | None) -> tuple[np.ndarray, bytes | None]:
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
        except ImageCms.PyCMSError:
            pass  # the profile is damaged
    return np.asarray(image.convert("RGB")), None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels upright according to EXIF's orientation 1..8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
