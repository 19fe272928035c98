"""GDAL, run within bounded memory; what it reports becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from udl_tf.errors import UserError, first_line
from udl_tf.imaging.library_warnings import collected_warnings

_CACHE = 64 * 2**20  # bytes of decoded blocks that GDAL keeps; its default is 5 % of the memory


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Runs GDAL inside the block, which reads a file.

    Raises:
        UserError: if GDAL fails, naming the file.
    """
    with _reported(f"{path}: cannot be read ({{reason}}): replace or remove it"):
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Runs GDAL inside the block, which writes a file.

    All that GDAL stores is in the file itself: no .msk and .aux.xml beside it.

    Raises:
        UserError: if GDAL fails, naming the file.
    """
    options = {
        "GDAL_PAM_ENABLED": False,
        "GDAL_TIFF_INTERNAL_MASK": True,
        "SPARSE_OK_OVERVIEW": True,
    }
    with _reported(f"{path}: cannot be written ({{reason}}): check the disk", **options):
        yield


@contextmanager
def _reported(message: str, **options: bool) -> Iterator[None]:
    with collected_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE, **options):
        try:
            yield
        except RasterioError as error:
            reason = first_line(error.__cause__ or error)
            raise UserError(message.format(reason=reason)) from error
