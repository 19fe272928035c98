"""Mutations of files: of bytes, JSON, PNG chunks, TIFF entries and EXIF orientation."""

import copy
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]
Mutation = Callable[[Draw, bytes], bytes]

PNG = b"\x89PNG\r\n\x1a\n"
EXTREMES = (0, 1, 2, 8, 16, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
OTHERS = (None, True, 0, -1, 1, 3, 0.5, 1e30, 2**70, "", "x", "\n", [], [0], {}, {"x": 0}, [[1]])
"""JSON values of every type."""


@st.composite
def mutated(draw: Draw, content: bytes, more: Sequence[Mutation] = ()) -> bytes:
    """Yields a content after one to four mutations: of bytes, and those given."""
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        content = draw(st.sampled_from((*BYTES, *more)))(draw, content)
    return content


@st.composite
def mutated_json(draw: Draw, content: bytes) -> bytes:
    """Yields a JSON file, one to three of whose values are replaced, dropped or renamed."""
    tree = json.loads(content)
    for _ in range(draw(st.sampled_from((1, 1, 3)))):
        tree = _change_value(draw, copy.deepcopy(tree))
    return json.dumps(tree).encode()


def _change_value(draw: Draw, tree: Any) -> Any:
    """Replaces, drops or renames one value of a JSON tree."""
    if not (isinstance(tree, dict | list) and tree):
        return draw(st.sampled_from(OTHERS))
    parent, key = tree, draw(_keys(tree))
    while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 2)):
        parent = parent[key]
        key = draw(_keys(parent))
    action = draw(st.sampled_from(("replace", "replace", "drop", "rename")))
    if action == "replace":
        parent[key] = draw(st.sampled_from(OTHERS))
    elif action == "drop" or isinstance(parent, list):
        del parent[key]
    else:
        parent[key + "s"] = parent.pop(key)
    return tree


def _keys(parent: Any) -> st.SearchStrategy:
    return st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent)))


def _place(draw: Draw, content: bytes, length: int = 0) -> int:
    """Draws an offset; every other one is near the beginning, where headers are."""
    most = max(0, len(content) - length)
    return draw(st.one_of(st.integers(0, most), st.integers(0, min(most, 64))))


def replace_bytes(draw: Draw, content: bytes) -> bytes:
    place, new = _place(draw, content), draw(st.binary(min_size=1, max_size=4))
    return content[:place] + new + content[place + len(new) :]


def insert_bytes(draw: Draw, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw(st.binary(min_size=1, max_size=16)) + content[place:]


def delete_bytes(draw: Draw, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + content[place + draw(st.integers(1, 64)) :]


def truncate(draw: Draw, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def repeat_slice(draw: Draw, content: bytes) -> bytes:
    first, place = _place(draw, content), _place(draw, content)
    return content[:place] + content[first : first + draw(st.integers(1, 256))] + content[place:]


def set_number(draw: Draw, content: bytes) -> bytes:
    form = draw(st.sampled_from((">H", "<H", ">I", "<I")))
    size = struct.calcsize(form)
    place, value = _place(draw, content, size), draw(st.sampled_from(EXTREMES))
    packed = struct.pack(form, value & (256**size - 1))
    return content[:place] + packed + content[place + size :]


BYTES = (replace_bytes, insert_bytes, delete_bytes, truncate, repeat_slice, set_number)


def change_png_chunk(draw: Draw, content: bytes) -> bytes:
    """Mutates the data of a chunk, or drops, repeats or moves it; checksums are repaired."""
    chunks = chunks_of(content)
    if not chunks:
        return content
    index = draw(st.integers(0, len(chunks) - 1))
    kind, data = chunks.pop(index)
    action = draw(st.sampled_from(("data", "data", "drop", "repeat", "move")))
    if action == "data":
        chunks.insert(index, (kind, draw(st.sampled_from(BYTES))(draw, data)))
    elif action != "drop":
        chunks.insert(draw(st.integers(0, len(chunks))), (kind, data))
        if action == "repeat":
            chunks.insert(index, (kind, data))
    return png_of(chunks)


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """Returns (kind, data) of the chunks of a PNG."""
    chunks, place = [], len(PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunks.append((kind, content[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Returns the PNG of chunks, with their checksums."""
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def change_tiff_entry(draw: Draw, content: bytes) -> bytes:
    """Rewrites tag, type, count or value of an entry of the first IFD, of a classic TIFF."""
    order = "<" if content[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, place)
    except struct.error:
        return content
    entry = place + 2 + 12 * draw(st.integers(0, max(0, min(count, 64) - 1)))
    offset, form, values = draw(
        st.sampled_from(
            (
                (0, "H", st.integers(254, 346)),
                (2, "H", st.integers(0, 20)),
                (4, "I", st.one_of(st.integers(0, 9), st.sampled_from(EXTREMES))),
                (8, "H", st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF))),
                (8, "I", st.one_of(st.integers(0, 999), st.sampled_from(EXTREMES))),
            )
        )
    )
    packed = struct.pack(order + form, draw(values))
    place = entry + offset
    return content[:place] + packed + content[place + len(packed) :]


def set_orientation(draw: Draw, content: bytes) -> bytes:
    """Sets the value of the first entry of EXIF that looks like an orientation."""
    for order, entry in (("<", b"\x12\x01\3\0\1\0\0\0"), (">", b"\x01\x12\0\3\0\0\0\1")):
        if (place := content.find(entry)) >= 0:
            value = struct.pack(f"{order}H", draw(st.integers(0, 10)))
            place += len(entry)
            return content[:place] + value + content[place + 2 :]
    return content
