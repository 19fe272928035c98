"""Opening of image files: which decoder reads a file, and how large it may be."""

import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.imaging import formats
from udl_tf.imaging.coded_files import AvifFile, HeifFile, Jpeg2000File, JpegXlFile
from udl_tf.imaging.decoded import Decoder, Unsupported
from udl_tf.imaging.library_warnings import collected_warnings
from udl_tf.imaging.pillow_files import PillowFile
from udl_tf.imaging.png_files import PngFile
from udl_tf.imaging.pnm_files import open_pnm
from udl_tf.imaging.tiff_files import TiffFile

MAX_PIXELS = 2 * 89_478_485
"""Pixels of the largest image that is opened by default; Pillow's limit is the same."""

NO_FILE = "not a regular file (a broken link, pipe or device): replace or remove it"

_DECODERS: dict[str | None, Callable[[BinaryIO], Decoder]] = {
    "PNG": PngFile,
    "TIFF": TiffFile,
    "PNM": open_pnm,
    "JPEG 2000": Jpeg2000File,
    "JPEG XL": JpegXlFile,
    "AVIF": AvifFile,
    "HEIC": HeifFile,
}


@contextmanager
def opened(path: Path | str, max_pixels: int | None = None) -> Iterator[Decoder]:
    """Opens an image file; damage that is found inside the block is a UserError too.

    Args:
        path: image file.
        max_pixels: refuse larger images (protection against decompression bombs); None: MAX_PIXELS.

    Raises:
        UserError: if the file is missing, not an image, damaged, not supported or too large.
    """
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe may wait for ever
            raise UserError(f"{path}: {NO_FILE}")
        # Libraries warn of damage; it raises an exception too, or is harmless.
        with open(path, "rb") as file, collected_warnings():
            image = _decoder(file)
            check_size(path, image.width, image.height, max_pixels)
            yield image
    except UserError:
        raise
    except Exception as error:  # the libraries share no narrower base class
        raise _unreadable(path, error) from error


def _decoder(file: BinaryIO) -> Decoder:
    """Returns the decoder of a file, recognised by its content."""
    head = file.read(formats.HEAD)
    file.seek(0)
    kind = formats.recognise(head)
    if kind in formats.REMEDIES:
        raise Unsupported(formats.unsupported(kind))
    return _DECODERS.get(kind, PillowFile)(file)


def image_size(path: Path | str, max_pixels: int | None = None) -> tuple[int, int]:
    """Reads (height, width) from the header of a file, without decoding its pixels.

    Raises:
        UserError: as `opened`.
    """
    with opened(path, max_pixels) as image:
        return image.height, image.width


def check_size(path: Path | str, width: int, height: int, max_pixels: int | None) -> None:
    """Checks the declared size of an image.

    Raises:
        UserError: if it has more than `max_pixels`, or MAX_PIXELS if that is None.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if width * height > limit:
        fix = "crop it" if max_pixels is None else "raise the limit if the image is genuine"
        raise UserError(
            f"{path}: declares {width}x{height} pixels; expected at most {limit / 1e6:.0f}"
            f" megapixels (protection against decompression bombs): {fix}",
            argument=None if max_pixels is None else "max_pixels",
        )


def _unreadable(path: Path | str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file: check the path")
    why = formats.reason(Path(path).suffix)
    if why is not None and isinstance(error, UnidentifiedImageError | IsADirectoryError):
        return UserError(f"{path}: {why}")
    if isinstance(error, OSError) and error.filename is not None:  # open failed
        return UserError(f"{path}: cannot be opened ({error.strerror}): check the file")
    if isinstance(error, Unsupported):
        return UserError(f"{path}: {error}")
    if isinstance(error, UnidentifiedImageError):
        return UserError(
            f"{path}: not an image, or of an unknown format: convert it to PNG, or remove it"
        )
    if isinstance(error, MemoryError):
        return UserError(f"{path}: too large for the free memory: cut the image into parts")
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, struct.error):  # whose text describes the program, not the file
        text = "it is cut off or damaged"
    return UserError(f"{path}: cannot be decoded ({text}): replace or remove it")
