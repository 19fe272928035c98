"""TIFF files without georeference or axes: one page, or pages of equal size, through tifffile."""

import itertools
import math
import operator
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, RESUNIT, TiffPageSeries

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.metadata import MARK
from udl_tf.imaging.tiff_writing import CLASSIC_TIFF
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.opening import is_single_image
from udl_tf.scenes.raw_array import RawArray
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples

_KEPT = (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISWHITE)  # in results; others become grey


def open_file(path: Path, nodata: float | None) -> "PlainTiffScene":
    """Opens a TIFF file as a scene.

    Raises:
        UserError: if it is damaged or not supported.
    """
    return PlainTiffScene(path, nodata)


class PlainTiffScene(ArrayScene):
    """A TIFF file whose pages are planes; results are not compressed.

    Uncompressed pages are mapped, window by window; others are decoded whole, plane by plane.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: only NaN.
    """

    def __init__(self, path: Path, nodata: float | None):
        with ExitStack() as stack:
            with readable(path):
                tiff = stack.enter_context(tifffile.TiffFile(path))
                series = tiff.series[0]
                self._page = series.keyframe
                axes = Axes(tuple(series.get_axes(False)), tuple(series.get_shape(False)))
                _check_supported(path, tiff)
                array = RawArray.of_pages(path, series, tiff.byteorder) or _Pages(series, axes)
            samples = Samples(series.dtype.newbyteorder("="), nodata)
            notes = tuple(_notes(tiff))
            super().__init__(path, array, axes, samples, notes, stack.pop_all())

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        samples = content.samples(self._samples)
        channels = content.channels(self.channels)
        names = ("Z", "Y", "X", "S")
        sizes = (self.planes, self.height * scale, self.width * scale, channels)
        photometric = PHOTOMETRIC.MINISBLACK
        if content is Content.IMAGE and self._page.photometric in _KEPT:
            photometric = self._page.photometric
        options: dict[str, Any] = {}
        if self._page.resolutionunit != RESUNIT.NONE:
            across, down = self._page.resolution
            unit = self._page.resolutionunit
            options = {"resolution": (across * scale, down * scale), "resolutionunit": unit}
        with complete_file(path) as temporary:
            place = tifffile.imwrite(  # of values that are not written yet
                temporary,
                shape=sizes if channels > 1 else sizes[:-1],
                dtype=samples.dtype,
                bigtiff=math.prod(sizes) * samples.dtype.itemsize > CLASSIC_TIFF,
                photometric=photometric,
                planarconfig="contig" if channels > 1 else None,
                software=MARK.decode(),
                metadata=None,
                returnoffset=True,
                **options,
            )
            offset, _ = cast(tuple[int, int], place)
            array = RawArray(temporary, samples.dtype, sizes, offset)
            array.fill(samples.fill)
            yield ResultFile(array, Axes(names, sizes), samples)


class _Pages:
    """Pages that are decoded whole, of which those of the last plane are kept.

    Args:
        series: of pages.
        axes: of the series; the last ones are those of a page.
    """

    def __init__(self, series: TiffPageSeries, axes: Axes):
        counts = itertools.accumulate(axes.sizes, operator.mul, initial=1)
        first = next(first for first, count in enumerate(counts) if count == len(series))
        self._series, self._page_sizes = series, axes.sizes[first:]
        self._numbers = np.arange(len(series)).reshape(axes.sizes[:first])
        self._last, self._decoded = [-1], np.empty(0)

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        outer = self._numbers.ndim
        numbers = np.asarray(self._numbers[index[:outer]])  # several if channels are pages
        pages = numbers.ravel().tolist()
        if pages != self._last:
            decoded = self._series.asarray(key=pages)
            self._decoded = decoded.reshape(*numbers.shape, *self._page_sizes)
            self._last = pages
        return self._decoded[..., *index[outer:]]


def _notes(tiff: tifffile.TiffFile) -> Iterator[str]:
    """Yields what is not read, or not carried over; images of reduced size are copies of others."""
    images = [series for series in tiff.series if not series.keyframe.is_reduced]
    if len(images) > 1:
        yield f"only the first of {len(images)} images read"
    if tiff.series[0].keyframe.compression != COMPRESSION.NONE:
        yield "the result is not compressed"


def _check_supported(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuses files whose values are not what they measure.

    Raises:
        UserError: for indices into a colour table, and alpha.
    """
    page = tiff.series[0].keyframe
    if page.photometric == PHOTOMETRIC.PALETTE:
        raise UserError(
            f"{path}: holds indices into a colour table; expected values: convert it to RGB or grey"
        )
    if {EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA} & set(page.extrasamples):
        if is_single_image(tiff):
            fix = 'run pip install "udl_tf[geo]", which reads alpha as nodata'
        else:
            fix = "store each image as a file, in which alpha is read as nodata"
        raise UserError(
            f"{path}: has an alpha channel; expected channels of values: remove it, or {fix}"
        )
