"""Exact tiling: tiles whose results, put together, equal the result of the whole image.

A tile is a window that is computed and a core, the part of the window that is kept. Around its
core, a window has a margin of at least the receptive radius, except where the image ends: the
network then sees the borders of the image, and no other borders. All sizes are LR pixels.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from logging import getLogger
from typing import Any

log = getLogger(__name__)


@dataclass(frozen=True)
class Span:
    """One axis of a tile.

    Attributes:
        window: what is computed.
        core: the part of the window that is kept.
    """

    window: slice
    core: slice


Tile = tuple[Span, Span]
"""Rows and columns."""

Start = Callable[[Sequence[Tile]], Callable[[], Any]]
"""Begins to compute tiles, and returns a function that waits for the results."""

Notes = dict[str, None]
"""Lines about how an image was computed, each once, in order."""

OUT_OF_MEMORY = (
    "out of memory: parts were computed again in smaller batches or tiles; set less working memory"
)


def plan_axis(
    region: slice, length: int, side: int, margin: int, align: int = 1, min_window: int = 0
) -> list[Span]:
    """Cuts `region` into cores of at most `side`, each inside a window; all windows are equal.

    Equal windows can be computed in one batch, and need one graph only.

    Args:
        region: what the cores must cover, within 0..length.
        length: height or width of the image.
        side: largest core.
        margin: smallest distance of a core from the end of its window, unless the image ends there.
        align: windows start at multiples of it.
        min_window: size of the windows, if the image is that large and no core needs more.
    """
    # Cores of nearly equal size instead of full ones and a small rest, so that windows are small.
    count = -(-(region.stop - region.start) // side)
    cuts = [region.start + (region.stop - region.start) * i // count for i in range(count + 1)]
    side = max(stop - start for start, stop in pairwise(cuts))
    # Rounding a start down to a multiple of `align` takes up to align - 1 pixels from the margin
    # on the other side.
    size = max(side + 2 * margin + align - 1, min_window)
    # The last window ends with the image and starts at length - size: a multiple of `align` too.
    size = min(length, size + (length - size) % align)
    spans = []
    for start, stop in pairwise(cuts):
        # Near the borders a window is shifted inwards, so that it is as large as the others. Its
        # margin shrinks only on the side where the image ends.
        first = min(max(start - margin, 0) // align * align, length - size)
        spans.append(Span(slice(first, first + size), slice(start, stop)))
    return spans


def plan_tiles(
    region: tuple[slice, slice],
    size: tuple[int, int],
    side: int,
    margin: int,
    align: int = 1,
    min_window: int = 0,
) -> list[Tile]:
    """Applies plan_axis to the rows and columns of an image of `size` (height, width)."""
    rows, columns = (
        plan_axis(part, length, side, margin, align, min_window)
        for part, length in zip(region, size, strict=True)
    )
    return list(product(rows, columns))


def core_side(pixels: float, margin: int) -> int:
    """Returns the side of the core of a square window of `pixels`.

    A core is never smaller than its margin, even if its window then has more pixels: at that size,
    nine pixels are computed for each one that is kept.
    """
    return max(math.isqrt(int(pixels)) - 2 * margin, margin, 1)


def run_tiles(
    start: Start,
    size: tuple[int, int],
    side: int,
    margin: int,
    align: int = 1,
    batch: int = 1,
    region: tuple[slice, slice] | None = None,
    ahead: int = 0,
    notes: Notes | None = None,
) -> Iterator[tuple[Tile, Any]]:
    """Computes an image tile by tile.

    When memory runs out, a batch is computed again one tile at a time, and a tile in halves.

    Args:
        start: begins to compute tiles whose windows have one shape, and returns a function that
            waits for their results: for each tile (..., rows, columns, channels) or a list of such
            maps; a map's rows are a multiple of its window's rows.
        size: (height, width) of the image.
        side, margin, align: as for plan_axis.
        batch: tiles computed at a time.
        region: the part of the image to compute; None: all of it.
        ahead: batches that are started before the results of a batch are needed.
        notes: receives OUT_OF_MEMORY when memory ran out.

    Yields:
        Each tile with the result of its core.
    """
    region = region or (slice(0, size[0]), slice(0, size[1]))
    tiles = plan_tiles(region, size, side, margin, align)
    groups = deque(tiles[first : first + batch] for first in range(0, len(tiles), batch))
    started: deque[tuple[Sequence[Tile], Callable[[], Any]]] = deque()
    while groups or started:
        while groups and len(started) <= ahead:
            group = groups.popleft()
            started.append((group, start(group)))
        group, finish = started.popleft()
        try:
            results = finish()
        except Exception as error:
            if not out_of_memory(error) or (len(group) == 1 and side == 1):
                raise
            smaller = side if len(group) > 1 else _half(group[0])
            log.info("out of memory: retrying with tiles of %d pixels", smaller)
            if notes is not None:
                notes[OUT_OF_MEMORY] = None
            for rows, columns in group:
                part = (rows.core, columns.core)
                yield from run_tiles(start, size, smaller, margin, align, 1, part, 0, notes)
        else:
            for tile, result in zip(group, results, strict=True):
                yield tile, core_of(tile, result)


def _half(tile: Tile) -> int:
    """Returns half the longer side of a tile's core, rounded up."""
    return -(-max(span.core.stop - span.core.start for span in tile) // 2)


def core_of(tile: Tile, result: Any) -> Any:
    """Returns the core's part of a window's result, (..., rows, columns, channels) or several."""
    if isinstance(result, list):
        return [core_of(tile, values) for values in result]
    index = []
    for span, length in zip(tile, result.shape[-3:-1], strict=True):
        scale = length // (span.window.stop - span.window.start)
        offset = span.window.start
        index.append(slice((span.core.start - offset) * scale, (span.core.stop - offset) * scale))
    return result[(..., *index, slice(None))]


def scaled(tile: Tile, scale: int) -> tuple[slice, slice]:
    """Returns the core's rows and columns in a map `scale` times as large as the LR image."""
    rows, columns = (slice(span.core.start * scale, span.core.stop * scale) for span in tile)
    return rows, columns


def pixels_of(tiles: Sequence[Tile]) -> int:
    """Returns the LR pixels in the cores of tiles."""
    return sum(math.prod(span.core.stop - span.core.start for span in tile) for tile in tiles)


def out_of_memory(error: Exception) -> bool:
    """Returns whether NumPy, TensorFlow, JAX or PyTorch reports by `error` that memory ran out."""
    text = f"{type(error).__name__}: {error}"
    words = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory")
    return isinstance(error, MemoryError) or any(word in text for word in words)
