"""TIFF files of microscopy, OME-TIFF and ImageJ's: series of pages with named axes."""

import itertools
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from tifffile import COMPRESSION, PHOTOMETRIC

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.metadata import MARK
from udl_tf.imaging.tiff_writing import CLASSIC_TIFF
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.imagej import ImageJ
from udl_tf.scenes.ome_xml import OmeXml
from udl_tf.scenes.raw_array import RawArray
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples
from udl_tf.scenes.zarr_levels import average, create_array, level_factors, parts_of, smaller

_LOSSLESS = {
    *(COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE),
    *(COMPRESSION.PACKBITS, COMPRESSION.ZSTD, COMPRESSION.LZMA),
}
_LARGE = 2**24  # pixels of a page from which results of striped files are tiled
_TILE = (512, 512)  # of them, and of chunks in which results are collected


def open_file(path: Path, nodata: float | None) -> "TiffStackScene":
    """Opens an OME-TIFF or a hyperstack of ImageJ as a scene.

    Raises:
        UserError: if it is damaged.
    """
    return TiffStackScene(path, nodata)


class TiffStackScene(ArrayScene):
    """An OME-TIFF or a hyperstack of ImageJ, of which the first series is read.

    Pages of a result are collected beside it, in a folder of chunks that is removed at the end,
    because they are written in order but computed in windows.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: only NaN.
    """

    def __init__(self, path: Path, nodata: float | None):
        with ExitStack() as stack:
            with readable(path):
                tiff = stack.enter_context(tifffile.TiffFile(path))
                self._series, self._big = tiff.series[0], tiff.is_bigtiff
                self._text: OmeXml | ImageJ = (
                    OmeXml(tiff.ome_metadata) if tiff.ome_metadata else ImageJ(tiff.imagej_metadata)
                )
                axes = Axes(tuple(self._series.get_axes(False)), self._series.get_shape(False))
                array = RawArray.of_pages(path, self._series, tiff.byteorder) or zarr.open_array(
                    self._series.aszarr(level=0, squeeze=False), mode="r"
                )
            samples = Samples(self._series.dtype, nodata)
            notes = (*self._text.notes(), *self._notes())
            super().__init__(path, array, axes, samples, notes, stack.pop_all())

    def _notes(self) -> Iterator[str]:
        page = self._series.keyframe
        if page.compression not in _LOSSLESS:
            name = COMPRESSION(page.compression).name
            yield f"the result is compressed with deflate instead of {name}"

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        samples = content.samples(self._samples)
        axes = self._text.arranged(self._axes, content)
        axes = axes.result(scale, content.channels(self.channels))
        tile = self._tile(axes)
        steps = [] if content is Content.FLAGS else self._level_factors(axes)
        shapes = list(itertools.accumulate(steps, smaller, initial=axes.sizes))
        size = samples.dtype.itemsize * sum(_stored_values(shape, axes, tile) for shape in shapes)
        if isinstance(self._text, ImageJ) and size > CLASSIC_TIFF:
            raise UserError(
                f"{path}: a result of {size / 1e9:.1f} GB: ImageJ's TIFF holds at most 4 GB;"
                " convert the file to OME-TIFF"
            )
        with (
            complete_file(path) as temporary,
            tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as folder,
        ):
            group = zarr.create_group(folder)
            levels = [
                create_array(group, str(number), shape, samples, chunks=_parts(shape, axes, _TILE))
                for number, shape in enumerate(shapes)
            ]
            yield ResultFile(levels[0], axes, samples)
            average(levels, steps, samples)
            options = self._options(axes, content, samples.dtype) | {"tile": tile}
            texts = self._text.options(axes, scale, content, samples.dtype)
            imagej = isinstance(self._text, ImageJ)
            big = not imagej and (self._big or size > CLASSIC_TIFF)
            with tifffile.TiffWriter(temporary, bigtiff=big, imagej=imagej, ome=False) as tiff:
                _write(tiff, levels, axes, options, texts | self._resolution(scale))

    def _tile(self, axes: Axes) -> tuple[int, int] | None:
        """Returns the tiles of a result; None: strips."""
        page = self._series.keyframe
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        is_large = axes.height * axes.width > _LARGE
        return _TILE if is_large and not isinstance(self._text, ImageJ) else None

    def _level_factors(self, axes: Axes) -> list[tuple[int, ...]]:
        """Returns by how much each level of the source is smaller than the one before."""
        sizes = [dict(zip(one.axes, one.shape, strict=True)) for one in self._series.levels]
        factors = level_factors([(size["Y"], size["X"]) for size in sizes])
        known = [dict(zip("YX", factor, strict=True)) for factor in factors]
        return [tuple(factor.get(name, 1) for name in axes.names) for factor in known]

    def _options(self, axes: Axes, content: Content, dtype: np.dtype) -> dict[str, Any]:
        """Returns how pages are stored: as in the source, if that loses nothing."""
        page, samples = self._series.keyframe, axes.size("S")
        is_same = content is Content.IMAGE
        compression = page.compression if page.compression in _LOSSLESS else "adobe_deflate"
        is_plain = compression in (COMPRESSION.NONE, COMPRESSION.PACKBITS)
        photometric = PHOTOMETRIC.RGB if samples >= 3 else PHOTOMETRIC.MINISBLACK
        if is_same and samples == 1 and page.photometric in (0, 3):  # white as 0, palette
            photometric = page.photometric
        return {
            "dtype": dtype,
            "photometric": photometric,
            "planarconfig": "contig" if samples > 1 else None,
            "extrasamples": page.extrasamples or None if samples > 1 else None,
            "colormap": page.colormap if photometric == PHOTOMETRIC.PALETTE else None,
            "compression": compression,
            "predictor": None if is_plain or page.predictor == 1 else True,
            "software": MARK.decode(),
        }

    def _resolution(self, scale: int) -> dict[str, Any]:
        page = self._series.keyframe
        if "XResolution" not in page.tags:
            return {}
        across, down = page.resolution
        return {
            "resolution": (across * scale, down * scale),
            "resolutionunit": page.resolutionunit,
        }


def _parts(shape: Sequence[int], axes: Axes, tile: tuple[int, int] | None) -> tuple[int, ...]:
    """Returns the shape of a tile in an array, or of a page if `tile` is None."""
    part = dict(zip(axes.names, shape, strict=True))
    if tile is not None:
        part |= {"Y": min(tile[0], part["Y"]), "X": min(tile[1], part["X"])}
    return tuple(part[name] if name in ("Y", "X", "S") else 1 for name in axes.names)


def _stored_values(shape: Sequence[int], axes: Axes, tile: tuple[int, int] | None) -> int:
    """Returns how many values a level stores: tiles at its edges are whole."""
    units = dict(zip("YX", tile or (1, 1), strict=True))
    sizes = zip(axes.names, shape, strict=True)
    return math.prod(
        math.ceil(size / units.get(name, 1)) * units.get(name, 1) for name, size in sizes
    )


def _write(
    tiff: tifffile.TiffWriter,
    levels: list[zarr.Array],
    axes: Axes,
    options: dict[str, Any],
    first: dict[str, Any],
) -> None:
    """Writes all pages of all levels, the smaller levels as SubIFDs of the first."""
    samples = axes.sizes[-1:] if axes.sizes[-1] > 1 else ()
    for number, level in enumerate(levels):
        own: dict[str, Any] = {"subfiletype": 1, "metadata": None}
        if number == 0:
            own = {"subfiletype": 0, "subifds": len(levels) - 1} | first
        parts = parts_of(level.shape, _parts(level.shape, axes, options["tile"]))
        stored = (np.asarray(level[part]) for part in parts)
        pixels = (part.reshape(*part.shape[-3:-1], *samples) for part in stored)
        tiff.write(pixels, shape=(*level.shape[:-1], *samples), **options, **own)
