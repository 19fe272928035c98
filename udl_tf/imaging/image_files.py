"""Pictures as their files hold them: grey, colour, alpha, 8 or 16 bits, colour profile and EXIF.

A change of colour space, frames left out, and what a format cannot keep are told in notes.
"""

import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.rgb_files import MAX_PIXELS, SAVE_OPTIONS, is_deep, opened

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY = {"1", "L", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOR = {"RGB", "RGBX", "RGBA", "RGBa", "P", "PA", "LA", "La"}
# Of a TIFF's own tags, those that say something of the picture and not of the file: writers use
# ImageDescription for what holds of one file only, such as its shape.
_DESCRIPTIVE = {"Make", "Model", "DateTime", "Artist", "Copyright"}
_Base, _Ifd = ExifTags.Base, ExifTags.IFD


@dataclass(frozen=True)
class ImageFile:
    """A picture with what belongs to it.

    Attributes:
        pixels: uint8 or uint16; (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB, (h, w, 4)
            RGB and alpha; upright.
        icc_profile: colour profile, or None.
        exif: EXIF block without the orientation, or None.
        notes: what was converted or left out, in words.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Decodes a picture, turned upright by its EXIF orientation.

    Palettes become RGB and bilevel pictures grey. CMYK and other colour spaces become RGB too, and
    of an animation or several pages the first is taken: a note tells these.

    Raises:
        UserError: if the file is missing, no image, damaged, or of another depth than 8 or 16 bits.
    """
    path = Path(path)
    try:
        with opened(path, max_pixels) as image:
            return _decoded(path, image)
    except UserError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        with open(path, "rb") as file:
            if file.read(4) not in _TIFF:
                raise
    return ImageFile(_read_deep(path, "TIFF"))  # Pillow knows fewer TIFFs than tifffile


def _decoded(path: Path, image: Image.Image) -> ImageFile:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames or pages")
    deep = is_deep(image)  # before getexif, which may decode
    exif, icc_profile = image.getexif(), image.info.get("icc_profile")
    if deep:
        pixels = _read_deep(path, image.format)
    elif image.mode in _GRAY | _COLOR:
        alpha = "A" in image.mode.upper() or image.has_transparency_data
        gray = image.mode in ("1", "L", "LA", "La")
        pixels = np.asarray(image.convert(("L" if gray else "RGB") + ("A" if alpha else "")))
    elif image.mode in ("I", "F"):
        raise UserError(f"{path}: 32-bit pixels; expected 8 or 16 bits: convert it first")
    else:
        notes.append(f"{image.mode} converted to RGB")
        pixels, icc_profile = _to_rgb(image, icc_profile)
    pixels = _upright(pixels, exif.get(_Base.Orientation, 1))
    return ImageFile(pixels, icc_profile, _kept_exif(exif, image.format == "TIFF"), tuple(notes))


def _read_deep(path: Path, kind: str | None) -> np.ndarray:
    """Pixels that Pillow would cut to 8 bits, or cannot read."""
    try:
        if kind == "PNG":
            pixels = imagecodecs.png_decode(path.read_bytes())
        else:
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                pixels = page.asarray()
                if page.axes == "SYX":
                    pixels = np.moveaxis(pixels, 0, -1)
                if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    pixels = np.iinfo(pixels.dtype).max - pixels
    except Exception as error:  # these libraries have no common kind of error
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
    """RGB by the picture's own profile, which does not fit the result; else by a plain formula."""
    if icc_profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted), ImageCms.ImageCmsProfile(srgb).tobytes()
        except ImageCms.PyCMSError:
            pass  # a damaged profile
    return np.asarray(image.convert("RGB")), None


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels turned as EXIF's orientation 1..8 asks."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _kept_exif(exif: Image.Exif, is_tiff: bool) -> bytes | None:
    """EXIF without what the enlarged picture makes wrong: orientation, sizes, thumbnail."""
    kept = Image.Exif()
    for tag, value in exif.items():
        name = ExifTags.TAGS.get(tag)
        if tag != _Base.Orientation and (not is_tiff or name in _DESCRIPTIVE):
            kept[tag] = value
    for ifd in (_Ifd.Exif, _Ifd.GPSInfo):
        entries = dict(exif.get_ifd(ifd))
        for tag in (_Base.ExifImageWidth, _Base.ExifImageHeight):
            entries.pop(tag, None)
        kept.pop(ifd, None)
        if entries:
            kept[ifd] = entries
    return kept.tobytes() if len(kept) else None


def write_image(path: Path | str, photo: ImageFile) -> tuple[str, ...]:
    """Writes a picture in the format of the suffix; lossless where the format can.

    Returns:
        Notes on what the format could not keep.

    Raises:
        UserError: if the format cannot hold the picture, such as WebP above 16383 pixels a side.
    """
    path = Path(path)
    suffix, pixels, notes = path.suffix.lower(), photo.pixels, []
    if pixels.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        notes.append(f"{suffix} holds 8 bits: 16-bit pixels rounded")
        pixels = to_dtype(pixels / 257.0, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and suffix in (".jpg", ".jpeg", ".bmp"):
        notes.append(f"{suffix} holds no alpha: dropped")
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    if suffix == ".bmp" and (photo.icc_profile or photo.exif):
        notes.append(".bmp holds no colour profile or EXIF: dropped")
    photo = replace(photo, pixels=pixels)
    with complete_file(path) as temporary:
        if pixels.dtype == np.uint8:
            _save_8_bit(temporary, photo, path)
        elif suffix == ".png":
            temporary.write_bytes(_png_16_bit(photo))
        else:
            _save_tiff_16_bit(temporary, photo)
            if photo.exif:
                notes.append("EXIF dropped: 16-bit TIFF keeps the colour profile only")
    return tuple(notes)


def _save_8_bit(temporary: Path, photo: ImageFile, path: Path) -> None:
    options = dict(SAVE_OPTIONS.get(path.suffix.lower(), {}))
    if photo.icc_profile:
        options["icc_profile"] = photo.icc_profile
    if photo.exif:
        options["exif"] = photo.exif
    try:
        Image.fromarray(photo.pixels).save(temporary, **options)
    except (ValueError, KeyError, struct.error) as error:
        height, width = photo.pixels.shape[:2]
        raise UserError(
            f"{path}: {width}x{height} pixels cannot be written in this format ({error}): use png",
            argument="format",
        ) from error


def _png_16_bit(photo: ImageFile) -> bytes:
    encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(photo.pixels), level=6))
    chunks = b""
    if photo.icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile))
    if photo.exif:
        chunks += _chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    after_header = 8 + 25  # signature, IHDR
    return encoded[:after_header] + chunks + encoded[after_header:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _save_tiff_16_bit(temporary: Path, photo: ImageFile) -> None:
    channels = 1 if photo.pixels.ndim == 2 else photo.pixels.shape[2]
    tifffile.imwrite(
        temporary,
        photo.pixels,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="adobe_deflate",
        iccprofile=photo.icc_profile,
        metadata=None,
    )
