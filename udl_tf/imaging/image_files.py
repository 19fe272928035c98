"""Image files with everything they contain: grey, RGB, alpha, 8 or 16 bits, profile and EXIF.

Conversions and skipped frames are reported in notes.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import check_size, is_deep, opened

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY = {"1", "L", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOR = {"RGB", "RGBX", "RGBA", "RGBa", "P", "PA", "LA", "La"}
# Tags of a TIFF that describe the image and not the file. ImageDescription is not among them: some
# programs use it for facts about the file, such as its shape.
_DESCRIPTIVE = {"Make", "Model", "DateTime", "Artist", "Copyright"}
_Base, _Ifd = ExifTags.Base, ExifTags.IFD


@dataclass(frozen=True)
class ImageFile:
    """Content of an image file.

    Attributes:
        pixels: uint8 or uint16, upright; (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB,
            (h, w, 4) RGB and alpha.
        icc_profile: colour profile, or None.
        exif: EXIF block without the orientation, or None.
        notes: what was converted or skipped.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None
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
    return ImageFile(_read_deep(path, "TIFF", max_pixels))


def _decoded(path: Path, image: Image.Image, max_pixels: int | None) -> ImageFile:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames or pages")
    deep = is_deep(image)  # before getexif, which may decode the pixels
    exif, icc_profile = image.getexif(), image.info.get("icc_profile")
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
    pixels = _upright(pixels, exif.get(_Base.Orientation, 1))
    exif = _filtered_exif(exif, image.format == "TIFF")
    return ImageFile(pixels, icc_profile, exif, tuple(notes))


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


def _filtered_exif(exif: Image.Exif, is_tiff: bool) -> bytes | None:
    """Returns EXIF without what upscaling invalidates: orientation, sizes, thumbnail."""
    result = Image.Exif()
    for tag, value in exif.items():
        name = ExifTags.TAGS.get(tag)
        if tag != _Base.Orientation and (not is_tiff or name in _DESCRIPTIVE):
            result[tag] = value
    for ifd in (_Ifd.Exif, _Ifd.GPSInfo):
        entries = dict(exif.get_ifd(ifd))
        for tag in (_Base.ExifImageWidth, _Base.ExifImageHeight):
            entries.pop(tag, None)
        result.pop(ifd, None)
        if entries:
            result[ifd] = entries
    return result.tobytes() if len(result) else None
