"""Arrays in one memory-mapped file: packed training sets and cached uncertainty.

    FOLDER/arrays.bin     the bytes of all arrays
    FOLDER/index.jsonl    facts about the pack, then one line per item: name, shapes, offset, CRC

All arrays are uint8, or of the "dtype" among the facts.

Opening a pack loads nothing: the operating system keeps in memory what is read often. Packing can
be interrupted at any time; the same call resumes it.
"""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.files import write_text
from udl_tf._support.progress import Progress, no_progress
from udl_tf.errors import UserError

FORMAT = 2
_DATA, _INDEX = "arrays.bin", "index.jsonl"

Arrays = Sequence[np.ndarray]
Item = tuple[str, Callable[[], tuple[Arrays, dict[str, Any]]]]
"""Name of an item, and a function that returns its arrays and facts about them."""


class Pack:
    """Complete pack, opened for reading. Safe for several threads.

    Args:
        folder: folder of the pack.

    Raises:
        UserError: if the pack is incomplete, damaged or of another format.

    Attributes:
        folder: folder of the pack.
        facts: facts about the pack, such as its scale.
        entries: for each item "name", "shapes", "offset", "crc32" and "facts".
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.facts, self.entries = _read_index(folder)
        if len(self.entries) < self.facts["count"]:
            raise UserError(f"{folder}: packing was interrupted: run the same command to resume")
        try:
            # As a plain array, whose slices take a fifth of the time that slices of np.memmap take.
            self._bytes = np.asarray(np.memmap(folder / _DATA, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / _DATA}: cannot be read ({error}): pack again") from None
        self._dtype = _dtype(self.facts)
        expected = _end(self.entries[-1], self._dtype) if self.entries else 0
        if len(self._bytes) < expected:
            raise UserError(
                f"{folder / _DATA}: {len(self._bytes)} of {expected} bytes, truncated: pack again"
            )

    def arrays(self, index: int) -> list[np.ndarray]:
        """Returns the arrays of an item as read-only views of the file."""
        start, arrays = self.entries[index]["offset"], []
        for shape in self.entries[index]["shapes"]:
            end = start + math.prod(shape) * self._dtype.itemsize
            arrays.append(self._bytes[start:end].view(self._dtype).reshape(shape))
            start = end
        return arrays

    def check(self, index: int) -> None:
        """Compares an item with its checksum.

        Raises:
            UserError: if they differ.
        """
        if _checksum(self.arrays(index)) != self.entries[index]["crc32"]:
            raise UserError(f"{self.folder}: {self.entries[index]['name']} is damaged: pack again")


def is_pack(folder: Path) -> bool:
    """Returns whether a folder holds a pack, complete or not.

    Raises:
        UserError: for a pack of version 0.1, which this version cannot read.
    """
    if (folder / "pairs.jsonl").exists():
        raise UserError(f"{folder}: a pack of version 0.1: pack the images again into a new folder")
    return (folder / _INDEX).exists()


def write_pack(
    folder: Path, facts: dict[str, Any], items: Sequence[Item], progress: Progress = no_progress
) -> Pack:
    """Packs items, then verifies all checksums.

    Args:
        folder: folder of the pack: new, or with an interrupted or damaged pack of the same items.
        facts: facts about the pack.
        items: items to pack.
        progress: reports the number of items done.

    Raises:
        UserError: if the folder holds anything else.
    """
    facts = {"format": FORMAT, "count": len(items), **facts}
    dtype = _dtype(facts)
    entries = _resume(folder, facts, [name for name, _ in items])
    with open(folder / _DATA, "ab") as data, open(folder / _INDEX, "a", encoding="utf-8") as index:
        data.truncate(_end(entries[-1], dtype) if entries else 0)
        data.seek(0, os.SEEK_END)
        for number, (name, read) in list(enumerate(items))[len(entries) :]:
            arrays, item_facts = read()
            shapes = [list(array.shape) for array in arrays]
            entry = {"name": name, "shapes": shapes, "offset": data.tell()}
            for array in arrays:
                data.write(np.ascontiguousarray(array).data)
            data.flush()
            os.fsync(data.fileno())  # before the index line, which promises that the bytes exist
            line = {**entry, "crc32": _checksum(arrays), "facts": item_facts}
            index.write(json.dumps(line) + "\n")
            index.flush()
            progress(number + 1, len(items), name)
    pack = Pack(folder)
    for number in range(len(entries), len(items)):  # _resume has checked the others
        pack.check(number)
    return pack


def _resume(folder: Path, facts: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Returns the entries before the first missing or damaged item; the index keeps only these."""
    entries: list[dict[str, Any]] = []
    if is_pack(folder):
        old_facts, entries = _read_index(folder)
        if old_facts != facts or [e["name"] for e in entries] != names[: len(entries)]:
            raise UserError(
                f"{folder}: holds a pack of other or changed images, or of other settings: choose a"
                " new folder, or delete this one",
                argument="output",
            )
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: is not empty and holds no pack: choose a new folder", argument="output"
        )
    entries = list(_intact(folder / _DATA, entries, _dtype(facts)))
    write_text(folder / _INDEX, "".join(json.dumps(line) + "\n" for line in [facts, *entries]))
    return entries


def _intact(file: Path, entries: list[dict[str, Any]], dtype: np.dtype) -> Iterator[dict[str, Any]]:
    """Yields the entries before the first that is incomplete or does not match its checksum."""
    if not file.exists():
        return
    with open(file, "rb") as data:
        for entry in entries:
            data.seek(entry["offset"])
            content = data.read(_end(entry, dtype) - entry["offset"])
            if zlib.crc32(content) != entry["crc32"]:
                return
            yield entry


def _read_index(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns (facts, entries); skips a last line that was cut off."""
    file, again = folder / _INDEX, "delete the folder and pack again"
    try:
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        facts, *entries = [json.loads(line) for line in lines]
        version, _ = facts["format"], facts["count"]
        for entry in entries:
            _end(entry, _dtype(facts))
            _ = entry["name"], entry["crc32"], entry["facts"]
            if entry["offset"] < 0:
                raise ValueError(f"offset {entry['offset']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged ({error}): {again}") from None
    if version != FORMAT:
        raise UserError(f"{file}: format {version}; expected {FORMAT}: {again}")
    return facts, entries


def _dtype(facts: dict[str, Any]) -> np.dtype:
    return np.dtype(facts.get("dtype", "uint8"))


def _end(entry: dict[str, Any], dtype: np.dtype) -> int:
    """Returns the offset of the first byte after an item."""
    return entry["offset"] + sum(math.prod(shape) * dtype.itemsize for shape in entry["shapes"])


def _checksum(arrays: Arrays) -> int:
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc
