"""GDAL, run within bounded memory; its failures become one line."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
import tifffile
from rasterio.errors import RasterioError

from udl_tf.errors import UserError, first_line
from udl_tf.imaging.library_warnings import collected_warnings

_CACHE = 64 * 2**20  # bytes of decoded blocks that GDAL keeps; its default is 5 % of the memory
_LOG = logging.getLogger("rasterio._env")
_WRITING = {"GDAL_PAM_ENABLED": False, "GDAL_TIFF_INTERNAL_MASK": True, "SPARSE_OK_OVERVIEW": True}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Runs GDAL inside the block, which reads a file.

    Raises:
        UserError: if GDAL fails, naming the file.
    """
    with collected_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE):
        try:
            yield
        except RasterioError as error:
            reason = first_line(error.__cause__ or error)
            raise UserError(f"{path}: cannot be read ({reason}): replace or remove it") from error
        except UnicodeEncodeError as error:
            raise UserError(f"{path}: its name is not UTF-8, as GDAL expects: rename it") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Runs GDAL inside the block, which writes a file, with masks inside it and none beside it.

    Raises:
        UserError: if GDAL fails, naming the file.
    """
    with (
        collected_warnings(),
        rasterio.Env(GDAL_CACHEMAX=_CACHE, **_WRITING),
        _logged_failures() as failures,
    ):
        try:
            yield
        except RasterioError as error:
            raise _unwritten(path, first_line(error.__cause__ or error)) from error
        if failures:
            raise _unwritten(path, failures[0])


def require_complete(written: Path, path: Path) -> None:
    """Checks that a TIFF file contains all blocks that it lists; on a full disk, GDAL loses some.

    Args:
        written: the file.
        path: its final path.

    Raises:
        UserError: if it does not.
    """
    size = written.stat().st_size
    try:
        with tifffile.TiffFile(written) as tiff:
            pages = [page.aspage() for page in tiff.pages]
            ends = [
                offset + count
                for page in pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    except Exception as error:  # tifffile raises exceptions of many kinds
        raise _unwritten(path, first_line(error)) from error
    if max(ends, default=0) > size:
        raise _unwritten(path, f"{max(ends)} bytes expected, {size} stored")


def _unwritten(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: cannot be written ({reason}): check the disk")


@contextmanager
def _logged_failures() -> Iterator[list[str]]:
    """Collects failures of this thread that rasterio only logs, such as of blocks in `close`."""
    handler, level = _Failures(), _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield handler.messages
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(handler)


class _Failures(logging.Handler):
    """Collects messages of GDAL, which are the last argument of a record."""

    def __init__(self):
        super().__init__(logging.INFO)
        self._thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        is_own = record.thread == self._thread
        if is_own and record.msg.startswith("GDAL signalled") and isinstance(record.args, tuple):
            self.messages.append(str(record.args[-1]))
