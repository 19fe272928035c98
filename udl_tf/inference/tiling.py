"""A picture in tiles whose results, put together, equal the result of the whole picture.

A tile is a window of which only the core is kept. Around its core a window has a margin of at least
the receptive radius, unless the picture ends there: so every border of a picture is seen as such,
and no other. All sizes are LR pixels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from logging import getLogger

import numpy as np

log = getLogger(__name__)


@dataclass(frozen=True)
class Span:
    """One axis of a tile: the window that is computed and the core that is kept of it."""

    window: slice
    core: slice


Tile = tuple[Span, Span]
"""Rows and columns."""


def plan_axis(
    region: slice, length: int, side: int, margin: int, align: int = 1, least: int = 0
) -> list[Span]:
    """Cuts `region` into cores of at most `side`, each inside a window; all windows are equal.

    Args:
        region: what the cores must cover, within 0..length.
        length: the picture's height or width.
        side: largest core.
        margin: least distance of a core from a window's border that is none of the picture.
        align: windows start at multiples of it.
        least: size of the windows, where the picture has that and no core needs more.
    """
    count = -(-(region.stop - region.start) // side)
    cuts = [region.start + (region.stop - region.start) * i // count for i in range(count + 1)]
    side = max(stop - start for start, stop in pairwise(cuts))
    # A window that ends with the picture starts at a multiple of `align` too.
    size = max(side + 2 * margin + align - 1, least)
    size = min(length, size + (length - size) % align)
    spans = []
    for start, stop in pairwise(cuts):
        first = min(max(start - margin, 0) // align * align, length - size)
        spans.append(Span(slice(first, first + size), slice(start, stop)))
    return spans


def plan_tiles(
    region: tuple[slice, slice],
    size: tuple[int, int],
    side: int,
    margin: int,
    align: int = 1,
    least: int = 0,
) -> list[Tile]:
    """The same for rows and columns of a picture of `size` (height, width)."""
    rows, columns = (
        plan_axis(part, length, side, margin, align, least)
        for part, length in zip(region, size, strict=True)
    )
    return list(product(rows, columns))


def core_side(pixels: float, margin: int) -> int:
    """The core of a square window of so many pixels, but no core smaller than its margin."""
    return max(math.isqrt(int(pixels)) - 2 * margin, margin, 1)


def run_tiles(
    compute: Callable[[Sequence[Tile]], np.ndarray],
    size: tuple[int, int],
    side: int,
    margin: int,
    align: int = 1,
    batch: int = 1,
    region: tuple[slice, slice] | None = None,
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Computes a picture tile by tile.

    When memory runs out, a batch is computed again one tile at a time, and a tile in halves.

    Args:
        compute: some tiles with windows of one shape -> their results, (tiles, ..., rows, columns,
            channels); a result's rows are a multiple of its window's rows.
        size: the picture's (height, width).
        side, margin, align: as for plan_axis.
        batch: tiles computed at a time.
        region: the part of the picture to compute; None: all of it.

    Yields:
        Each tile with its core's result.
    """
    region = region or (slice(0, size[0]), slice(0, size[1]))
    tiles = plan_tiles(region, size, side, margin, align)
    for first in range(0, len(tiles), batch):
        group = tiles[first : first + batch]
        try:
            results = compute(group)
        except Exception as error:
            if not out_of_memory(error) or (len(group) == 1 and side == 1):
                raise
            half = side if len(group) > 1 else _half(group[0])
            log.info("out of memory: going on with smaller tiles (%d)", half)
            for rows, columns in group:
                part = (rows.core, columns.core)
                yield from run_tiles(compute, size, half, margin, align, 1, part)
        else:
            for tile, result in zip(group, results, strict=True):
                yield tile, core_of(tile, result)


def _half(tile: Tile) -> int:
    return -(-max(span.core.stop - span.core.start for span in tile) // 2)


def core_of(tile: Tile, result: np.ndarray) -> np.ndarray:
    """The core's part of a window's result."""
    index = []
    for span, length in zip(tile, result.shape[-3:-1], strict=True):
        scale = length // (span.window.stop - span.window.start)
        offset = span.window.start
        index.append(slice((span.core.start - offset) * scale, (span.core.stop - offset) * scale))
    return result[(..., *index, slice(None))]


def scaled(tile: Tile, scale: int) -> tuple[slice, slice]:
    """Where a tile's core is in a map that is `scale` times as large as the LR image."""
    rows, columns = (slice(span.core.start * scale, span.core.stop * scale) for span in tile)
    return rows, columns


def out_of_memory(error: Exception) -> bool:
    """Whether an error of NumPy, TensorFlow, JAX or PyTorch says that memory ran out."""
    text = f"{type(error).__name__}: {error}"
    words = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory")
    return isinstance(error, MemoryError) or any(word in text for word in words)
