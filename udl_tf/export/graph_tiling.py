"""Tiling inside a TensorFlow graph, by the arithmetic of udl_tf.inference.tiling on tensors.

It bounds the working memory of a served model, for images of any size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf


def run_tiled(
    compute: Callable[..., Sequence[Any]],
    maps: Sequence[tuple[Any, int]],
    capacity: float,
    radius: int,
    align: int,
    scale: int,
    results: Sequence[tuple[int, Any]],
) -> list[Any]:
    """Returns the results of `compute` for whole maps, one window at a time.

    Args:
        compute: windows of the maps -> results, each (n, scale rows, scale columns, channels).
        maps: each (n, s h, s w, c) with its s; the LR image has s = 1.
        capacity: most LR pixels of a window, of all n images together. It may be exceeded, because
            the core of a window is at least as large as the radius.
        radius: LR pixels on each side that a pixel of a result may depend on.
        align: windows start at multiples of this, LR pixels.
        scale: of the results.
        results: channels and dtype of each result.
    """
    first, s = maps[0]
    shape = tf.shape(first)
    n, height, width = shape[0], shape[1] // s, shape[2] // s
    # In float32, because the number of pixels may exceed int32.
    share = tf.cast(capacity, tf.float32) / tf.cast(n, tf.float32)
    side = tf.maximum(tf.cast(tf.sqrt(share), tf.int32) - 2 * radius, max(radius, 1))
    whole = tf.cast(height, tf.float32) * tf.cast(width, tf.float32) <= share
    side = tf.where(whole, tf.maximum(height, width), side)
    rows, columns = (_Axis(length, side, radius, align) for length in (height, width))
    return _Tiles(compute, maps, rows, columns, scale, results).run()


class _Axis:
    """One axis of `length`, cut into cores of at most `side` as by udl_tf.inference.tiling.

    Attributes:
        count: number of tiles.
        size: length of every window.
    """

    def __init__(self, length, side, margin: int, align: int):
        self._length, self._margin, self._align = length, margin, align
        self.count = -(-length // side)
        # A window is a core, a margin on both sides, and up to align - 1 more pixels, because it
        # starts at a multiple of `align` at or before the margin. The last window ends with the
        # image; its size is rounded up so that it, too, starts at a multiple of `align`.
        size = -(-length // self.count) + 2 * margin + align - 1
        self.size = tf.minimum(length, size + (length - size) % align)

    def span(self, index) -> tuple[Any, tuple[Any, Any]]:
        """Returns (start of the window, (start, stop) of its core)."""
        start = self._length * index // self.count
        stop = self._length * (index + 1) // self.count
        first = tf.maximum(start - self._margin, 0) // self._align * self._align
        return tf.minimum(first, self._length - self.size), (start, stop)


@dataclass(frozen=True)
class _Tiles:
    """Computes the tiles one after another, row by row; arguments as for run_tiled."""

    compute: Callable[..., Sequence[Any]]
    maps: Sequence[tuple[Any, int]]
    rows: _Axis
    columns: _Axis
    scale: int
    results: Sequence[tuple[int, Any]]

    def run(self) -> list[Any]:
        """Returns the whole results."""
        strips = self._concat(self.rows.count, self._strip)
        return [tf.transpose(strip, (2, 0, 1, 3)) for strip in strips]

    def _strip(self, row) -> list[Any]:
        tiles = self._concat(self.columns.count, partial(self._tile, row))
        return [tf.transpose(tile, (1, 0, 2, 3)) for tile in tiles]

    def _tile(self, row, column) -> list[Any]:
        """Returns the cores of a tile, columns first: TensorArray.concat joins the first axis."""
        top, (above, below) = self.rows.span(row)
        left, (before, after) = self.columns.span(column)
        tall, wide, scale = self.rows.size, self.columns.size, self.scale
        windows = [
            m[:, s * top : s * (top + tall), s * left : s * (left + wide)] for m, s in self.maps
        ]
        rows = slice(scale * (above - top), scale * (below - top))
        columns = slice(scale * (before - left), scale * (after - left))
        return [
            tf.transpose(result[:, rows, columns], (2, 1, 0, 3))
            for result in self.compute(*windows)
        ]

    def _concat(self, count, part: Callable[[Any], list[Any]]) -> list[Any]:
        """Returns part(0), part(1), ... concatenated along the first axis, computed in turn."""
        empty = [
            tf.TensorArray(
                dtype, count, infer_shape=False, element_shape=(None, None, None, channels)
            )
            for channels, dtype in self.results
        ]

        def body(index, arrays):
            values = part(index)
            return index + 1, [a.write(index, v) for a, v in zip(arrays, values, strict=True)]

        loop = (tf.constant(0), empty)
        _, arrays = tf.while_loop(lambda i, _: i < count, body, loop, parallel_iterations=1)
        return [array.concat() for array in arrays]
