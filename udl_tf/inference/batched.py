"""A trained model for many threads: what their pictures need is computed in common batches.

Each thread upscales a picture of its own. The windows of all their pictures wait together; those of
one shape, whatever picture they are of, are computed at once. A picture comes out as it does alone.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from udl_tf.inference.chain_runner import ChainRunner, window_of
from udl_tf.inference.keras_upscaler import Chain, KerasUpscaler, make_passes
from udl_tf.inference.tiling import Tile, core_of, out_of_memory, plan_tiles, scaled
from udl_tf.inference.upscaler import Pass, Upscaler
from udl_tf.uncertainty import Calibration

_AHEAD = 4  # windows of one picture that wait at a time


class BatchedUpscaler(Upscaler):
    """A KerasUpscaler whose `upscale` and `predict` may be called by many threads at once.

    Args:
        model: what computes.
        budget: bytes to compute with; None: what the model's passes find sensible.
    """

    def __init__(self, model: KerasUpscaler, budget: float | None = None):
        self._networks = model.networks
        self.scale = model.scale
        self.calibration: Calibration | None = model.calibration
        self._budget = budget
        self._made: dict[tuple[bool, bool], list[Pass]] = {}
        self._lock = threading.Lock()

    @property
    def has_uncertainty(self) -> bool:
        return self._networks.uncertainty is not None

    def _passes(self, uncertainty: bool, bordered: bool = False) -> Sequence[Pass]:
        key = (uncertainty, bordered)
        with self._lock:
            if key not in self._made:
                self._made[key] = make_passes(self._networks, self._runner, *key)
            return self._made[key]

    def _theta_of(self, log_scale: np.ndarray) -> np.ndarray:
        return self._networks.theta_of(log_scale)

    def _runner(self, chain: Chain) -> "BatchRunner":
        return BatchRunner(ChainRunner(chain), self._budget)


class BatchRunner:
    """A ChainRunner for many threads.

    Attributes:
        radius: of the chain.
        windows, batches: how many were computed so far.
    """

    def __init__(self, runner: ChainRunner, budget: float | None = None):
        self.radius = runner.radius
        self.windows = self.batches = 0
        self._runner = runner
        budget = budget or runner.default_budget()
        side, self._rooms = runner.plan(2**60, budget)
        self._side = side + 2 * self.radius
        self._waiting: dict[tuple[int, ...], deque[tuple[np.ndarray, Future]]] = {}
        self._new = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def run(
        self, lr: np.ndarray, tile: int | None = None, budget: float | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """As `ChainRunner.run`, but for the budget, which is that of all threads together."""
        margin, align = self.radius, self._runner.align
        window = (tile + 2 * margin + align - 1) if tile else self._side
        side = max(window - 2 * margin - align + 1, 1)
        height, width = lr.shape[:2]
        whole = slice(0, height), slice(0, width)
        left = deque(plan_tiles(whole, (height, width), side, margin, align, window))
        asked: deque[tuple[Tile, Future]] = deque()
        while left or asked:
            while left and len(asked) < _AHEAD:
                part = left.popleft()
                asked.append((part, self._ask(window_of(lr, part))))
            part, future = asked.popleft()
            yield scaled(part, self._runner.scale), core_of(part, future.result())

    def _ask(self, window: np.ndarray) -> Future:
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
                group = self._longest()
            windows, futures = zip(*group, strict=True)
            self._compute(windows, futures)

    def _longest(self) -> list[tuple[np.ndarray, Future]]:
        """Of the shape that most windows have, as many as the budget allows; taken out."""
        shape = max(self._waiting, key=lambda s: len(self._waiting[s]))
        queue = self._waiting[shape]
        most = max(1, self._side**2 // math.prod(shape[:2]))
        group = [queue.popleft() for _ in range(min(most, len(queue)))]
        if not queue:
            del self._waiting[shape]
        return group

    def _compute(self, windows: Sequence[np.ndarray], futures: Sequence[Future]) -> None:
        try:
            results = self._runner.values(np.stack(windows), self._rooms)
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
