"""Runs a network's chain of stages over a picture of any size within a bounded memory."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import psutil
import tensorflow as tf

from udl_tf.models.stages import Stage, chain_align, chain_radius
from udl_tf.tiling import Tile, run_tiles, scaled

_FLOAT = 4  # bytes


def make_forward(network: keras.Model) -> Callable[..., dict[str, np.ndarray] | np.ndarray]:
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

    def forward(*images: np.ndarray) -> dict[str, np.ndarray] | np.ndarray:
        outputs = call(*(keras.ops.convert_to_tensor(image, "float32") for image in images))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return forward


def free_budget() -> float:
    """Bytes to compute with, unless told: an eighth of the free memory, 1 GB at most.

    With more, tiles overlap little less.
    """
    return min(psutil.virtual_memory().available / 8, 1e9)


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
        self._forward = [make_forward(stage.network) for stage in stages]
        sizes = [3, *(stage.channels * stage.scale**2 for stage in stages)]
        # The LR image stays beside a map and the one that is made of it.
        pairs = itertools.pairwise(sizes)
        self._map_bytes = _FLOAT * (3 + max(before + after for before, after in pairs))

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """The chain's result in tiles that cover the picture.

        Args:
            lr: float32 (h, w, 3).
            tile: side of a tile's core, LR pixels; None: as large as the budget allows.
            budget: bytes to compute with, of which the maps may fill a half and one stage the
                other; None: free_budget().

        Yields:
            (rows and columns of the result, float32 values there).
        """
        height, width = lr.shape[:2]
        half = (budget or free_budget()) / 2
        margin, align = self.radius, chain_align(self.stages)
        if tile is None and height * width * self._map_bytes <= half:
            tile = max(height, width)
        side = tile or _side(half / self._map_bytes, margin)
        window = min(side + 2 * margin, height) * min(side + 2 * margin, width)
        batch = max(1, int(half / self._map_bytes / window))

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            parts = np.stack([_window(lr, tile, 1) for tile in tiles])
            x = parts
            for index in range(len(self.stages)):
                x = self._run_stage(index, x, parts, half)
            return x

        for part, values in run_tiles(compute, (height, width), side, margin, align, batch):
            yield scaled(part, self.stages[-1].scale), values

    def _run_stage(self, index: int, x: np.ndarray, lr: np.ndarray, budget: float) -> np.ndarray:
        """The map that a stage makes of x, the map before; both for n windows at once."""
        stage, forward = self.stages[index], self._forward[index]
        n, height, width, _ = lr.shape
        before = x.shape[1] // height
        pixels = budget / (_FLOAT * stage.floats * n)
        whole = height * width <= pixels
        side = max(height, width) if whole else _side(pixels, stage.radius)
        window = min(side + 2 * stage.radius, height) * min(side + 2 * stage.radius, width)

        def compute(tiles: Sequence[Tile]) -> np.ndarray:
            maps = [_windows(x, tiles, before)]
            if len(stage.network.inputs) == 2:
                maps.append(_windows(lr, tiles, 1))
            result = forward(*maps)
            return result.reshape(len(tiles), n, *result.shape[1:])

        batch = max(1, int(pixels / window))
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


def _side(pixels: float, margin: int) -> int:
    """The core of a square window of so many pixels, but no core smaller than its margin."""
    return max(math.isqrt(int(pixels)) - 2 * margin, margin, 1)


def _window(x: np.ndarray, tile: Tile, scale: int) -> np.ndarray:
    """A tile's window of a map (..., h, w, c) that is `scale` times as large as the LR image."""
    rows, columns = (slice(s.window.start * scale, s.window.stop * scale) for s in tile)
    return x[..., rows, columns, :]


def _windows(x: np.ndarray, tiles: Sequence[Tile], scale: int) -> np.ndarray:
    """Several tiles' windows of n maps, one batch."""
    if len(tiles) == 1:
        return _window(x, tiles[0], scale)
    return np.concatenate([_window(x, tile, scale) for tile in tiles])
