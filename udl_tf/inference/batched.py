"""Batches that threads share, so that small images keep the device busy.

Each thread upscales an image of its own. The windows of their images wait in common queues, and
those of one shape are computed together, whichever images they belong to.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np

from udl_tf._support.hardware import has_gpu
from udl_tf.inference.tiling import OUT_OF_MEMORY, Notes, out_of_memory


class Request(NamedTuple):
    """Windows of one image, float32 (n, h, w, 3), and their results to come."""

    windows: np.ndarray
    results: Future
    notes: Notes


class SharedBatches:
    """Computes windows that wait, in batches.

    Args:
        compute: (windows (n, h, w, 3), capacities of the stages, notes) -> their results.

    Attributes:
        windows, batches: how many were computed so far.
    """

    def __init__(self, compute: Callable[[np.ndarray, Sequence[float], Notes], np.ndarray]):
        self.windows = self.batches = 0
        self._compute = compute
        self._waiting: dict[tuple, deque[Request]] = {}
        self._lock = threading.Lock()

    def request(
        self, windows: np.ndarray, capacities: Sequence[float], most: int, notes: Notes
    ) -> Future:
        """Adds windows to their queue, and returns their results to come.

        Args:
            windows: float32 (n, h, w, 3).
            capacities: of the stages. Only requests with equal ones share a batch.
            most: windows of this shape that may be computed at a time.
            notes: receives lines about how the windows were computed.
        """
        request = Request(windows, Future(), notes)
        key = (windows.shape[1:], tuple(capacities), most)
        with self._lock:
            self._waiting.setdefault(key, deque()).append(request)
        device_threads().submit(self._compute_next)
        return request.results

    def _compute_next(self) -> None:
        """Computes the next batch, unless earlier batches included all requests."""
        with self._lock:
            if not self._waiting:
                return
            key = next(iter(self._waiting))
            queue = self._waiting.pop(key)
            _, capacities, most = key
            batch = [queue.popleft()]
            while queue and sum(len(r.windows) for r in (*batch, queue[0])) <= most:
                batch.append(queue.popleft())
            if queue:  # behind the queues of other shapes
                self._waiting[key] = queue
        self._compute_batch(batch, capacities)

    def _compute_batch(self, batch: Sequence[Request], capacities: Sequence[float]) -> None:
        """Computes a batch; when memory runs out, in halves."""
        notes: Notes = {}
        try:
            results = self._compute(np.concatenate([r.windows for r in batch]), capacities, notes)
        except Exception as error:
            if out_of_memory(error) and len(batch) > 1:
                half = len(batch) // 2
                for part in (batch[:half], batch[half:]):
                    for request in part:
                        request.notes[OUT_OF_MEMORY] = None
                    self._compute_batch(part, capacities)
                return
            for request in batch:
                request.results.set_exception(error)
            return
        self.batches += 1
        self.windows += len(results)
        first = 0
        for request in batch:
            request.notes.update(notes)
            request.results.set_result(results[first : first + len(request.windows)])
            first += len(request.windows)


@cache
def device_threads() -> ThreadPoolExecutor:
    """Returns the threads that compute all batches of this process.

    A CPU computes one batch at a time, with all its cores. A GPU gets the next batch while the
    results of the previous one are copied to the host.
    """
    return ThreadPoolExecutor(2 if has_gpu() else 1, "udl_tf-device")
