"""OME-Zarr: folders with an image at several resolutions, in chunks."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from udl_tf._support.files import complete_folder
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.ngff import Multiscale
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples
from udl_tf.scenes.scene import Window
from udl_tf.scenes.zarr_levels import average, create_array, level_factors, smaller


def open_file(path: Path, nodata: float | None) -> "OmeZarrScene":
    """Opens a folder of OME-Zarr as a scene.

    Raises:
        UserError: if it is damaged, or not an image of OME-Zarr 0.4 or 0.5.
    """
    return OmeZarrScene(path, nodata)


class OmeZarrScene(ArrayScene):
    """A folder of OME-Zarr 0.4 or 0.5, of which the level of full resolution is read.

    Chunks that are not stored hold no data.

    Args:
        path: of the folder.
        nodata: value of pixels without data; None: only NaN and missing chunks.
    """

    def __init__(self, path: Path, nodata: float | None):
        with readable(path):
            group = zarr.open_group(path, mode="r")
            self._image = Multiscale.of(path, group)
            self._levels = [_array(group, name) for name in self._image.levels]
            self._zarr = self._levels[0]
            axes = Axes(self._image.axis_names, self._zarr.shape)
        samples = Samples(np.dtype(self._zarr.dtype).newbyteorder("="), nodata)
        notes = (*self._image.notes(), *self._not_carried(group))
        super().__init__(path, self._zarr, axes, samples, notes)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, valid = super().read(window)
        return values, valid & self._stored(window)

    def holds_data(self, window: Window) -> bool:
        return any(stored for _, stored in self._chunks(self._axes.index(window)))

    def _not_carried(self, group: zarr.Group) -> Iterator[str]:
        if "labels" in group:
            yield "labels not carried over"
        if self._zarr.shards:
            yield "the result is stored without shards"

    def _stored(self, window: Window) -> np.ndarray:
        """Returns which pixels are in chunks that are stored, bool (h, w, c)."""
        index = self._axes.index(window)
        starts = [one if isinstance(one, int) else one.start or 0 for one in index]
        stored = np.ones([stop - start for start, stop in self._bounds(index)], bool)
        for corner, is_stored in self._chunks(index):
            if not is_stored:
                ends = zip(corner, self._chunk_sizes, starts, strict=True)
                stored[
                    tuple(slice(max(0, at - start), at + size - start) for at, size, start in ends)
                ] = False
        kept = tuple(0 if isinstance(one, int) else slice(None) for one in index)
        return self._axes.to_pixels(stored[kept])

    def _chunks(self, index: tuple[int | slice, ...]) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Yields (first element, whether it is stored) of the chunks that an index touches."""
        bounds = zip(self._bounds(index), self._chunk_sizes, strict=True)
        numbers = [range(start // size, -(-stop // size)) for (start, stop), size in bounds]
        for chunk in itertools.product(*numbers):
            key = self._zarr.metadata.encode_chunk_key(chunk)
            corner = tuple(np.multiply(chunk, self._chunk_sizes).tolist())
            yield corner, (self.path / self._zarr.path / key).exists()

    def _bounds(self, index: tuple[int | slice, ...]) -> list[tuple[int, int]]:
        """Returns first and last element, exclusive, of an index along each axis."""
        pairs = zip(index, self._zarr.shape, strict=True)
        return [
            (one, one + 1) if isinstance(one, int) else one.indices(size)[:2] for one, size in pairs
        ]

    @property
    def _chunk_sizes(self) -> tuple[int, ...]:
        return self._zarr.shards or self._zarr.chunks

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        image, source = self._image, self._axes
        if content is Content.BOTH and "C" not in source.names:
            image = image.with_channel_axis()
            sizes = [source.size(name) for name in image.axis_names]
            source = Axes(image.axis_names, tuple(sizes))
        axes = source.result(scale, content.channels(self.channels))
        samples = content.samples(self._samples)
        steps = level_factors([level.shape for level in self._levels])
        if content is Content.FLAGS:  # their mean means nothing
            steps = []
        if source is not self._axes:
            steps = [_inserted(step, source.names.index("C")) for step in steps]
        factors = list(itertools.accumulate(steps, _product, initial=(1,) * len(axes.names)))
        metadata = image.result(scale, content, self.channels, factors)
        with complete_folder(path, replace=True) as temporary:
            group = zarr.create_group(
                temporary, zarr_format=image.zarr_format, attributes=metadata.attributes
            )
            shapes = itertools.accumulate(steps, smaller, initial=axes.sizes)
            levels = [
                create_array(group, name, shape, samples, **self._options(axes, metadata, shape))
                for name, shape in zip(metadata.levels, shapes, strict=True)
            ]
            yield ResultFile(levels[0], axes, samples)
            average(levels, steps, samples)

    def _options(self, axes: Axes, image: Multiscale, shape: tuple[int, ...]) -> dict[str, Any]:
        """Returns how an array is stored: as in the source, but one plane per chunk."""
        own = dict(zip(self._axes.names, self._zarr.chunks, strict=True))
        kept = {name: own.get(name, 1) for name in ("C", "Y", "X")}
        pairs = zip(axes.names, shape, strict=True)
        options: dict[str, Any] = {
            "chunks": tuple(min(kept.get(name, 1), size) for name, size in pairs),
            "compressors": self._zarr.compressors or None,
        }
        if image.zarr_format == 2:
            return options | {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        return options | {"dimension_names": [axis["name"] for axis in image.first["axes"]]}


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"{name} is not an array")
    return array


def _product(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(first * second for first, second in zip(one, other, strict=True))


def _inserted(step: tuple[int, ...], at: int) -> tuple[int, ...]:
    return (*step[:at], 1, *step[at:])
