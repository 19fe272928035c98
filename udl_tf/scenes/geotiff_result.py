"""Results of GeoTIFF files, written window by window."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.windows
from rasterio.enums import Resampling

from udl_tf._support.files import complete_file, temporary_path
from udl_tf.scenes import gdal
from udl_tf.scenes.geotiff_source import GeoTiffSource
from udl_tf.scenes.result_files import Content
from udl_tf.scenes.samples import Samples
from udl_tf.scenes.scene import Window


class GeoTiffFile:
    """A file of a result that is being written.

    Args:
        path: of the result.
        file: open for writing.
        samples: how values are stored.
        alpha: number of the band that is 0 for nodata; None: none.
        has_mask: whether the file has a mask.
    """

    def __init__(self, path: Path, file: Any, samples: Samples, alpha: int | None, has_mask: bool):
        self._path, self._file, self._samples = path, file, samples
        self._alpha, self._has_mask = alpha, has_mask

    def write(self, window: Window, values: np.ndarray) -> None:
        """Writes a window of values (h, w, c), NaN for nodata: all bands at once."""
        bands = np.empty((values.shape[2], *values.shape[:2]), self._samples.dtype)
        for index, band in enumerate(bands):
            band[:] = self._samples.store(values[..., index])
        valid = ~np.isnan(values).all(axis=-1)
        if self._alpha:
            opaque = np.iinfo(bands.dtype).max if bands.dtype.kind != "f" else 1
            bands = np.insert(bands, self._alpha - 1, valid * opaque, axis=0)
        part = rasterio.windows.Window(window.left, window.top, window.width, window.height)
        with gdal.writing(self._path):
            self._file.write(bands, window=part)
            if self._has_mask:
                self._file.write_mask(valid, window=part)


@contextmanager
def created(
    source: GeoTiffSource, path: Path, scale: int, content: Content
) -> Iterator[GeoTiffFile]:
    """Creates a file of a result, which is complete at the end of the block.

    A cloud-optimised GeoTIFF is a copy of a plain one: the order of its blocks, overviews first,
    does not allow writing window by window.

    Args:
        source: of the result.
        path: of the file.
        scale: whole number of result pixels per pixel.
        content: of the file.
    """
    is_cog = source.structure.get("LAYOUT") == "COG"
    with complete_file(path) as final, _removed_at_end(temporary_path(path)) as copied:
        plain = copied if is_cog else final
        with _written(source, path, plain, scale, content) as file:
            yield file
        with gdal.writing(path):
            if is_cog:
                _copy_as_cog(plain, final, source, content)
            else:
                _build_overviews(plain, source, scale, content)
        gdal.require_complete(final, path)


@contextmanager
def _written(
    source: GeoTiffSource, path: Path, plain: Path, scale: int, content: Content
) -> Iterator[GeoTiffFile]:
    """Creates a plain GeoTIFF, and closes it at the end of the block."""
    own, samples, is_image = source.file, source.samples(content), content is Content.IMAGE
    alpha = source.alpha if is_image else None
    has_mask = is_image and source.is_masked and alpha is None
    with gdal.writing(path):
        file = rasterio.open(
            plain.absolute(),
            "w",
            driver="GTiff",
            width=own.width * scale,
            height=own.height * scale,
            count=content.channels(len(source.bands)) + (alpha is not None),
            dtype=samples.dtype,
            nodata=samples.nodata if is_image else samples.fill,
            **source.layout(scale, samples.dtype, content),
            **source.georeference(scale),
        )
    try:
        with gdal.writing(path):
            source.describe(file, scale, content)
            if has_mask:  # which exists even if no window has data, and then excludes all
                file.write_mask(np.zeros((1, 1), bool), window=rasterio.windows.Window(0, 0, 1, 1))
        yield GeoTiffFile(path, file, samples, alpha, has_mask)
    finally:
        with gdal.writing(path):  # writes the blocks that GDAL still holds
            file.close()


def _build_overviews(path: Path, source: GeoTiffSource, scale: int, content: Content) -> None:
    """Adds those that the source has, and larger ones, down to the size of its smallest."""
    factors = source.file.overviews(1)
    if factors:
        with rasterio.open(path.absolute(), "r+") as file:
            file.build_overviews(
                sorted({*factors, *(factor * scale for factor in factors)}), _resampling(content)
            )


def _copy_as_cog(plain: Path, path: Path, source: GeoTiffSource, content: Content) -> None:
    """Writes a cloud-optimised copy with overviews."""
    dtype = source.samples(content).dtype
    rasterio.shutil.copy(
        plain.absolute(),
        path.absolute(),
        driver="COG",
        compress=source.compression,
        predictor="NO" if source.predictor(dtype) == 1 else "YES",
        blocksize=source.file.block_shapes[0][1],
        overview_resampling=_resampling(content).name,
        BIGTIFF="IF_SAFER",
        SPARSE_OK=True,
    )


def _resampling(content: Content) -> Resampling:
    """Returns the resampling of overviews; a mean of flags means nothing."""
    return Resampling.nearest if content is Content.FLAGS else Resampling.average


@contextmanager
def _removed_at_end(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
