"""Folders and object stores, by path or URI."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from udl_tf._support.files import temporary_path
from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.opening import NO_FILE
from udl_tf.inference.inputs import Skipped


@dataclass(frozen=True)
class Entry:
    """An image file of an archive.

    Attributes:
        name: path below the archive's root.
        size: bytes.
        modified: time of the last change.
    """

    name: str
    size: int
    modified: datetime | None


class Storage:
    """Files below a path or URI, such as "photos", "s3://bucket/photos" or "gs://bucket/photos".

    A file appears under its final name only when it is complete.

    Args:
        uri: path of a folder, or URI.

    Attributes:
        uri: absolute path or URI, to open the storage again.
        place: `uri` without keys and options, for messages.
        root: path inside the file system.

    Raises:
        UserError: if the URI is malformed or its scheme is not supported.
    """

    def __init__(self, uri: str):
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
                " gs://BUCKET/FOLDER or another URI that Apache Arrow supports"
            ) from None
        self.root = root.rstrip("/")

    def holds(self, other: "Storage") -> bool:
        """Returns whether the other is the same folder, or a folder below."""
        return self._fs.equals(other._fs) and f"{other.root}/".startswith(f"{self.root}/")

    def images(self, skip: "Storage", skipped: Skipped) -> Iterator[Entry]:
        """Lists image files, recognised by suffix, folder by folder.

        Hidden files and folders, links to folders, and the folder `skip` are skipped. An image or
        folder whose name is not UTF-8 cannot be opened; it is listed with backslashes in its name,
        so that it is reported.

        Args:
            skip: folder of the results.
            skipped: receives what else is found.

        Raises:
            UserError: if the folder does not exist.
        """
        self.check()
        results = skip.root if skip._fs.equals(self._fs) else None
        folders = [self.root]
        while folders:
            below, folder = [], folders.pop()
            for path, is_utf8, info in self._list(folder, skipped):
                name = PurePosixPath(path)
                is_folder = info.type == fs.FileType.Directory
                if name.name.startswith(".") or path == results:
                    continue
                if is_folder and self._is_link(path):
                    skipped.add_link()
                elif is_folder and is_utf8:
                    below.append(path)
                elif not is_folder and name.suffix.lower() not in READABLE:
                    skipped.add_file(name.suffix.lower())
                elif is_folder or info.type == fs.FileType.File:
                    yield Entry(path[len(self.root) + 1 :], info.size or 0, info.mtime)
                else:
                    skipped.failed.append(UserError(f"{path}: {NO_FILE}"))
            folders += reversed(below)

    def _list(self, folder: str, skipped: Skipped) -> list[tuple[str, bool, fs.FileInfo]]:
        """Returns (path, whether it is UTF-8, info) of what a folder contains, sorted by path."""
        try:
            found = self._fs.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            for link in self._broken_links(folder):  # which Arrow does not list
                if not link.name.startswith(".") and link.suffix.lower() in READABLE:
                    skipped.failed.append(UserError(f"{link}: {NO_FILE}"))
        except OSError as error:
            skipped.add_unlisted(folder, error)
            return []
        return sorted(map(_decode_path, found), key=lambda item: item[0])

    def _broken_links(self, folder: str) -> list[Path]:
        if self._fs.type_name != "local":
            return []
        with os.scandir(folder) as found:
            links = [Path(entry.path) for entry in found if entry.is_symlink()]
        return [link for link in links if not os.path.exists(link)]

    def find_any(self) -> str | None:
        """Returns the first name in the folder that is not hidden; None: there is none."""
        names = (PurePosixPath(path).name for path, _, _ in self._list(self.root, Skipped()))
        return next((name for name in names if not name.startswith(".")), None)

    def check(self) -> None:
        """Raises UserError if the folder does not exist."""
        if self._fs.get_file_info(self.root).type != fs.FileType.Directory:
            raise UserError(f"{self.place}: no such folder: check the path")

    def _is_link(self, path: str) -> bool:
        return self._fs.type_name == "local" and os.path.islink(path)

    def names(self, folder: str) -> list[str]:
        """Lists the names of files directly in a folder; none if the folder does not exist."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File and not info.base_name.startswith(".")
        )

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; None if it does not exist.

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
        if self._fs.type_name not in ("local", "hdfs"):  # an object store shows complete files only
            with self._fs.open_output_stream(str(path)) as file:
                file.write(content)
            return
        self._fs.create_dir(str(path.parent), recursive=True)
        temporary = str(temporary_path(path))
        try:
            with self._fs.open_output_stream(temporary) as file:
                file.write(content)
            self._fs.move(temporary, str(path))
        except OSError:
            with suppress(OSError):
                self._fs.delete_file(temporary)
            raise

    def delete(self, name: str) -> None:
        """Removes a file, if it exists."""
        with suppress(FileNotFoundError):
            self._fs.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def _decode_path(info: fs.FileInfo) -> tuple[str, bool, fs.FileInfo]:
    """Returns (path, whether it is UTF-8, info); backslashes escape what is not UTF-8."""
    try:
        path, is_utf8 = info.path, True
    except UnicodeDecodeError as error:
        path, is_utf8 = error.object.decode("utf-8", "backslashreplace"), False
    return path.rstrip("/"), is_utf8, info
