"""One array for images of different sizes, from which the device cuts patches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

Size = tuple[int, int]
"""Height and width in LR pixels."""


@dataclass(frozen=True)
class Layout:
    """Places of images in an atlas, in LR pixels; an atlas of HR images is `scale` times as large.

    Attributes:
        tops, lefts: upper left corner of each image.
        height, width: size of the atlas.
    """

    tops: np.ndarray
    lefts: np.ndarray
    height: int
    width: int


def plan_layout(sizes: Sequence[Size]) -> Layout:
    """Places images in rows, tallest first; a row is as wide as the widest image."""
    width = max(w for _, w in sizes)
    tops, lefts = np.zeros((2, len(sizes)), np.int32)
    top = left = height = 0
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True):
        h, w = sizes[index]
        if left + w > width:
            top, left, height = top + height, 0, 0
        tops[index], lefts[index] = top, left
        left, height = left + w, max(height, h)
    return Layout(tops, lefts, top + height, width)


def fill_atlas(layout: Layout, image: Callable[[int], np.ndarray], scale: int) -> np.ndarray:
    """Returns an atlas, (height, width, c), of the dtype and channels of the images.

    Args:
        layout: places of the images.
        image: function index -> image (h, w, c), `scale` times as large as the layout says.
        scale: 1 for LR images.
    """
    like = image(0)
    atlas = np.zeros((layout.height * scale, layout.width * scale, like.shape[2]), like.dtype)
    for index, corner in enumerate(zip(layout.tops, layout.lefts, strict=True)):
        top, left = (scale * int(place) for place in corner)
        pixels = image(index)
        atlas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return atlas


def cut_patches(atlas, crops, size: int, scale: int):
    """Cuts square patches from an atlas, flipped and transposed, on the device.

    Args:
        atlas: (height, width, c).
        crops: int32 (n, 5): top and left in LR pixels, and whether to flip the rows, flip the
            columns and then transpose.
        size: side of a patch in pixels of the atlas.
        scale: 1 for LR images.

    Returns:
        (n, size, size, c), of the dtype of the atlas.
    """
    top, left, flip_rows, flip_columns, transpose = (
        ops.reshape(crops[:, i], (-1, 1, 1)) for i in range(5)
    )
    i = ops.reshape(ops.arange(size, dtype="int32"), (1, -1, 1))
    j = ops.reshape(i, (1, 1, -1))
    row, column = ops.where(transpose > 0, j, i), ops.where(transpose > 0, i, j)
    row = ops.where(flip_rows > 0, size - 1 - row, row)
    column = ops.where(flip_columns > 0, size - 1 - column, column)
    return _pixels(atlas, scale * top + row, scale * left + column)


def _pixels(atlas, rows, columns):
    """Returns atlas[rows, columns].

    keras.ops has no gather by two indices; by one, of 32 bits, an atlas beyond 2**31 pixels (DIV2K)
    would overflow.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather_nd(atlas, tf.cast(tf.stack([rows, columns], axis=-1), tf.int64))
    return atlas[rows, columns]
