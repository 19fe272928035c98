"""Tiles inside a TensorFlow graph: udl_tf.tiling's arithmetic on tensors.

A served picture of any size then needs a bounded memory beside the result.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def run_tiled(
    compute: Callable[..., Any],
    maps: Sequence[tuple[Any, int]],
    room: float,
    radius: int,
    align: int,
    scale: int,
    channels: int = 3,
    dtype: Any = tf.float32,
):
    """The result of `compute` for whole maps, computed in tiles of at most `room` LR pixels.

    Args:
        compute: windows of the maps -> (n, scale rows, scale columns, c).
        maps: each (n, s h, s w, channels) with its s; one of them the LR image, s = 1.
        room: LR pixels, of all n pictures together, that a window may have; a window's core is no
            smaller than the radius, though.
        radius: LR pixels on each side that a pixel of the result may depend on.
        align: windows start at multiples of it.
        scale, channels, dtype: of the result.
    """
    first, s = maps[0]
    shape = tf.shape(first)
    n, height, width = shape[0], shape[1] // s, shape[2] // s
    share = tf.cast(room, tf.float32) / tf.cast(n, tf.float32)
    side = tf.maximum(tf.cast(tf.sqrt(share), tf.int32) - 2 * radius, max(radius, 1))
    whole = tf.cast(height, tf.float32) * tf.cast(width, tf.float32) <= share
    side = tf.where(whole, tf.maximum(height, width), side)
    row_count, rows = _axis(height, side, radius, align)
    column_count, columns = _axis(width, side, radius, align)

    def strip(row):
        top, tall, core_rows = rows(row)

        def tile(column):
            left, wide, core_columns = columns(column)
            windows = [m[:, s * top : s * (top + tall), s * left : s * (left + wide)]
                       for m, s in maps]  # fmt: skip
            result = compute(*windows)
            (above, below), (before, after) = core_rows, core_columns
            core = result[
                :,
                scale * (above - top) : scale * (below - top),
                scale * (before - left) : scale * (after - left),
            ]
            return tf.transpose(core, (2, 1, 0, 3))  # TensorArray.concat goes along the first axis

        return tf.transpose(_concat(column_count, tile, channels, dtype), (1, 0, 2, 3))

    return tf.transpose(_concat(row_count, strip, channels, dtype), (2, 0, 1, 3))


def _axis(length, side, margin: int, align: int) -> tuple[Any, Callable[..., Any]]:
    """How udl_tf.tiling.plan_axis cuts an axis of `length` into cores of at most `side`.

    Returns:
        (number of tiles, index -> (first of the window, its length, (first, end) of the core)).
    """
    count = -(-length // side)
    size = -(-length // count) + 2 * margin + align - 1
    size = tf.minimum(length, size + (length - size) % align)

    def span(index):
        start, stop = length * index // count, length * (index + 1) // count
        first = tf.maximum(start - margin, 0) // align * align
        return tf.minimum(first, length - size), size, (start, stop)

    return count, span


def _concat(count, part: Callable[[Any], Any], channels: int, dtype: Any):
    """part(0), part(1), ... one after the other, concatenated along the first axis."""
    shape = (None, None, None, channels)
    parts = tf.TensorArray(dtype, count, infer_shape=False, element_shape=shape)

    def body(index, parts):
        return index + 1, parts.write(index, part(index))

    loop = (tf.constant(0), parts)
    _, parts = tf.while_loop(lambda i, _: i < count, body, loop, parallel_iterations=1)
    return parts.concat()
