"""Records of attempts that outlive a crash, to find the image that crashes its process."""

import json
from collections.abc import Iterator

from udl_tf._support.json_files import parse_json
from udl_tf.archive.manifest import Row
from udl_tf.archive.storage import Storage

_CAREFUL = 2  # crashes after which images are upscaled one by one
_IN_VAIN = 3  # crashes after that before any image, until the worker gives up


class Journal:
    """Attempts at the images of one table, stored next to the manifest until they have their rows.

    Images are upscaled together at first. If the process crashes repeatedly, they are upscaled one
    by one, each noted before it starts: an image that is still noted after a crash caused it.

    Args:
        storage: the output.
        name: file of the journal.
    """

    def __init__(self, storage: Storage, name: str):
        self._storage, self._name = storage, name
        content = storage.read(name)
        state = parse_json(content, name) if content else {"attempts": -1, "at": None, "deadly": []}
        self._deadly = state["deadly"] + ([state["at"]] if state["at"] else [])
        self._attempts = state["attempts"] + 1  # processes before this one, all of them crashed
        self._save(None)

    @property
    def is_careful(self) -> bool:
        """Whether the images are to be upscaled one by one."""
        return self._attempts >= _CAREFUL

    @property
    def is_hopeless(self) -> bool:
        """Whether the process keeps crashing before it starts an image."""
        return self._attempts - _CAREFUL - len(self._deadly) >= _IN_VAIN

    def survivors(self, entries: list[Row]) -> Iterator[Row]:
        """Yields the images that have not crashed a process, and notes each before it starts."""
        for entry in entries:
            if entry["source"] not in self._deadly:
                self._save(entry["source"])
                yield entry

    def deadly(self, entries: list[Row]) -> list[Row]:
        """Returns the images that have crashed a process."""
        return [entry for entry in entries if entry["source"] in self._deadly]

    def end(self) -> None:
        """Removes the journal: all its images have their rows."""
        self._storage.delete(self._name)

    def _save(self, at: str | None) -> None:
        state = {"attempts": self._attempts, "at": at, "deadly": self._deadly}
        self._storage.write(self._name, json.dumps(state).encode())
