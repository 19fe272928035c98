"""Runs a network's chain of stages over an image of any size in bounded memory."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import psutil

from udl_tf.inference.tiling import Tile, core_side, run_tiles, scaled
from udl_tf.models.stages import Stage, chain_align, chain_radius

_FLOAT = 4  # bytes
_MAP_SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)  # of the budget, tried for the maps between stages


def make_forward(network: keras.Model) -> Callable[..., Any]:
    """Returns a function from the network's inputs to its outputs, as NumPy arrays.

    Each input is (n, h, w, c), any n, h and w. Under TensorFlow, one graph serves all sizes. The
    function always uses the current weights.
    """

    def call(*images):
        return network(images[0] if len(images) == 1 else list(images), training=False)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        shapes = [(None, None, None, image.shape[-1]) for image in network.inputs]
        call = tf.function(call, input_signature=[tf.TensorSpec(s, tf.float32) for s in shapes])
        call = call.get_concrete_function()

    def forward(*images: np.ndarray) -> Any:
        outputs = call(*(keras.ops.convert_to_tensor(image, "float32") for image in images))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return forward


class ChainRunner:
    """Computes the last map of a chain of stages.

    An image that is too large for the maps between the stages is cut into tiles that overlap by the
    radius of the whole chain. Within such a tile, each stage runs in tiles of its own that overlap
    by its own, smaller radius.

    Args:
        stages: the chain, such as `network.build_chain("sr")`.

    Attributes:
        stages: the same.
        radius: LR pixels on each side that a pixel of the last map may depend on.
        align: multiple of LR pixels at which tiles start.
        scale: height and width of the last map over those of the LR image.
    """

    def __init__(self, stages: Sequence[Stage]):
        self.stages = tuple(stages)
        self.radius = chain_radius(stages)
        self.align = chain_align(stages)
        self.scale = stages[-1].scale
        self._forward = [make_forward(stage.network) for stage in stages]
        sizes = [3, *(stage.channels * stage.scale**2 for stage in stages)]
        # Bytes per LR pixel: while a stage runs, the LR image, the map before and the next map.
        pairs = itertools.pairwise(sizes)
        self._map_bytes = _FLOAT * (3 + max(before + after for before, after in pairs))

    @property
    def sensible_budget(self) -> float:
        """Bytes of working memory where memory is plentiful: 1 GB.

        More only where a stage reaches so far that most pixels would be computed more than twice:
        its windows should be 7 radii wide.
        """
        widest = max(_FLOAT * stage.floats * (7 * stage.radius) ** 2 for stage in self.stages)
        return max(1e9, 1.5 * widest)

    def default_budget(self) -> float:
        """Returns the sensible budget, or a quarter of the free memory where that is less."""
        return min(self.sensible_budget, psutil.virtual_memory().available / 4)

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Computes the chain's last map in tiles that cover the image.

        Args:
            lr: float32 (h, w, 3).
            tile: side of a tile's core, LR pixels; None: the side that computes fewest pixels.
            budget: bytes of working memory; None: default_budget().

        Yields:
            (rows and columns of the last map, float32 values there).
        """
        height, width = lr.shape[:2]
        side, capacities = self.plan(height * width, budget or self.default_budget())
        side, margin = tile or side, self.radius
        window = min(side + 2 * margin, height) * min(side + 2 * margin, width)
        batch = max(1, int(min(capacities) / window))

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            return self.values(np.stack([window_of(lr, tile) for tile in tiles]), capacities)

        for part, values in run_tiles(compute, (height, width), side, margin, self.align, batch):
            yield scaled(part, self.scale), values

    def values(self, windows: np.ndarray, capacities: Sequence[float]) -> np.ndarray:
        """Returns the chain's last map of (n, h, w, 3) windows; capacities as from `plan`."""
        x = windows
        for index, capacity in enumerate(capacities):
            x = self._run_stage(index, x, windows, capacity)
        return x

    def plan(self, pixels: int, budget: float) -> tuple[int, list[float]]:
        """Finds the tiles for an image of so many LR pixels that compute fewest pixels twice.

        Returns:
            (side of the tiles' cores, capacity of each stage: the pixels it computes at a time).
        """
        # The budget is divided between the maps from stage to stage, of a whole tile, and the
        # workspace of the stage that runs. More for the maps: larger tiles, which overlap less.
        # More for the workspace: fewer tiles within a stage, which overlap too.
        plans = []
        for share in _MAP_SHARES:
            maps = min(pixels, share * budget / self._map_bytes)  # pixels of the largest window
            workspace = budget - maps * self._map_bytes
            capacities = [workspace / (_FLOAT * stage.floats) for stage in self.stages]
            # Two kinds of windows can be best: the largest that the maps allow, and the largest
            # that some stage computes at once, without tiles of its own.
            smaller = (capacity for capacity in capacities if capacity < maps)
            plans += [self._plan_of(window, pixels, capacities) for window in (maps, *smaller)]
        _, side, capacities = min(plans, key=lambda plan: plan[0])
        return side, capacities

    def _plan_of(
        self, window: float, pixels: int, capacities: list[float]
    ) -> tuple[float, int, list[float]]:
        """Returns (cost, side of the tiles' cores, capacities) for windows of so many pixels.

        The cost is the number of times that a pixel is computed on average, tiles within tiles
        included, by the stage where it is highest.
        """
        whole = window == pixels
        side = math.isqrt(pixels) + 1 if whole else core_side(window, self.radius)
        taken = pixels if whole else (side + 2 * self.radius) ** 2
        cost = max(
            1.0 if taken <= capacity else _overlap(core_side(capacity, stage.radius), stage.radius)
            for capacity, stage in zip(capacities, self.stages, strict=True)
        )
        cost *= 1.0 if whole else _overlap(side, self.radius)
        return cost, pixels if whole else side, capacities

    def _run_stage(self, index: int, x: np.ndarray, lr: np.ndarray, capacity: float) -> np.ndarray:
        """Returns the map after a stage, for the map before, x; both of n windows at once."""
        stage, forward = self.stages[index], self._forward[index]
        n, height, width, _ = lr.shape
        before = x.shape[1] // height  # scale of x
        whole = n * height * width <= capacity
        side = max(height, width) if whole else core_side(capacity / n, stage.radius)
        window = min(side + 2 * stage.radius, height) * min(side + 2 * stage.radius, width)

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            maps = [_windows(x, tiles, before)]
            if len(stage.network.inputs) == 2:
                maps.append(_windows(lr, tiles, 1))
            result = forward(*maps)
            return result.reshape(len(tiles), n, *result.shape[1:])

        batch = max(1, int(capacity / n / window))
        shape = (n, height * stage.scale, width * stage.scale, stage.channels)
        out = None
        for tile, values in run_tiles(
            compute, (height, width), side, stage.radius, stage.align, batch
        ):
            if values.shape == shape:  # one tile: no copy
                return values
            out = np.empty(shape, np.float32) if out is None else out
            rows, columns = scaled(tile, stage.scale)
            out[:, rows, columns] = values
        assert out is not None
        return out


def _overlap(side: int, margin: int) -> float:
    """Returns how many pixels of a tile are computed for each one that is kept."""
    return ((side + 2 * margin) / side) ** 2


def window_of(x: np.ndarray, tile: Tile, scale: int = 1) -> np.ndarray:
    """Returns a tile's window of a map (..., h, w, c) `scale` times as large as the LR image."""
    rows, columns = (slice(s.window.start * scale, s.window.stop * scale) for s in tile)
    return x[..., rows, columns, :]


def _windows(x: np.ndarray, tiles: Sequence[Tile], scale: int) -> np.ndarray:
    """Returns the windows of several tiles of n maps as one batch."""
    if len(tiles) == 1:
        return window_of(x, tiles[0], scale)
    return np.concatenate([window_of(x, tile, scale) for tile in tiles])
