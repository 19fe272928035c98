"""Runs a network's chain of stages over an image of any size in bounded memory."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from udl_tf._support.device_memory import free_gpu_memory, free_memory
from udl_tf._support.hardware import has_gpu
from udl_tf._support.progress import Counter
from udl_tf.inference.batched import Report, SharedBatches, no_report
from udl_tf.inference.tiling import Notes, Tile, core_side, pixels_of, run_tiles, scaled
from udl_tf.models.stages import Stage, chain_align, chain_radius

_FLOAT = 4  # bytes
_GPU_BUDGET = 8e9  # bytes; windows of EDSR-S are then so large that they hardly overlap
# Pixels that a CPU computes at a time: more per call gains nothing. Compared with one window per
# call, EDSR in batches of 16 takes 75 % of the time for windows of 32x32, 95 % for 80x80, and the
# same for 144x144.
_CPU_BATCH = 128**2
_MAP_SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)  # of the budget, tried for the maps between stages


def make_forward(network: keras.Model) -> Callable[..., Any]:
    """As make_device_forward, but the function returns NumPy arrays."""
    forward = make_device_forward(network)
    return lambda *images: keras.tree.map_structure(keras.ops.convert_to_numpy, forward(*images))


def make_device_forward(network: keras.Model) -> Callable[..., Any]:
    """Returns a function from the network's inputs to its outputs, tensors on the device.

    Each input is (n, h, w, c), any n, h and w. Under TensorFlow, one graph serves all sizes. The
    function always uses the current weights. Several output maps are stacked: (n, maps, h, w, c).
    """

    def call(*images):
        result = network(images[0] if len(images) == 1 else list(images), training=False)
        return keras.ops.stack(result, axis=1) if isinstance(result, list) else result

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        shapes = [(None, None, None, image.shape[-1]) for image in network.inputs]
        call = tf.function(call, input_signature=[tf.TensorSpec(s, tf.float32) for s in shapes])
        call = call.get_concrete_function()

    def forward(*images: Any) -> Any:
        return call(*(keras.ops.convert_to_tensor(image, "float32") for image in images))

    return forward


def _part_forward(network: keras.Model) -> Callable[[Any, Any], Any]:
    """As make_device_forward, but called with (map, LR image), even if the network needs no LR."""
    forward = make_device_forward(network)
    return forward if len(network.inputs) == 2 else lambda x, lr: forward(x)


class ChainRunner:
    """Computes the last maps of a chain of stages; threads that call `run` share batches.

    An image that is too large for the maps between the stages is cut into tiles that overlap by the
    radius of the whole chain. Within such a tile, each stage runs in tiles of its own that overlap
    by its own, smaller radius.

    Args:
        stages: the chain, such as `network.build_chain("sr")`.

    Attributes:
        stages: the same.
        radius: LR pixels on each side that a pixel of the last maps may depend on.
        align: multiple of LR pixels at which tiles start.
        scale: height and width of the last maps over those of the LR image.
        batches: computes windows in shared batches.
    """

    def __init__(self, stages: Sequence[Stage]):
        self.stages = tuple(stages)
        self.radius = chain_radius(stages)
        self.align = chain_align(stages)
        self.scale = stages[-1].scale
        self.batches = SharedBatches(self.values)
        self._whole = [[_part_forward(stage.network)] for stage in stages]
        self._parts = [
            [_part_forward(part) for part in stage.parts] if stage.parts else whole
            for stage, whole in zip(stages, self._whole, strict=True)
        ]
        self._most_pixels = math.inf if has_gpu() else _CPU_BATCH
        channels = stages[0].network.inputs[0].shape[-1]
        sizes = [channels, *(stage.channels * stage.scale**2 for stage in stages)]
        # Bytes per LR pixel: while a stage runs, the LR image, the map before and the next map.
        pairs = itertools.pairwise(sizes)
        self._map_bytes = _FLOAT * (channels + max(before + after for before, after in pairs))

    @property
    def sensible_budget(self) -> float:
        """Bytes of working memory where memory is plentiful: 1 GB.

        More only where a stage reaches so far that most pixels would be computed more than twice:
        its windows should be 7 radii wide.
        """
        widest = max(_FLOAT * stage.floats * (7 * stage.radius) ** 2 for stage in self.stages)
        return max(1e9, 1.5 * widest)

    def default_budget(self) -> float:
        """Returns the working memory in bytes: GPU memory if there is a GPU, else main memory.

        At most a quarter of the free memory: a GPU computes two batches at a time.
        """
        on_gpu = free_gpu_memory()
        if on_gpu is None:
            return min(self.sensible_budget, free_memory() / 4)
        return min(max(_GPU_BUDGET, self.sensible_budget), on_gpu / 4)

    def run(
        self,
        lr: np.ndarray,
        tile: int | None = None,
        budget: float | None = None,
        notes: Notes | None = None,
        counter: Counter | None = None,
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Computes the chain's last maps in tiles that cover the image.

        Args:
            lr: float32 (h, w, c).
            tile: side of a tile's core, LR pixels; None: the side that computes fewest pixels.
            budget: bytes of working memory; None: default_budget().
            notes: receives a line when memory ran out.
            counter: receives the progress within the current tiles, in LR pixels.

        Yields:
            (rows and columns of the last maps, float32 values there, (maps, rows, columns, c)).
        """
        height, width = lr.shape[:2]
        side, capacities = self.plan(height * width, budget or self.default_budget())
        side, margin, notes = tile or side, self.radius, {} if notes is None else notes

        def start(tiles: Sequence[Tile]) -> Callable[[], np.ndarray]:
            windows = np.stack([window_of(lr, tile) for tile in tiles])
            report = no_report if counter is None else partial(_show, counter, pixels_of(tiles))
            return self.batches.request(windows, capacities, batch, notes, report).result

        window = min(side + 2 * margin, height) * min(side + 2 * margin, width)
        batch = max(1, int(min(*capacities, self._most_pixels) / window))
        for part, values in run_tiles(
            start, (height, width), side, margin, self.align, batch, ahead=1, notes=notes
        ):
            yield scaled(part, self.scale), values

    def values(
        self,
        windows: np.ndarray,
        capacities: Sequence[float],
        notes: Notes | None = None,
        report: Report = no_report,
    ) -> np.ndarray:
        """Returns the chain's last maps, (n, maps, ...), of (n, h, w, c) windows.

        Capacities are as from `plan`.
        """
        x: Any = windows

        def progress(done: float, total: float | None, label: str = "") -> None:
            report(min(1.0, done / (total or 1)))  # tiles repeat after memory ran out

        steps = Counter(progress, sum(map(len, self._parts)))
        for index, capacity in enumerate(capacities):
            x = self._run_stage(index, x, windows, capacity, notes, steps)
        maps = keras.ops.convert_to_numpy(x)
        return maps.reshape(len(maps), -1, *maps.shape[-3:])  # a single map is not stacked

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

    def _run_stage(
        self,
        index: int,
        x: Any,
        lr: np.ndarray,
        capacity: float,
        notes: Notes | None,
        steps: Counter,
    ) -> Any:
        """Runs a stage on its input maps x, (n, h, w, c) for n windows; counts its parts.

        A map that is computed in one piece stays on the device; one in tiles is assembled in NumPy.
        """
        stage = self.stages[index]
        n, height, width, _ = lr.shape
        before = x.shape[1] // height  # scale of x
        whole = n * height * width <= capacity
        x = x if whole else keras.ops.convert_to_numpy(x)
        side = max(height, width) if whole else core_side(capacity / n, stage.radius)
        window = min(side + 2 * stage.radius, height) * min(side + 2 * stage.radius, width)
        size = (height * stage.scale, width * stage.scale)

        def compute(tiles: Sequence[Tile]) -> Any:
            result, image = _windows(x, tiles, before), _windows(lr, tiles, 1)
            pixels = pixels_of(tiles)
            # What takes a moment needs no progress within, and each call costs half a millisecond.
            parts = (self._whole if n * pixels <= _CPU_BATCH else self._parts)[index]
            for part in parts:
                result = part(result, image)
                steps.add(len(self._parts[index]) / len(parts) * pixels / (height * width))
            if len(tiles) == 1:
                return result[None]
            return keras.ops.convert_to_numpy(result).reshape(len(tiles), n, *result.shape[1:])

        batch = max(1, int(capacity / n / window))
        out = None
        for tile, values in run_tiles(
            partial(partial, compute),
            (height, width),
            side,
            stage.radius,
            stage.align,
            batch,
            notes=notes,
        ):
            *maps, rows, columns, channels = values.shape
            if (rows, columns) == size:  # one tile: no copy
                return values
            out = np.empty((*maps, *size, channels), np.float32) if out is None else out
            out[(..., *scaled(tile, stage.scale), slice(None))] = values
        assert out is not None
        return out


def _show(counter: Counter, pixels: int, share: float) -> None:
    """Reports a share of `pixels` LR pixels to the counter."""
    counter.show(share * pixels)


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
