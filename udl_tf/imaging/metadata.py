"""Metadata of image files that apply to the result too; the mark of results.

What describes the file, such as its size, its orientation or a thumbnail, is not included.
"""

import io
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from udl_tf import __version__
from udl_tf.imaging import png_chunks
from udl_tf.imaging.exif import ASCII, RESOLUTION, XMP, Entry, ExifReader, Ifd
from udl_tf.imaging.formats import HEAD, recognise
from udl_tf.imaging.library_warnings import collected_warnings
from udl_tf.imaging.pillow_files import open_with_pillow
from udl_tf.imaging.xmp import clean_xmp

_PROGRAM = b"udl_tf "
MARK = _PROGRAM + __version__.encode()
"""Name and version of this package, as results store it."""

BMP_MARK = b"\0" + MARK + b"\0"
"""The mark after the pixels of a BMP, which has no other place for text."""

_LARGEST = 2**20  # bytes of XMP, and of the texts of a PNG
_PNG_COLOR = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
# Chunks that describe the file, or that the decoder interprets.
_PNG_OTHER = {
    *(b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"sBIT", b"hIST", b"sPLT", b"tIME", b"iCCP"),
    *(b"acTL", b"fcTL", b"fdAT"),
}
# Keywords that other programs use for EXIF in hexadecimal form, and for facts about the file.
_FILE_KEYWORDS = (b"Raw profile type ", b"Thumb::", b"exif:", b"tiff:", b"png:", b"Software")
_JPEG_KNOWN = {"APP0", "APP1", "APP2", "APP14", "COM"}  # JFIF, EXIF or XMP, profile, Adobe's


@dataclass(frozen=True)
class Metadata:
    """What a file states about its image, apart from pixels and colour profile.

    Attributes:
        exif: descriptive entries, see udl_tf.imaging.exif.
        xmp: packet without properties that describe the file, or None.
        dpi: horizontal and vertical resolution, pixels per inch, or None.
        chunks: texts and colour space of a PNG, as stored.
        comment: of a JPEG or GIF, or None.
        omitted: names of what was not read or is not stored.
    """

    exif: Ifd = field(default_factory=dict)
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[png_chunks.Chunk, ...] = ()
    comment: bytes | None = None
    omitted: tuple[str, ...] = ()

    def without(self, **reasons: str) -> "Metadata":
        """Empties the named attributes; `omitted` gets the text of each that was not empty."""
        left = {name: text for name, text in reasons.items() if getattr(self, name)}
        empty = {name: getattr(Metadata(), name) for name in left}
        names = dict.fromkeys([*self.omitted, *left.values()])
        return replace(self, **empty, omitted=tuple(names))


def read_metadata(
    path: Path | str, block: bytes | None = None, packet: bytes | None = None
) -> Metadata:
    """Reads the metadata of an image file; what is damaged is omitted.

    Args:
        path: image file.
        block: EXIF that a decoder found, for formats that Pillow does not open.
        packet: XMP that a decoder found, for formats from which Pillow does not extract it.
    """
    with open(path, "rb") as file:
        kind = recognise(file.read(HEAD))
        file.seek(0)
        try:
            if kind == "TIFF":
                return _of_tiff(file)
            if kind == "PNG":
                return _of_png(file)
            return _of_blocks(_opened_by_pillow(path), packet)
        except UnidentifiedImageError:
            return _of_block(block or b"", packet, {})
        except (OSError, ValueError, TypeError, OverflowError, struct.error):
            return Metadata(omitted=("metadata",))


def _opened_by_pillow(path: Path | str) -> Image.Image:
    """Returns an image of which only the header was read, and the file closed again."""
    with open(path, "rb") as file, collected_warnings(), open_with_pillow(file) as image:
        return image


def _of_tiff(file: BinaryIO) -> Metadata:
    reader = ExifReader(file)
    exif = reader.read((XMP, *RESOLUTION))
    description = exif.get(Base.ImageDescription)
    # Some programs store facts about the file, such as its shape, as its description.
    if isinstance(description, Entry) and description.data.startswith((b"{", b"<", b"ImageJ=")):
        del exif[Base.ImageDescription]
    packet = exif.pop(XMP, None)
    return _gathered(exif, packet.data if isinstance(packet, Entry) else None, reader.omitted)


def _of_png(file: BinaryIO) -> Metadata:
    blocks: dict[bytes, bytes] = {}
    omitted: dict[str, None] = {}
    kept, size, packet = [], 0, None
    for kind, data in png_chunks.read_chunks(file, _LARGEST):
        name = kind.decode("latin-1")
        if kind in _PNG_OTHER:
            continue
        if data is None or (kind == b"pHYs" and len(data) != 9):
            omitted[f"{name} (damaged or too large)"] = None
        elif kind in png_chunks.TEXT:
            key = png_chunks.keyword(data)
            size += png_chunks.inflated_size(kind, data, _LARGEST)
            if key == png_chunks.XMP_KEYWORD and kind == b"iTXt":
                packet = png_chunks.itxt_text(data, _LARGEST)
            elif size > _LARGEST:
                omitted["PNG text"] = None
            elif not key.startswith(_FILE_KEYWORDS):
                kept.append((kind, data))
        elif kind in _PNG_COLOR:
            kept.append((kind, data))
        elif kind in (b"eXIf", b"pHYs"):
            blocks[kind] = data
        else:
            omitted[name] = None
    found = _of_block(blocks.get(b"eXIf", b""), packet, omitted)
    dpi = _physical_dpi(blocks[b"pHYs"]) if b"pHYs" in blocks else None
    return replace(found, dpi=dpi or found.dpi, chunks=tuple(kept))


def _physical_dpi(data: bytes) -> tuple[float, float] | None:
    x, y, unit = struct.unpack(">IIB", data)
    return _checked_dpi(x * 0.0254, y * 0.0254) if unit == 1 else None


def _of_blocks(image: Image.Image, packet: bytes | None) -> Metadata:
    """Returns the metadata of a format whose blocks Pillow extracts, such as JPEG and WebP."""
    info, omitted = image.info, dict[str, None]()
    for name, data in getattr(image, "applist", ()):
        if data.startswith(b"http://ns.adobe.com/xmp/extension/"):
            omitted["extended XMP"] = None
        elif data.startswith(b"Photoshop "):
            omitted["IPTC or Photoshop data"] = None
        elif name not in _JPEG_KNOWN:
            omitted[name] = None
    found = _of_block(info.get("exif") or b"", info.get("xmp") or packet, omitted)
    dpi = info.get("dpi")
    if image.format in ("JPEG", "MPO") and info.get("jfif_unit") not in (1, 2):
        dpi = None  # Pillow's default, 72, or that of EXIF
    dpi = _checked_dpi(*dpi) if dpi else found.dpi
    return replace(found, dpi=dpi, comment=info.get("comment") or None)


def _of_block(exif: bytes, xmp: bytes | None, omitted: dict[str, None]) -> Metadata:
    """Returns the metadata of an EXIF block and an XMP packet."""
    entries: Ifd = {}
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    if exif:
        try:
            reader = ExifReader(io.BytesIO(exif))
            entries = reader.read(RESOLUTION)
            omitted |= reader.omitted
            if reader.has_second_image():
                omitted["thumbnail"] = None
        except (ValueError, OverflowError, struct.error):
            omitted["damaged EXIF"] = None
    return _gathered(entries, xmp, omitted)


def _gathered(exif: Ifd, packet: bytes | None, omitted: Mapping[str, None]) -> Metadata:
    """Returns Metadata of entries that may contain the resolution, and of an XMP packet."""
    x, y, unit = (exif.pop(tag, None) for tag in RESOLUTION)
    dpi = None
    if isinstance(x, Entry) and isinstance(y, Entry) and len(x.data) == len(y.data) == 8:
        per_cm = isinstance(unit, Entry) and unit.data == b"\3\0"
        none = isinstance(unit, Entry) and unit.data == b"\1\0"
        values = [struct.unpack("<II", value.data) for value in (x, y)]
        if not none and all(below for _, below in values):
            dpi = _checked_dpi(
                *((2.54 if per_cm else 1) * above / below for above, below in values)
            )
    xmp = clean_xmp(packet) if packet and len(packet) <= _LARGEST else None
    lost = ("XMP",) if packet and xmp is None else ()
    return Metadata(exif, xmp, dpi, omitted=(*omitted, *lost))


def _checked_dpi(x: float, y: float) -> tuple[float, float] | None:
    """Returns a resolution that every format can store, or None."""
    return (x, y) if all(math.isfinite(v) and 1 <= v <= 65535 for v in (x, y)) else None


def marked(exif: Ifd) -> Ifd:
    """Adds the mark of results to entries of EXIF."""
    return exif | {int(Base.Software): Entry(ASCII, MARK + b"\0")}


def is_result(path: Path | str) -> bool:
    """Returns whether a file carries the mark of this package's results and maps.

    Reads headers only. Files that are not images, maps in .npy, pipes and devices carry none.
    """
    if not os.path.isfile(path):  # opening a pipe may wait for ever
        return False
    try:
        with open(path, "rb") as file:
            return _software(file, path).startswith(_PROGRAM)
    except (OSError, ValueError, OverflowError, struct.error):
        return False


def _software(file: BinaryIO, path: Path | str) -> bytes:
    """Returns the name of the program that wrote an image file, or nothing."""
    head = file.read(HEAD)
    kind = recognise(head)
    if kind == "PNG":
        for chunk, data in png_chunks.read_chunks(file, _LARGEST):
            if chunk == b"IDAT":
                break
            if chunk == b"tEXt" and data and png_chunks.keyword(data) == b"Software":
                return data.partition(b"\0")[2]
        return b""
    if head[:2] == b"BM":
        file.seek(-32, io.SEEK_END)
        return b"".join(file.read().rpartition(b"\0" + _PROGRAM)[1:])[1:]
    file.seek(0)
    if kind != "TIFF":
        block = _opened_by_pillow(path).info.get("exif", b"")
        file = io.BytesIO(block.removeprefix(b"Exif\0\0"))
    software = ExifReader(file).read((int(Base.Software),)).get(Base.Software)
    return software.data if isinstance(software, Entry) else b""
