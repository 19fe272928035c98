"""GeoTIFF and other TIFF files, read through rasterio and GDAL."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
from rasterio.enums import ColorInterp, MaskFlags

from udl_tf.errors import UserError
from udl_tf.scenes import gdal
from udl_tf.scenes.geotiff_result import GeoTiffFile, created
from udl_tf.scenes.geotiff_source import GeoTiffSource
from udl_tf.scenes.result_files import Content, ResultWriter
from udl_tf.scenes.scene import Window


def open_file(path: Path, nodata: float | None) -> "GeoTiffScene":
    """Opens a TIFF file as a scene.

    Raises:
        UserError: if it is damaged or not supported.
    """
    return GeoTiffScene(path, nodata)


class GeoTiffScene:
    """A TIFF file, with or without georeference, whose channels are all bands but alpha.

    No data are where the values are those that the file declares, or NaN, where the mask of the
    file (inside, or a .msk file) excludes pixels, and where alpha is 0.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: as the file declares.
    """

    planes = 1

    def __init__(self, path: Path, nodata: float | None):
        with gdal.reading(path):
            file = rasterio.open(path.absolute(), driver="GTiff")
        try:
            _check_supported(path, file)
        except UserError:
            file.close()
            raise
        meanings = dict(zip(file.indexes, file.colorinterp, strict=True))
        self._file = file
        self._bands = [band for band in file.indexes if meanings[band] is not ColorInterp.alpha]
        self._alpha = next((band for band in file.indexes if band not in self._bands), None)
        self._has_mask = self._alpha is None and MaskFlags.per_dataset in file.mask_flag_enums[0]
        self._declared = [file.nodatavals[band - 1] for band in self._bands]
        self._nodata = self._declared if nodata is None else [nodata] * len(self._bands)
        self.path, self.height, self.width = path, file.height, file.width
        self.channels, self.dtype = len(self._bands), np.dtype(file.dtypes[0])
        is_masked = self._has_mask or self._alpha is not None
        self._source = GeoTiffSource(
            file, self._bands, self._alpha, is_masked, self.dtype, self._nodata[0]
        )
        self.nodata = self._source.samples(Content.IMAGE).nodata
        self.notes = (*self._notes(), *self._source.notes())

    def _notes(self) -> Iterator[str]:
        if self._alpha:
            yield f"band {self._alpha} is alpha: it marks nodata and is not a channel"
        if len({repr(value) for value in self._nodata}) > 1:
            yield f"nodata differs between bands: the result has {self._nodata[0]} in all"

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        part = _part(window)
        with gdal.reading(self.path):
            values = np.moveaxis(self._file.read(self._bands, window=part), 0, -1)
            mask = self._mask(part)
        valid = np.isfinite(values)
        for channel, nodata in enumerate(self._nodata):
            if nodata is not None:
                valid[..., channel] &= values[..., channel] != nodata
        if mask is not None:
            valid &= mask[..., np.newaxis] != 0
        return np.ascontiguousarray(values), valid

    def holds_data(self, window: Window) -> bool:
        """Returns False if the window is certainly all nodata; reads a mask, but no values."""
        with gdal.reading(self.path):
            mask = self._mask(_part(window))
            return self._stores_data(window) if mask is None else bool(mask.any())

    def _mask(self, part: rasterio.windows.Window) -> np.ndarray | None:
        """Returns the mask or alpha, 0 for nodata, (h, w); None if the file has neither."""
        if self._alpha:
            return self._file.read(self._alpha, window=part)
        return self._file.read_masks(1, window=part) if self._has_mask else None

    def _stores_data(self, window: Window) -> bool:
        """Returns False if no block of the window is stored, and such blocks are nodata."""
        for omitted, nodata in zip(self._declared, self._nodata, strict=True):
            omitted = omitted or 0  # the value that GDAL returns for blocks that are not stored
            if omitted != nodata and not np.isnan(omitted):
                return True
        height, width = self._file.block_shapes[0]
        rows = range(window.top // height, -(-(window.top + window.height) // height))
        columns = range(window.left // width, -(-(window.left + window.width) // width))
        return any(
            self._file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band) is not None
            for row in rows
            for column in columns
            for band in self._bands
        )

    def create(self, path: Path, scale: int, theta: Path | None, flags: bool) -> ResultWriter:
        return ResultWriter(self._create_file, path, scale, theta, flags)

    def _create_file(
        self, path: Path, scale: int, content: Content
    ) -> AbstractContextManager[GeoTiffFile]:
        return created(self._source, path, scale, content)

    def __enter__(self) -> "GeoTiffScene":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()


def _part(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.left, window.top, window.width, window.height)


def _check_supported(path: Path, file: rasterio.DatasetReader) -> None:
    """Refuses files whose values or images cannot be kept.

    Raises:
        UserError: for complex numbers, several images, and indices into a colour table.
    """
    if file.dtypes[0].startswith("complex"):
        raise UserError(
            f"{path}: holds complex numbers; expected real ones: store amplitude and phase as bands"
        )
    if file.subdatasets:
        raise UserError(
            f"{path}: holds {len(file.subdatasets)} images; expected one: store each as a file, for"
            f" example with gdal_translate {file.subdatasets[0]} first.tif"
        )
    if file.colorinterp[0] is ColorInterp.palette:
        raise UserError(
            f"{path}: holds indices into a colour table; expected values: convert it, for example"
            " with gdal_translate -expand rgb"
        )
