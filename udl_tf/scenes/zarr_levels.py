"""Arrays of zarr at several resolutions, each level the mean of the one before."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zarr

from udl_tf.scenes.samples import Samples


def level_factors(shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Returns by how much each level is smaller than the one before, given the levels' shapes."""
    return [
        tuple(max(1, round(large / small)) for large, small in zip(before, after, strict=True))
        for before, after in itertools.pairwise(shapes)
    ]


def smaller(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of the next level, whose last pixels may cover less."""
    return tuple(math.ceil(size / factor) for size, factor in zip(shape, factors, strict=True))


def create_array(
    group: zarr.Group, name: str, shape: Sequence[int], samples: Samples, **options: Any
) -> zarr.Array:
    """Creates an array without data.

    Args:
        group: that it belongs to.
        name: of the array.
        shape: of the array.
        samples: how values are stored.
        options: of `zarr.Group.create_array`, such as chunks.
    """
    fill = samples.dtype.type(samples.fill)
    return group.create_array(
        name, shape=tuple(shape), dtype=samples.dtype, fill_value=fill, **options
    )


def average(levels: Sequence[zarr.Array], factors: Sequence[Sequence[int]], samples: Samples):
    """Writes all levels but the first: means of blocks of the level before, chunk by chunk.

    Pixels without data do not count; where a block has none, neither has the next level.

    Args:
        levels: the largest first.
        factors: per level but the first, sizes of its blocks.
        samples: how values are stored.
    """
    for (source, target), steps in zip(itertools.pairwise(levels), factors, strict=True):
        _average(source, target, steps, samples)


def parts_of(shape: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yields the index of each part of an array, in order; the last ones may be smaller."""
    starts = (range(0, *pair) for pair in zip(shape, sizes, strict=True))
    for corner in itertools.product(*starts):
        ends = zip(corner, sizes, shape, strict=True)
        yield tuple(slice(start, min(start + size, end)) for start, size, end in ends)


def _average(source: zarr.Array, target: zarr.Array, factors: Sequence[int], samples: Samples):
    for part in parts_of(target.shape, target.chunks):
        block = tuple(
            slice(one.start * factor, one.stop * factor)
            for one, factor in zip(part, factors, strict=True)
        )
        target[part] = samples.store(_block_means(np.asarray(source[block]), factors, samples))


def _block_means(stored: np.ndarray, factors: Sequence[int], samples: Samples) -> np.ndarray:
    """Returns the mean of the data in each block of `factors` values, NaN where there are none."""
    count = samples.valid(stored).astype(np.float64)
    total = np.where(count > 0, stored, 0).astype(np.float64)
    for axis, factor in enumerate(factors):
        starts = range(0, stored.shape[axis], factor)
        count, total = (np.add.reduceat(sums, starts, axis) for sums in (count, total))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
