"""Files and folders that appear under their final name only when they are complete."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TypeVar

Place = TypeVar("Place", bound=PurePath)

_LONGEST_NAME = 255  # bytes, in most file systems
_LONGEST_SUFFIX = 64  # bytes; a longer one is part of a name with a dot


@contextmanager
def complete_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path next to `path`; renames it on success and removes it on error.

    The temporary name has the same suffix, because writers choose their format by it.

    Raises:
        OSError: naming `path`, or another file that the writer named; also if `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows synchronises writable files only
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_space(path: Path, size: int) -> None:
    """Creates a file of `size` bytes, so that a disk or quota that is full is an OSError.

    For writers that crash on a full disk. Does nothing on systems, and in file systems, that cannot
    reserve space.

    Raises:
        OSError: if it does not fit.
    """
    if hasattr(os, "posix_fallocate"):
        with open(path, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise


@contextmanager
def complete_folder(path: Path | str, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder next to `path`; see complete_file.

    Args:
        path: of the folder; must not exist, unless `replace` is set.
        replace: whether to replace a folder that exists, which stays if that fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = temporary_path(path), temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        if replace and path.is_dir():
            os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            if old.is_dir():
                os.rename(old, path)
            raise
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def temporary_path(path: Place) -> Place:
    """Returns a unique, hidden path next to `path`, with its suffix.

    It does not contain the name: file systems allow 255 bytes, which the name may need by itself.
    """
    suffix = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
    if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
        suffix = ""
    return path.with_name(f".{uuid.uuid4().hex}.part{suffix}")


def fitting_name(stem: str, suffix: str) -> str:
    """Returns a file's name, in which a long stem is shortened and distinguished by a checksum."""
    encoded = os.fsencode(stem)
    room = _LONGEST_NAME - len(os.fsencode(suffix))
    if len(encoded) > room:
        mark = f"-{hashlib.sha256(encoded).hexdigest()[:16]}"
        stem = encoded[: room - len(mark)].decode("utf-8", errors="ignore") + mark
    return stem + suffix


def sha256(path: Path | str) -> str:
    """Returns the SHA-256 checksum of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8; the file is complete or does not appear.

    Surrogates, from file names that are not UTF-8, are escaped.
    """
    with complete_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
