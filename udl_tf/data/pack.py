"""A training set packed into one file: decoded (lr, hr) pairs, read without decoding or copying.

A pack is a folder:

    pack.json                     {"format": 1, "scale": 4, "pictures": 806}, written last
    pairs.bin, pairs.jsonl        the pairs (udl_tf.data.records)
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from udl_tf.data.records import Records, record_writer
from udl_tf.errors import UserError
from udl_tf.files import write_json

FORMAT = 1
_PAIRS = "pairs"
_MANIFEST = "pack.json"

Pair = tuple[np.ndarray, np.ndarray]


class Pack:
    """A pack, opened to read. Safe for several threads.

    Args:
        folder: of the pack.
        scale: that it must have, HR over LR size.

    Raises:
        UserError: if it is damaged or of another scale.

    Attributes:
        names: of the pictures.
    """

    def __init__(self, folder: Path, scale: int):
        file = folder / _MANIFEST
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version, has, count = content["format"], content["scale"], content["pictures"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{file}: damaged: pack the images again") from None
        if version != FORMAT:
            raise UserError(f"{file}: format {version!r}; expected {FORMAT}: pack the images again")
        if has != scale:
            raise UserError(f"{folder}: packed for x{has}, not for x{scale}: pack it so too")
        self._records = Records(folder / _PAIRS)
        self.names = self._records.names
        if len(self.names) != count:
            raise UserError(
                f"{folder}: holds {len(self.names)} of {count} pictures: pack them again"
            )

    def pair(self, index: int) -> Pair:
        """(lr, hr) of a picture, uint8 RGB, read-only."""
        lr, hr = self._records.arrays(index)
        return lr, hr

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of the HR image."""
        height, width, _ = self._records.entries[index].shapes[1]
        return height, width

    def check(self, index: int) -> None:
        """Compares a picture with its checksum.

        Raises:
            UserError: if they differ.
        """
        if not self._records.intact(index):
            folder, name = self._records.path.parent, self.names[index]
            raise UserError(f"{folder}: {name} in it is damaged: pack the images again")


def is_pack(folder: Path) -> bool:
    """Whether a folder holds a complete pack.

    Raises:
        UserError: if it holds one that was broken off.
    """
    if (folder / _MANIFEST).exists():
        return True
    if (folder / f"{_PAIRS}.jsonl").exists():
        raise UserError(f"{folder}: packing was broken off: run the same command again to go on")
    return False


def write_pack(
    folder: Path,
    scale: int,
    pictures: Sequence[tuple[str, Callable[[], Pair]]],
    progress: Callable[[int], object] = lambda count: None,
) -> Pack:
    """Packs pictures; goes on where it was broken off; compares all with their checksums at last.

    Args:
        folder: of the pack; new, or broken off with the same pictures.
        scale: HR over LR size.
        pictures: name of each, and what reads it.
        progress: is told how many pictures were packed since the last time.

    Raises:
        UserError: if the folder holds something else.
    """
    names = [name for name, _ in pictures]
    if folder.exists() and not (folder / f"{_PAIRS}.jsonl").exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty and holds no pack: choose another --output")
    with record_writer(folder / _PAIRS) as writer:
        if writer.done != names[: len(writer.done)]:
            raise UserError(f"{folder}: holds a pack of other pictures: choose another --output")
        progress(len(writer.done))
        for name, read in pictures[len(writer.done) :]:
            writer.add(name, read())
            progress(1)
    manifest = {"format": FORMAT, "scale": scale, "pictures": len(pictures)}
    write_json(folder / _MANIFEST, manifest)
    pack = Pack(folder, scale)
    for index in range(len(pictures)):
        pack.check(index)
    return pack
