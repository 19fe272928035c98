"""Runs a network's chain of stages over a picture of any size within a bounded memory."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from udl_tf.inference.tiling import Tile, core_side, run_tiles, scaled
from udl_tf.models.stages import Stage, chain_align, chain_radius

_FLOAT = 4  # bytes


def make_forward(network: keras.Model) -> Callable[..., Any]:
    """A function from the network's inputs to its outputs, as NumPy arrays.

    Each input is (n, h, w, c), any n, h and w. Under TensorFlow it is one graph for all sizes; it
    always uses the weights of the moment.
    """

    def call(*images):
        return network(images[0] if len(images) == 1 else list(images), training=False)

    if keras.backend.backend() == "tensorflow":
        shapes = [(None, None, None, image.shape[-1]) for image in network.inputs]
        call = tf.function(call, input_signature=[tf.TensorSpec(s, tf.float32) for s in shapes])
        call = call.get_concrete_function()

    def forward(*images: np.ndarray) -> Any:
        outputs = call(*(keras.ops.convert_to_tensor(image, "float32") for image in images))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return forward


class ChainRunner:
    """Computes the last map of a chain of stages.

    A picture too large for the maps between the stages is cut into tiles that overlap by the radius
    of the whole chain. Within such a tile each stage runs in tiles that overlap by its own radius.

    Args:
        stages: the chain, such as a network's `stages("sr")`.
    """

    def __init__(self, stages: Sequence[Stage]):
        self.stages = tuple(stages)
        self.radius = chain_radius(stages)
        self.align = chain_align(stages)
        self.scale = stages[-1].scale
        self._forward = [make_forward(stage.network) for stage in stages]
        sizes = [3, *(stage.channels * stage.scale**2 for stage in stages)]
        # The LR image stays beside a map and the one that is made of it.
        pairs = itertools.pairwise(sizes)
        self._map_bytes = _FLOAT * (3 + max(before + after for before, after in pairs))

    @property
    def sensible_budget(self) -> float:
        """Bytes to compute with where there is enough: 1 GB.

        More only where a stage reaches so far that most pixels would be computed more than twice:
        its windows should be 7 radii wide.
        """
        widest = max(_FLOAT * stage.floats * (7 * stage.radius) ** 2 for stage in self.stages)
        return max(1e9, 1.5 * widest)

    def default_budget(self) -> float:
        """The same, but a quarter of the free memory at most."""
        return min(self.sensible_budget, psutil.virtual_memory().available / 4)

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """The chain's result in tiles that cover the picture.

        Args:
            lr: float32 (h, w, 3).
            tile: side of a tile's core, LR pixels; None: the one that computes fewest pixels.
            budget: bytes to compute with; None: default_budget().

        Yields:
            (rows and columns of the result, float32 values there).
        """
        height, width = lr.shape[:2]
        side, rooms = self.plan(height * width, budget or self.default_budget())
        side, margin = tile or side, self.radius
        window = min(side + 2 * margin, height) * min(side + 2 * margin, width)
        batch = max(1, int(min(rooms) / window))

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            return self.values(np.stack([window_of(lr, tile) for tile in tiles]), rooms)

        for part, values in run_tiles(compute, (height, width), side, margin, self.align, batch):
            yield scaled(part, self.scale), values

    def values(self, windows: np.ndarray, rooms: Sequence[float]) -> np.ndarray:
        """The chain's result for (n, h, w, 3) windows, with rooms as `plan` returns them."""
        x = windows
        for index, room in enumerate(rooms):
            x = self._run_stage(index, x, windows, room)
        return x

    def plan(self, pixels: int, budget: float) -> tuple[int, list[float]]:
        """How a picture of so many pixels is best cut.

        Returns:
            (side of the tiles' cores, for each stage the pixels that it may take at a time): the
            maps between the stages and a stage's own work share the budget, and fewest pixels are
            computed twice.
        """
        plans = []
        for share in (1 / 6, 1 / 3, 1 / 2, 2 / 3):
            maps = min(pixels, share * budget / self._map_bytes)
            workspace = budget - maps * self._map_bytes
            rooms = [workspace / (_FLOAT * stage.floats) for stage in self.stages]
            for window in (maps, *(room for room in rooms if room < maps)):
                whole = window == pixels
                side = math.isqrt(pixels) + 1 if whole else core_side(window, self.radius)
                taken = pixels if whole else (side + 2 * self.radius) ** 2
                cost = max(
                    1.0 if taken <= room else _overlap(core_side(room, stage.radius), stage.radius)
                    for room, stage in zip(rooms, self.stages, strict=True)
                )
                cost *= 1.0 if whole else _overlap(side, self.radius)
                plans.append((cost, pixels if whole else side, rooms))
        _, side, rooms = min(plans, key=lambda plan: plan[0])
        return side, rooms

    def _run_stage(self, index: int, x: np.ndarray, lr: np.ndarray, room: float) -> np.ndarray:
        """The map that a stage makes of x, the map before; both for n windows at once."""
        stage, forward = self.stages[index], self._forward[index]
        n, height, width, _ = lr.shape
        before = x.shape[1] // height
        whole = n * height * width <= room
        side = max(height, width) if whole else core_side(room / n, stage.radius)
        window = min(side + 2 * stage.radius, height) * min(side + 2 * stage.radius, width)

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            maps = [_windows(x, tiles, before)]
            if len(stage.network.inputs) == 2:
                maps.append(_windows(lr, tiles, 1))
            result = forward(*maps)
            return result.reshape(len(tiles), n, *result.shape[1:])

        batch = max(1, int(room / n / window))
        shape = (n, height * stage.scale, width * stage.scale, stage.channels)
        out = None
        for tile, values in run_tiles(
            compute, (height, width), side, stage.radius, stage.align, batch
        ):
            if values.shape == shape:
                return values
            out = np.empty(shape, np.float32) if out is None else out
            rows, columns = scaled(tile, stage.scale)
            out[:, rows, columns] = values
        assert out is not None
        return out


def _overlap(side: int, margin: int) -> float:
    """Computed over kept pixels of a tile."""
    return ((side + 2 * margin) / side) ** 2


def window_of(x: np.ndarray, tile: Tile, scale: int = 1) -> np.ndarray:
    """A tile's window of a map (..., h, w, c) that is `scale` times as large as the LR image."""
    rows, columns = (slice(s.window.start * scale, s.window.stop * scale) for s in tile)
    return x[..., rows, columns, :]


def _windows(x: np.ndarray, tiles: Sequence[Tile], scale: int) -> np.ndarray:
    """Several tiles' windows of n maps, one batch."""
    if len(tiles) == 1:
        return window_of(x, tiles[0], scale)
    return np.concatenate([window_of(x, tile, scale) for tile in tiles])
