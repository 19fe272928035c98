"""A trained model for many threads, which computes the windows of their images in common batches.

Each thread upscales an image of its own. The windows of all their images wait in common queues, one
per shape, and those of one shape are computed together, whichever images they belong to. The result
of an image is the same as without other threads.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from udl_tf.inference.chain_runner import ChainRunner, window_of
from udl_tf.inference.keras_upscaler import Chain, KerasUpscaler, make_passes
from udl_tf.inference.passes import Pass
from udl_tf.inference.tiling import Tile, core_of, out_of_memory, plan_tiles, scaled
from udl_tf.inference.upscaler import Upscaler
from udl_tf.uncertainty.record import Calibration

_AHEAD = 4  # windows of one image that wait at a time


class BatchedUpscaler(Upscaler):
    """A KerasUpscaler whose `upscale` and `predict` may be called by many threads at once.

    Args:
        model: computes the images.
        budget: bytes of working memory; None: the default of the model's passes.
    """

    def __init__(self, model: KerasUpscaler, budget: float | None = None):
        self._networks = model.networks
        self.scale = model.scale
        self.calibration: Calibration | None = model.calibration
        self._budget = budget
        self._built: dict[tuple[bool, bool], list[Pass]] = {}
        self._lock = threading.Lock()

    @property
    def has_uncertainty(self) -> bool:
        return self._networks.uncertainty is not None

    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        key = (uncertainty, bordered)
        with self._lock:
            if key not in self._built:
                self._built[key] = make_passes(self._networks, self._make_runner, *key)
            return self._built[key]

    def _theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        return self._networks.theta_of(log_scale)

    def _make_runner(self, chain: Chain) -> "BatchRunner":
        return BatchRunner(ChainRunner(chain), self._budget)


class BatchRunner:
    """A ChainRunner for many threads.

    Args:
        runner: computes the windows.
        budget: bytes of working memory; None: the runner's default.

    Attributes:
        radius: of the chain.
        windows, batches: how many were computed so far.
    """

    def __init__(self, runner: ChainRunner, budget: float | None = None):
        self.radius = runner.radius
        self.windows = self.batches = 0
        self._runner = runner
        budget = budget or runner.default_budget()
        # Planned for an image larger than any: windows then depend on the budget alone, and images
        # of different sizes have windows of the same shape.
        side, self._capacities = runner.plan(2**60, budget)
        self._window_side = side + 2 * self.radius
        self._waiting: dict[tuple[int, ...], deque[tuple[np.ndarray, Future]]] = {}
        self._new = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Does the same as `ChainRunner.run`, but shares its own budget among all threads."""
        margin, align = self.radius, self._runner.align
        # Aligning the start of a window takes up to align - 1 of its pixels (see plan_axis).
        window = (tile + 2 * margin + align - 1) if tile else self._window_side
        side = max(window - 2 * margin - align + 1, 1)
        height, width = lr.shape[:2]
        whole = slice(0, height), slice(0, width)
        remaining = deque(plan_tiles(whole, (height, width), side, margin, align, window))
        requested: deque[tuple[Tile, Future]] = deque()
        while remaining or requested:
            while remaining and len(requested) < _AHEAD:
                part = remaining.popleft()
                requested.append((part, self._request(window_of(lr, part))))
            part, future = requested.popleft()
            yield scaled(part, self._runner.scale), core_of(part, future.result())

    def _request(self, window: np.ndarray) -> Future:
        """Adds a window to its queue, and returns its result to come."""
        future: Future = Future()
        with self._new:
            self._waiting.setdefault(window.shape, deque()).append((window, future))
            self._new.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._new:
                while not self._waiting:
                    self._new.wait()
                batch = self._next_batch()
            windows, futures = zip(*batch, strict=True)
            self._compute(windows, futures)

    def _next_batch(self) -> list[tuple[np.ndarray, Future]]:
        """Removes windows from the longest queue, as many as the budget allows at a time."""
        shape = max(self._waiting, key=lambda s: len(self._waiting[s]))
        queue = self._waiting[shape]
        most = max(1, self._window_side**2 // math.prod(shape[:2]))
        batch = [queue.popleft() for _ in range(min(most, len(queue)))]
        if not queue:
            del self._waiting[shape]
        return batch

    def _compute(self, windows: Sequence[np.ndarray], futures: Sequence[Future]) -> None:
        """Computes a batch; when memory runs out, in halves."""
        try:
            results = self._runner.values(np.stack(windows), self._capacities)
        except Exception as error:
            if out_of_memory(error) and len(futures) > 1:
                half = len(futures) // 2
                self._compute(windows[:half], futures[:half])
                self._compute(windows[half:], futures[half:])
                return
            for future in futures:
                future.set_exception(error)
        else:
            self.batches += 1
            self.windows += len(futures)
            for result, future in zip(results, futures, strict=True):
                future.set_result(result)
