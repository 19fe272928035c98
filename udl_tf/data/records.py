"""uint8 arrays in one file, added one after another and read where they lie.

    NAME.bin     the bytes of all arrays
    NAME.jsonl   a line for each record: its name, its arrays' shapes, where they begin, a checksum

Nothing is loaded to open it: the operating system keeps in memory what is read often, and gives it
up when memory is short. Writing can be broken off at any time and taken up again.
"""

import json
import math
import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from udl_tf.errors import UserError
from udl_tf.files import write_text


@dataclass(frozen=True)
class Record:
    """One line of the index.

    Attributes:
        name: of the record.
        shapes: of its arrays.
        offset: of the first of them in the file, bytes.
        crc32: of all their bytes.
        facts: what else was noted.
    """

    name: str
    shapes: list[list[int]]
    offset: int
    crc32: int
    facts: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(math.prod(shape) for shape in self.shapes)


class Records:
    """The records of a file, to read. Safe for several threads.

    Args:
        path: of the two files, without their endings.

    Raises:
        UserError: if there are none, or the index is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.entries = read_index(path)
        self.names = [entry.name for entry in self.entries]
        try:
            with open(_data(path), "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UserError(f"{_data(path)}: cannot be read ({error}): make it again") from None
        end = max((entry.offset + entry.size for entry in self.entries), default=0)
        if end > len(self._bytes):
            raise UserError(
                f"{_data(path)}: {len(self._bytes)} bytes, and its index tells of {end}: cut off,"
                " make it again"
            )

    def __len__(self) -> int:
        return len(self.entries)

    def arrays(self, index: int) -> list[np.ndarray]:
        """The arrays of a record, read-only views of the file."""
        entry, found = self.entries[index], []
        offset = entry.offset
        for shape in entry.shapes:
            size = math.prod(shape)
            found.append(np.frombuffer(self._bytes, np.uint8, size, offset).reshape(shape))
            offset += size
        return found

    def intact(self, index: int) -> bool:
        """Whether a record's bytes are those that were written."""
        return _checksum(self.arrays(index)) == self.entries[index].crc32


class RecordWriter:
    """Adds records to a file; made by `record_writer`.

    Attributes:
        done: names of the records that the file holds.
    """

    def __init__(self, data: BinaryIO, index: TextIO, done: list[str]):
        self._data, self._index, self.done = data, index, done

    def add(self, name: str, arrays: Sequence[np.ndarray], **facts: Any) -> None:
        """Adds a record of uint8 arrays."""
        shapes = [list(array.shape) for array in arrays]
        entry = Record(name, shapes, self._data.tell(), _checksum(arrays), facts)
        for array in arrays:
            self._data.write(np.ascontiguousarray(array).data)
        self._data.flush()
        os.fsync(self._data.fileno())
        self._index.write(_line(entry))
        self._index.flush()
        self.done.append(name)


@contextmanager
def record_writer(path: Path) -> Iterator[RecordWriter]:
    """Opens a file to add records, new or broken off.

    A record counts once it is complete; the rest of one that was broken off is cut away.

    Args:
        path: of the two files, without their endings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = read_index(path) if _index(path).exists() else []
    size = _data(path).stat().st_size if _data(path).exists() else 0
    while entries and entries[-1].offset + entries[-1].size > size:
        entries.pop()
    write_text(_index(path), "".join(map(_line, entries)))
    with open(_data(path), "ab") as data, open(_index(path), "a", encoding="utf-8") as index:
        data.truncate(entries[-1].offset + entries[-1].size if entries else 0)
        data.seek(0, os.SEEK_END)
        yield RecordWriter(data, index, [entry.name for entry in entries])


def read_index(path: Path) -> list[Record]:
    """The index; a last line that was broken off is left out.

    Raises:
        UserError: if there is none or another line is damaged.
    """
    file = _index(path)
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error}): make it again") from None
    entries = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line's end is no line
        try:
            entries.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            raise UserError(f"{file}: line {number} is damaged: make it again") from None
    return entries


def _data(path: Path) -> Path:
    return path.with_name(f"{path.name}.bin")


def _index(path: Path) -> Path:
    return path.with_name(f"{path.name}.jsonl")


def _line(entry: Record) -> str:
    return json.dumps(vars(entry)) + "\n"


def _checksum(arrays: Sequence[np.ndarray]) -> int:
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc
