"""JPEG 2000, JPEG XL, AVIF and HEIC files with 8 to 16 bits per channel."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import imagecodecs
import numpy as np

from udl_tf.imaging import formats
from udl_tf.imaging.decoded import Decoded, Unsupported, load_exif, read_exif
from udl_tf.imaging.jpeg_xl_header import JpegXlHeader
from udl_tf.imaging.pillow_files import frame_notes, open_with_pillow, pixels_of
from udl_tf.imaging.samples import ALPHA, PREMULTIPLIED, to_full_range, with_alpha

_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # UUID of its box in JPEG 2000
_LARGEST = 2**20  # bytes of a compressed box of metadata
_SRGB_PRIMARIES = {1, 2}  # of ITU-T H.273: sRGB and BT.709, unspecified
_SRGB_TRANSFERS = {1, 2, 6, 13, 14, 15}  # BT.709 and equivalents, unspecified, sRGB


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yields (type, first byte, end) of the contents of the boxes of an ISO media file."""
    end = len(data) if end is None else min(end, len(data))
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        first = start + 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, first)
            first += 8
        stop = end if length == 0 else start + length
        if not first <= stop:
            return
        yield kind, first, min(stop, end)
        start = stop


class Jpeg2000File:
    """A JPEG 2000 file (JP2) or codestream (J2K)."""

    def __init__(self, file: BinaryIO):
        data = self._data = file.read()
        found = {kind: (first, end) for kind, first, end in boxes(data)}
        start = 0 if data.startswith(b"\xff\x4f") else found[b"jp2c"][0]
        # SIZ, the first marker: size and offset of the image; the components with their depths.
        right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
        (channels,) = struct.unpack_from(">H", data, start + 40)
        depths = {data[start + 42 + 3 * channel] for channel in range(channels)}
        self.width, self.height = right - left, bottom - top
        header = data[slice(*found.get(b"jp2h", (0, 0)))]
        self._header = {kind: header[first:end] for kind, first, end in boxes(header)}
        if b"pclr" in self._header:  # the decoder applies the palette
            count = self._header[b"pclr"][2]
            depths, channels = set(self._header[b"pclr"][3 : 3 + count]), count
        if len(depths) > 1 or max(depths) > 15 or channels > 4:
            raise Unsupported(
                f"JPEG 2000 with {channels} channels and depths {sorted(depths)} (marker SIZ);"
                " expected at most 4 unsigned channels of one depth up to 16 bits: convert it to"
                " TIFF first"
            )
        self._maximum = 2 ** (depths.pop() + 1) - 1

    def decode(self) -> Decoded:
        icc_profile = None
        color = self._header.get(b"colr", b"\x01\0\0" + struct.pack(">I", 16))
        if color[0] == 1:
            (space,) = struct.unpack_from(">I", color, 3)
            if space not in (16, 17, 18):  # sRGB, grey, sYCC
                raise Unsupported(
                    f"JPEG 2000 in the colour space {space} (box colr); expected sRGB, grey or"
                    " sYCC: convert it to PNG or TIFF first"
                )
        else:
            icc_profile = color[3:]
        pixels = to_full_range(imagecodecs.jpeg2k_decode(self._data), self._maximum)
        pixels, notes = with_alpha(pixels, self._alpha_type())
        return Decoded(pixels, icc_profile, xmp=self._xmp(), notes=notes)

    def _xmp(self) -> bytes | None:
        contents = (
            self._data[first:end] for kind, first, end in boxes(self._data) if kind == b"uuid"
        )
        return next((content[16:] for content in contents if content.startswith(_XMP)), None)

    def _alpha_type(self) -> int:
        """Returns the type of the last channel in the box cdef: 1 alpha, 2 premultiplied alpha."""
        entries = self._header.get(b"cdef", b"")[2:]
        types = dict(struct.iter_unpack(">HH2x", entries[: len(entries) // 6 * 6]))
        return types[max(types)] if types else 0


class JpegXlFile:
    """A JPEG XL file or codestream."""

    def __init__(self, file: BinaryIO):
        data = self._data = file.read()
        self._exif: bytes | None = None
        self._xmp: bytes | None = None
        codestream = data
        if not data.startswith(b"\xff\x0a"):
            parts = []
            for kind, first, end in boxes(data):
                content = data[first:end]
                if kind == b"brob":
                    kind, content = content[:4], _decompressed(content[4:])
                if kind == b"jxlc":
                    parts.append(content)
                elif kind == b"jxlp":
                    parts.append(content[4:])
                elif kind == b"Exif":
                    self._exif = content[4:]
                elif kind == b"xml ":
                    self._xmp = content
            codestream = b"".join(parts)
        self._header = JpegXlHeader(codestream)
        self.width, self.height = self._header.width, self._header.height
        if self._header.is_float or self._header.bits > 16:
            raise Unsupported(
                f"JPEG XL with {self._header.bits} bits per channel; expected 8 to 16 bits: convert"
                " it to TIFF first"
            )

    def decode(self) -> Decoded:
        notes = ["only the first frame of an animation read"] if self._header.is_animated else []
        pixels = imagecodecs.jpegxl_decode(self._data, index=0, keeporientation=False)
        pixels = to_full_range(pixels, 2**self._header.bits - 1)
        pixels, others = with_alpha(pixels, self._header.alpha_type)
        icc_profile = None
        if self._header.is_linear:
            kind = "gray" if pixels.ndim == 2 or pixels.shape[2] == 2 else "rgb"
            icc_profile = imagecodecs.cms_profile(kind, gamma=1.0)
        elif not self._header.is_srgb:
            notes.append("colour profile of JPEG XL not read: colours taken as sRGB")
        notes += others
        return Decoded(
            pixels, icc_profile, exif_block=self._exif, xmp=self._xmp, notes=tuple(notes)
        )


def _decompressed(data: bytes) -> bytes:
    """Returns the content of a compressed box, as it is stored if it is damaged or too large."""
    try:
        return bytes(imagecodecs.brotli_decode(data, out=_LARGEST))
    except RuntimeError:
        return data


class AvifFile:
    """An AVIF file; Pillow reads all but pixels of 10 and 12 bits.

    Attributes:
        image: as Pillow opened it.
    """

    def __init__(self, file: BinaryIO):
        self._data = file.read()
        file.seek(0)
        self.image = open_with_pillow(file)
        self.width, self.height = self.image.size

    def decode(self) -> Decoded:
        notes = frame_notes(self.image)
        exif, depths = read_exif(partial(load_exif, self.image)), _avif_depths(self._data)
        if max(depths, default=8) == 8:
            pixels, icc_profile = pixels_of(self.image, notes)
        elif len(depths) > 1:
            raise Unsupported(
                f"AVIF with depths {sorted(depths)}; expected one depth: convert it to TIFF first"
            )
        else:
            pixels = imagecodecs.avif_decode(self._data, index=0)
            pixels = to_full_range(pixels, 2 ** depths.pop() - 1)
            icc_profile = self.image.info.get("icc_profile")
        notes += [] if icc_profile else _color_notes(self._data)
        return Decoded(pixels, icc_profile, exif, notes=tuple(notes))


def _avif_depths(data: bytes) -> set[int]:
    """Returns the bits per channel of the images in an AVIF file, by their boxes av1C."""
    depths = set()
    for kind, first, end in _properties(data):
        if kind == b"av1C" and end - first >= 3:
            flags = data[first + 2]
            depths.add((12 if flags & 0x20 else 10) if flags & 0x40 else 8)
    return depths


def _color_notes(data: bytes) -> list[str]:
    """Returns a note if the file states colours other than sRGB, such as HDR."""
    for kind, first, _ in _properties(data):
        if kind == b"colr" and data[first : first + 4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", data, first + 4)
            if primaries not in _SRGB_PRIMARIES or transfer not in _SRGB_TRANSFERS:
                return [
                    f"colour primaries {primaries} and transfer {transfer} (ITU-T H.273) taken as"
                    " sRGB"
                ]
    return []


def _properties(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the item properties of an ISO media file: meta/iprp/ipco/*."""
    for meta, first, end in boxes(data):
        if meta == b"meta":
            for iprp, inner, inner_end in boxes(data, first + 4, end):
                if iprp == b"iprp":
                    for ipco, place, place_end in boxes(data, inner, inner_end):
                        if ipco == b"ipco":
                            yield from boxes(data, place, place_end)


class HeifFile:
    """A HEIC file, read with pillow-heif, which turns it upright."""

    def __init__(self, file: BinaryIO):
        if not formats.HAS_HEIF:
            raise Unsupported(formats.NEEDS_HEIF)
        import pillow_heif

        self._data = file.read()
        heif = pillow_heif.open_heif(self._data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        self._frames, self._image = len(heif), heif[heif.primary_index]
        self.width, self.height = self._image.size

    def decode(self) -> Decoded:
        image, icc_profile = self._image, self._image.info.get("icc_profile")
        notes = [] if icc_profile else _color_notes(self._data)
        if self._frames > 1:
            notes.append(f"only the main one of {self._frames} frames or pages read")
        bits = image.info.get("bit_depth", 8)
        pixels = to_full_range(np.asarray(image), 2**bits - 1)
        premultiplied = image.mode.startswith(("RGBa", "La"))
        pixels, _ = with_alpha(pixels, PREMULTIPLIED if premultiplied else ALPHA)
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
        return Decoded(pixels, icc_profile, exif_block=exif, xmp=xmp, notes=tuple(notes))
