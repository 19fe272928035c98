"""Folders and object stores, by path or URI."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from udl_tf.errors import UserError, needs_extra
from udl_tf.inference.jobs import INPUT_SUFFIXES


@dataclass(frozen=True)
class Entry:
    """A picture of an archive.

    Attributes:
        name: its path below the archive's root.
        size: bytes.
        modified: when it was changed last.
    """

    name: str
    size: int
    modified: datetime | None


class Storage:
    """What is below a path or URI, such as "photos", "s3://bucket/photos" or "gs://bucket/photos".

    A file appears under its final name only when it is complete.

    Attributes:
        uri: to open it again.
        place: the same without keys and options, to be shown.

    Raises:
        UserError: for a URI that is none, or of an unknown kind.
    """

    def __init__(self, uri: str):
        with needs_extra("ray"):
            import pyarrow as pa
            from pyarrow import fs
        # Absolute: actors on other machines have other working directories.
        self.uri = self.place = uri if "://" in uri else str(Path(uri).resolve())
        if "://" in uri:
            parts = urlsplit(uri)
            self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._fs: Any
        try:
            if "://" in uri:
                self._fs, root = fs.FileSystem.from_uri(uri)
            else:
                self._fs, root = fs.LocalFileSystem(), Path(self.uri).as_posix()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{self.place}: cannot be opened ({error}): expected a folder, s3://BUCKET/FOLDER,"
                " gs://BUCKET/FOLDER or another URI that Apache Arrow knows"
            ) from None
        self.root = root.rstrip("/")
        self._kinds = fs.FileType
        self._select = fs.FileSelector

    def holds(self, other: "Storage") -> bool:
        """Whether the other is the same folder, or one below."""
        return self._fs.equals(other._fs) and f"{other.root}/".startswith(f"{self.root}/")

    def pictures(self, leave_out: "Storage") -> Iterator[Entry]:
        """Pictures by suffix, folder after folder; none that is hidden or in `leave_out`.

        Links to folders are not followed. A picture or folder whose name is no UTF-8, which cannot
        be opened, comes with backslashes in its name.

        Raises:
            UserError: if there is no such folder.
        """
        self.check()
        hidden = leave_out.root if leave_out._fs.equals(self._fs) else None
        folders = [self.root]
        while folders:
            below, folder = [], folders.pop()
            found = self._fs.get_file_info(self._select(folder, allow_not_found=True))
            for path, sound, info in sorted(map(_named, found), key=lambda named: named[0]):
                name = PurePosixPath(path)
                is_folder = info.type == self._kinds.Directory
                if name.name.startswith(".") or path == hidden or (is_folder and self._links(path)):
                    continue
                if is_folder and sound:
                    below.append(path)
                is_picture = info.type == self._kinds.File and name.suffix.lower() in INPUT_SUFFIXES
                if is_picture or (is_folder and not sound):
                    yield Entry(path[len(self.root) + 1 :], info.size or 0, info.mtime)
            folders += reversed(below)

    def check(self) -> None:
        """Raises UserError if there is no such folder."""
        if self._fs.get_file_info(self.root).type != self._kinds.Directory:
            raise UserError(f"{self.place}: no such folder: check the path")

    def _links(self, path: str) -> bool:
        return self._fs.type_name == "local" and os.path.islink(path)

    def names(self, folder: str) -> list[str]:
        """Of the files directly in a folder, without it; none if there is no such folder."""
        selector = self._select(self._path(folder), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._fs.get_file_info(selector)
            if info.type == self._kinds.File and not info.base_name.startswith(".")
        )

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is no such file.

        Raises:
            OSError: if it cannot be read.
        """
        try:
            with self._fs.open_input_file(self._path(name)) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, complete or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        path = PurePosixPath(self._path(name))
        if self._fs.type_name not in ("local", "hdfs"):  # object stores show complete objects only
            with self._fs.open_output_stream(str(path)) as file:
                file.write(content)
            return
        self._fs.create_dir(str(path.parent), recursive=True)
        temporary = str(path.with_name(f".{path.name}.part"))
        try:
            with self._fs.open_output_stream(temporary) as file:
                file.write(content)
            self._fs.move(temporary, str(path))
        except OSError:
            with suppress(OSError):
                self._fs.delete_file(temporary)
            raise

    def delete(self, name: str) -> None:
        """Removes a file, if it is there."""
        with suppress(FileNotFoundError):
            self._fs.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def _named(info: Any) -> tuple[str, bool, Any]:
    """(path, whether it is UTF-8, else it is shown with backslashes, the FileInfo itself)."""
    try:
        path, sound = info.path, True
    except UnicodeDecodeError as error:
        path, sound = error.object.decode("utf-8", "backslashreplace"), False
    return path.rstrip("/"), sound, info
