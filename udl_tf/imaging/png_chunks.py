"""Chunks of PNG files: reading, and their texts."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT = (b"tEXt", b"zTXt", b"iTXt")
XMP_KEYWORD = b"XML:com.adobe.xmp"

Chunk = tuple[bytes, bytes]
"""Kind and data."""


def read_chunks(file: BinaryIO, largest: int) -> Iterator[tuple[bytes, bytes | None]]:
    """Yields (kind, data) of the chunks between signature and IEND.

    `data` is None for pixels, and where a chunk is damaged or has more than `largest` bytes.

    Args:
        file: from the signature on.
        largest: bytes of a chunk that is read.
    """
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":  # programs append other files
            return
        if kind == b"IDAT" or length > largest:
            file.seek(length + 4, 1)
            yield kind, None
            continue
        data, stored = file.read(length), file.read(4)
        sound = stored == struct.pack(">I", zlib.crc32(kind + data))
        yield kind, data if sound else None


def keyword(data: bytes) -> bytes:
    """Returns the keyword of a text chunk."""
    return data.partition(b"\0")[0]


def inflated_size(kind: bytes, data: bytes, largest: int) -> int:
    """Returns the bytes of a text chunk after decompression, or `largest` + 1 if they are more."""
    _, _, rest = data.partition(b"\0")
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return len(data)
    try:
        return len(zlib.decompressobj().decompress(packed, largest + 1))
    except zlib.error:
        return largest + 1


def itxt_text(data: bytes, largest: int) -> bytes:
    """Returns the text of an iTXt chunk, at most `largest` bytes; as it is stored if damaged."""
    _, _, rest = data.partition(b"\0")
    *_, text = rest[2:].split(b"\0", 2)  # after language and translated keyword
    if rest[:1] != b"\1":
        return text
    try:
        return zlib.decompressobj().decompress(text, largest)
    except zlib.error:
        return text


def itxt(key: bytes, text: bytes) -> Chunk:
    """Returns an iTXt chunk, not compressed."""
    return b"iTXt", key + bytes(5) + text
