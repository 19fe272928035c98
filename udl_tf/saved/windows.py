"""Window arithmetic of exported models, whose graph computes a whole window at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import psutil

from udl_tf._support.progress import Counter
from udl_tf.errors import UserError
from udl_tf.inference.passes import Part
from udl_tf.inference.tiling import Notes, Tile, core_side, run_tiles, scaled
from udl_tf.saved.card import ModelCard

Forward = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
"""Runs a model: (float32 (n, h, w, c) in 0..255, names of outputs) -> float32 maps by name."""

_LARGEST_BUDGET = 2e9  # bytes; the default is this, or a quarter of the free memory if that is less


def core_of_tile(tile: int, margin: int, align: int) -> int:
    """Returns the side of the core of a window of `tile` pixels, for any position of the window.

    The window spans the core, a margin on both sides and, because it starts at a multiple of
    `align`, up to align - 1 pixels more (udl_tf.inference.tiling.plan_axis).
    """
    return tile - 2 * margin - (align - 1)


class WindowRunner:
    """Computes maps of an image in windows; a Runner (udl_tf.inference.passes).

    Unlike a Keras network, an exported graph cannot be run stage by stage: each window overlaps its
    neighbours by the margin of the whole model.

    Args:
        card: of the model.
        forward: runs the model.
        outputs: names of the maps to compute, in the order in which `run` yields them.
    """

    def __init__(self, card: ModelCard, forward: Forward, outputs: Sequence[str]):
        self.card, self.outputs = card, tuple(outputs)
        self._forward = forward

    @property
    def radius(self) -> int:
        return self.card.radius

    @property
    def align(self) -> int:
        return self.card.align

    def run(
        self,
        lr: np.ndarray,
        tile: int | None = None,
        budget: float | None = None,
        notes: Notes | None = None,
        counter: Counter | None = None,
    ) -> Iterator[Part]:
        """See udl_tf.inference.passes.Runner."""
        card = self.card
        height, width = lr.shape[:2]
        region = None
        if card.tile is None:
            if tile is not None:
                self._check_tile(tile, height, width)
            side = tile or self._choose_side(height, width, budget)
            # The graph mirrors `border` pixels outwards, which needs an input at least that large.
            needed = [max(length, card.smallest) for length in (height, width)]
        elif tile is None:
            side = core_of_tile(card.tile, card.margin, card.align)
            # Only cores of exactly `side` have windows of exactly the accepted size. Therefore the
            # covered region is rounded up to whole cores; the caller drops what exceeds the image.
            covered = [math.ceil(length / side) * side for length in (height, width)]
            region = (slice(0, covered[0]), slice(0, covered[1]))
            needed = [max(length, card.tile) for length in covered]
            # The last window ends with the padded image and must start at a multiple of `align`.
            needed = [length + (card.tile - length) % card.align for length in needed]
        else:
            raise UserError(
                f"tile {tile}: this model accepts tiles of {card.tile} pixels only: omit the tile"
            )
        after = [(0, n - length) for n, length in zip(needed, (height, width), strict=True)]
        padded = np.pad(lr, (*after, (0, 0)), "symmetric")

        def compute(tiles: Sequence[Tile]) -> list[list[np.ndarray]]:
            windows = [padded[rows.window, columns.window] for rows, columns in tiles]
            maps = self._forward(np.stack(windows), self.outputs)
            return [[maps[name][index] for name in self.outputs] for index in range(len(tiles))]

        size = (needed[0], needed[1])
        start = partial(partial, compute)  # which starts nothing ahead
        for part, values in run_tiles(
            start, size, side, card.margin, card.align, region=region, notes=notes
        ):
            yield scaled(part, card.scale), values

    def _choose_side(self, height: int, width: int, budget: float | None) -> int:
        """Returns the side of the largest core whose window fits into the limit or the budget."""
        limit = self.card.max_pixels
        if limit is None:
            return self._side_within_budget(height, width, budget)
        # A served model tiles by itself: it needs no budget, but refuses more than `limit` pixels.
        return max(height, width) if height * width <= limit else self._side_within_limit(limit)

    def _check_tile(self, tile: int, height: int, width: int) -> None:
        """Raises UserError if the window of a tile can exceed the limit of a request."""
        limit = self.card.max_pixels
        window = tile + 2 * self.card.margin + 2 * (self.card.align - 1)  # see _side_within_limit
        if limit is not None and min(height, window) * min(width, window) > limit:
            raise UserError(
                f"tile {tile}: its windows exceed {limit} pixels, the limit of a request: give at"
                f" most {self._side_within_limit(limit)}, or omit the tile"
            )

    def _side_within_limit(self, limit: int) -> int:
        margin, align = self.card.margin, self.card.align
        # plan_axis enlarges windows by up to align - 1 pixels, so that the last one is aligned too.
        side = core_of_tile(math.isqrt(limit) - (align - 1), margin, align)
        if side >= 1:
            return side
        raise UserError(
            f"the server accepts {limit} pixels per request, too few for {self.card.name}, whose"
            f" tiles overlap by {margin} pixels: send smaller images, or export the model again"
            f" with max_pixels at least {(4 * margin) ** 2}"
        )

    def _side_within_budget(self, height: int, width: int, budget: float | None) -> int:
        margin = self.card.margin
        budget = budget or min(_LARGEST_BUDGET, psutil.virtual_memory().available / 4)
        bytes_per_value = 1 if self.card.precision == "int8" else 4
        room = budget / (bytes_per_value * self.card.floats)
        # core_side returns no core smaller than its margin, so no window is smaller than this. An
        # image within it needs no tiles.
        smallest_window = (3 * margin) ** 2
        if height * width <= max(room, smallest_window):
            return max(height, width)
        return core_side(room, margin)
