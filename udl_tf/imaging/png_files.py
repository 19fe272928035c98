"""PNG files of 8 and 16 bits; damaged chunks that do not hold pixels are skipped."""

import io
import struct
import zlib
from functools import partial
from typing import BinaryIO

import imagecodecs
import numpy as np
from PIL.PngImagePlugin import PngStream

from udl_tf.imaging.decoded import Decoded, load_exif, read_exif
from udl_tf.imaging.pillow_files import frame_notes, open_with_pillow, pixels_of
from udl_tf.imaging.png_chunks import SIGNATURE

_PIXELS = {b"IDAT", b"tRNS"}  # tRNS is ancillary, but without it the image would be another
_ANIMATION = {b"fcTL", b"fdAT"}


class PngFile:
    """A PNG file."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.width, self.height, self._bits = struct.unpack_from(">IIB", file.read(25), 16)

    def decode(self) -> Decoded:
        notes: list[str] = []
        self._file.seek(0)
        data = _without_damage(self._file.read(), notes)
        with open_with_pillow(io.BytesIO(data)) as image:
            notes += frame_notes(image)
            exif = read_exif(partial(load_exif, image))
            if self._bits in (2, 4) and image.mode == "L" and "transparency" in image.info:
                white = 2**self._bits - 1
                image.info["transparency"] = (image.info["transparency"] & white) * (255 // white)
            if self._bits == 16:
                pixels, icc_profile = imagecodecs.png_decode(data), image.info.get("icc_profile")
            else:
                pixels, icc_profile = pixels_of(image, notes)
        return Decoded(np.asarray(pixels), icc_profile, exif, notes=tuple(notes))


def _without_damage(data: bytes, notes: list[str]) -> bytes:
    """Returns a PNG without damaged or oversized chunks that hold no pixels.

    Further frames of an animation are omitted too. Chunks after the pixels are moved before them,
    because Pillow decodes the pixels before it reads what follows.

    Raises:
        ValueError: if a chunk that holds pixels is damaged.
    """
    file = io.BytesIO(data)
    stream = PngStream(file)  # counts the memory of all texts
    others, pixels, skipped = [], [], set()
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        start, end = position, position + 12 + length
        position = end
        if kind == b"IEND":
            break
        if kind in _ANIMATION and pixels:
            continue
        holds_pixels = kind[:1].isupper() or kind in _PIXELS
        if end > len(data) or zlib.crc32(data[start + 4 : end - 4]) != _crc(data, end):
            if holds_pixels:
                raise ValueError(f"the chunk {_name(kind)} is damaged")
            skipped.add(kind)
        elif not holds_pixels and not _is_understood(stream, file, kind, start + 8, length):
            skipped.add(kind)
        else:
            (pixels if kind == b"IDAT" else others).append(data[start:end])
    if b"iCCP" in skipped:  # udl_tf.imaging.metadata names the others
        notes.append("damaged iCCP chunk skipped")
    ending = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    return b"".join([SIGNATURE, *others, *pixels, ending])


def _crc(data: bytes, end: int) -> int:
    return int.from_bytes(data[end - 4 : end], "big")


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")


def _is_understood(stream: PngStream, file: BinaryIO, kind: bytes, start: int, length: int) -> bool:
    """Returns whether Pillow accepts the content of a chunk that it knows."""
    parse = getattr(stream, f"chunk_{_name(kind)}", None)
    if parse is None or kind in _ANIMATION or kind == b"acTL":
        return True
    try:
        file.seek(start)
        parse(start, length)
    except Exception:  # Pillow raises many kinds
        return False
    return True
