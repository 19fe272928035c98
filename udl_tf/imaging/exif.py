"""EXIF: the entries that describe an image rather than its file, copied as they are stored.

Entries keep their type and their bytes; Pillow would store accented letters as question marks.
"""

import io
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL.ExifTags import GPS, IFD, Base, Interop

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_FRACTIONS = (5, 10)  # types of two numbers each
ASCII, RATIONAL, SHORT, LONG = 2, 5, 3, 4  # types of entries
_LARGEST = 2**20  # bytes of an entry that is read

XMP = 700  # tag of a TIFF
RESOLUTION = (Base.XResolution, Base.YResolution, Base.ResolutionUnit)


def _tags(names: str) -> frozenset[int]:
    return frozenset(Base[name] for name in names.split())


DESCRIPTIVE = {
    0: _tags(
        "DocumentName ImageDescription Make Model DateTime Artist HostComputer Rating RatingPercent"
        " Copyright XPTitle XPComment XPAuthor XPKeywords XPSubject"
    ),
    IFD.Exif: _tags(
        "ExposureTime FNumber ExposureProgram SpectralSensitivity ISOSpeedRatings SensitivityType"
        " StandardOutputSensitivity RecommendedExposureIndex ISOSpeed ExifVersion DateTimeOriginal"
        " DateTimeDigitized OffsetTime OffsetTimeOriginal OffsetTimeDigitized ShutterSpeedValue"
        " ApertureValue BrightnessValue ExposureBiasValue MaxApertureValue SubjectDistance"
        " MeteringMode LightSource Flash FocalLength UserComment SubsecTime SubsecTimeOriginal"
        " SubsecTimeDigitized ColorSpace SensingMethod FileSource SceneType CustomRendered"
        " ExposureMode WhiteBalance DigitalZoomRatio FocalLengthIn35mmFilm SceneCaptureType"
        " GainControl Contrast Saturation Sharpness SubjectDistanceRange ImageUniqueID"
        " CameraOwnerName BodySerialNumber LensSpecification LensMake LensModel LensSerialNumber"
    ),
    IFD.GPSInfo: frozenset(GPS),
    IFD.Interop: frozenset({Interop.InteropIndex, Interop.InteropVersion}),  # the colour space
}
"""Tags that apply to the result too, by their IFD; 0 is the first one."""

_NESTED = {0: (IFD.Exif, IFD.GPSInfo), IFD.Exif: (IFD.Interop,)}
_NAMES = {
    int(IFD.MakerNote): "maker note",
    33723: "IPTC",
    34377: "Photoshop data",
    34735: "GeoTIFF tags",
}
# Tags of the first IFD below this one are those of TIFF, which describe the file.
_FIRST_PRIVATE = 0x8000
_FILLING = (34675, 0xEA1C, 0xEA1D)  # the colour profile, which is read elsewhere, and padding


class Entry(NamedTuple):
    """An entry of an IFD: its type, and its value as bytes in little-endian order."""

    kind: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _SIZES[self.kind]


Ifd = dict[int, "Entry | Ifd"]
"""Entries by tag; those of IFD.Exif, IFD.GPSInfo and IFD.Interop are IFDs themselves."""


class ExifReader:
    """Reads entries from a TIFF file, or from an EXIF block, which has the same structure.

    Args:
        file: from the byte order mark on.

    Attributes:
        omitted: names of what is not read; grows while reading.

    Raises:
        ValueError: if it does not begin like a TIFF.
    """

    def __init__(self, file: BinaryIO):
        self._file, self.omitted = file, dict[str, None]()
        head = file.read(16)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self._order or len(head) < 8:
            raise ValueError("no byte order mark")
        self._big = self._unpack("H", head[2:4]) == (43,)
        (self._first,) = self._unpack("Q", head[8:]) if self._big else self._unpack("I", head[4:8])

    def read(self, more: tuple[int, ...] = ()) -> Ifd:
        """Returns the descriptive entries, and those of the first IFD whose tags are in `more`."""
        return self._ifd(0, self._first, more)

    def has_second_image(self) -> bool:
        """Returns whether a second IFD follows: the thumbnail of an EXIF block."""
        self._file.seek(self._first)
        (count,) = self._unpack("H", self._file.read(2))
        self._file.seek(12 * count, 1)
        return any(self._file.read(4))

    def _ifd(self, place: int, offset: int, more: tuple[int, ...] = ()) -> Ifd:
        result: Ifd = {}
        for tag, kind, count, field in self._fields(offset):
            if tag in _NESTED.get(place, ()):
                form = "Q" if len(field) == 8 and kind not in (LONG, 13) else "I"
                (inner,) = self._unpack(form, field[: struct.calcsize(form)])
                if nested := self._ifd(tag, inner):
                    result[tag] = nested
            elif tag in DESCRIPTIVE[place] or tag in more:
                data = self._value(kind, count, field)
                if data is not None:
                    result[tag] = Entry(kind, data)
            elif tag in _NAMES or (place == 0 and tag >= _FIRST_PRIVATE and tag not in _FILLING):
                self.omitted[_NAMES.get(tag, "private tags")] = None
        return result

    def _fields(self, offset: int) -> Iterator[tuple[int, int, int, bytes]]:
        """Yields (tag, type, count, value or its offset) of each entry of an IFD."""
        length, form, size = ("Q", "HHQ8s", 20) if self._big else ("H", "HHI4s", 12)
        self._file.seek(offset)
        head = self._file.read(struct.calcsize(length))
        if len(head) < struct.calcsize(length):
            self.omitted["damaged EXIF"] = None
            return
        (count,) = self._unpack(length, head)
        table = self._file.read(size * min(count, 4096))
        if len(table) < size * count:
            self.omitted["damaged EXIF"] = None
        for start in range(0, len(table) - size + 1, size):
            yield self._unpack(form, table[start : start + size])

    def _value(self, kind: int, count: int, field: bytes) -> bytes | None:
        """Returns the bytes of a value in little-endian order; None: damaged."""
        size = _SIZES.get(kind, 0) * count
        if 0 < size <= len(field):
            data = field[:size]
        elif 0 < size <= _LARGEST:
            self._file.seek(*self._unpack("Q" if self._big else "I", field))
            data = self._file.read(size)
        else:
            data = b""
        if not data or len(data) < size:
            self.omitted["damaged EXIF"] = None
            return None
        unit = _SIZES[kind] // 2 if kind in _FRACTIONS else _SIZES[kind]
        return np.frombuffer(data, f"{self._order}u{unit}").astype(f"<u{unit}").tobytes()

    def _unpack(self, form: str, data: bytes) -> tuple:
        return struct.unpack(self._order + form, data)


def ifd_bytes(ifd: Ifd, offset: int, stored: Mapping[int, bytes] | None = None) -> bytes:
    """Returns an IFD, with the IFDs in it, as it is stored at an offset of a little-endian file.

    Args:
        ifd: entries.
        offset: bytes from the byte order mark.
        stored: further entries by tag, as they are stored in this file.
    """
    records, tail = dict(stored or {}), b""
    end = offset + 2 + 12 * len(records.keys() | ifd.keys()) + 4
    for tag, value in ifd.items():
        place = end + len(tail)
        if isinstance(value, dict):
            kind, count, field = LONG, 1, struct.pack("<I", place)
            tail += ifd_bytes(value, place)
        else:
            kind, count, field = value.kind, value.count, value.data
            if len(field) > 4:
                tail += field + bytes(len(field) % 2)  # values begin at even offsets
                field = struct.pack("<I", place)
        records[tag] = struct.pack("<HHI4s", tag, kind, count, field)
    table = b"".join(records[tag] for tag in sorted(records))
    return struct.pack("<H", len(records)) + table + bytes(4) + tail


def append_to_tiff(file: BinaryIO, ifd: Ifd) -> None:
    """Adds entries to a little-endian TIFF file of one page: appends a new IFD.

    Args:
        file: open for reading and writing.
        ifd: the entries.
    """
    file.seek(4)
    file.seek(*struct.unpack("<I", file.read(4)))
    (count,) = struct.unpack("<H", file.read(2))
    records = [file.read(12) for _ in range(count)]
    stored = {int.from_bytes(record[:2], "little"): record for record in records}
    file.write(bytes(file.seek(0, io.SEEK_END) % 2))  # IFDs begin at even offsets
    place = file.tell()
    file.write(ifd_bytes(ifd, place, stored))
    file.seek(4)
    file.write(struct.pack("<I", place))


def exif_block(ifd: Ifd) -> bytes:
    """Returns entries as the EXIF block of a JPEG; other formats store it without its prefix."""
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd_bytes(ifd, 8)


def shortened(ifd: Ifd, limit: int) -> tuple[Ifd, bool]:
    """Removes the largest entries until the EXIF block has at most `limit` bytes.

    Returns:
        (entries, whether any was removed).
    """
    removed = False
    while len(exif_block(ifd)) > limit:
        ifd, removed = _without_largest(ifd), True
    return ifd, removed


def _without_largest(ifd: Ifd) -> Ifd:
    largest = max(ifd, key=lambda tag: _length(ifd[tag]))
    value = ifd[largest]
    rest = {tag: entry for tag, entry in ifd.items() if tag != largest}
    return rest | {largest: _without_largest(value)} if isinstance(value, dict) else rest


def _length(value: "Entry | Ifd") -> int:
    """Returns the bytes of the largest entry."""
    if isinstance(value, dict):
        return max(map(_length, value.values()), default=0)
    return len(value.data)
