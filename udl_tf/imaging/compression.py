"""Lossy compression of image files, as their headers state it."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from udl_tf.imaging.pillow_files import open_with_pillow

_JPEG, _RIFF = b"\xff\xd8\xff", b"RIFF"
_CHUNKS = 100  # of a WebP file that are searched; the image is among the first few

# Luma table of quality 50: ITU-T T.81, table K.1.
_LUMA = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
)


@dataclass(frozen=True)
class Compression:
    """Lossy compression of an image file.

    Attributes:
        kind: "JPEG" or "WebP".
        quality: of JPEG, 1..100 as in libjpeg, estimated from the quantization table of luma;
            None for WebP, which does not store it.
    """

    kind: str
    quality: int | None = None

    def __str__(self) -> str:
        if self.quality is None:
            return f"lossy {self.kind}"
        return f"{self.kind} of quality {self.quality}"


def lossy_compression(path: Path | str) -> Compression | None:
    """Reads how a JPEG or WebP file is compressed; the pixels are not decoded.

    Returns:
        None if the file is neither, is lossless WebP, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            file.seek(0)
            if head.startswith(_JPEG):
                return Compression("JPEG", _jpeg_quality(file))
            if head.startswith(_RIFF) and head.endswith(b"WEBP"):
                return Compression("WebP") if _is_lossy_webp(file) else None
    except Exception:  # whatever damage causes is reported when the file is decoded
        return None
    return None


def _jpeg_quality(file: BinaryIO) -> int:
    image = open_with_pillow(file)
    assert isinstance(image, JpegImageFile)
    table = np.sum(image.quantization[0])
    return 1 + int(np.argmin(np.abs(_QUALITY_SUMS - table)))


def _quality_sums() -> np.ndarray:
    """Returns the sum of libjpeg's luma table at the qualities 1 to 100."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((_LUMA * percent + 50) // 100, 1, 255).sum(axis=1)


_QUALITY_SUMS = _quality_sums()


def _is_lossy_webp(file: BinaryIO) -> bool:
    """Returns whether the image, or the first frame, of a WebP file is of the lossy kind."""
    file.seek(12)
    for _ in range(_CHUNKS):
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        if name in (b"VP8 ", b"VP8L", b""):
            return name == b"VP8 "
        if name == b"ANMF":  # a frame: its chunks follow a header of 16 bytes
            size = 16
        file.seek(size + size % 2, 1)
    return False
