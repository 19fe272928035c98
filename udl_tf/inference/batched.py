"""Batches that threads share, so that small images keep the device busy.

Each thread upscales an image of its own. The windows of their images wait in common queues, and
those of one shape are computed together, whichever images they belong to.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from udl_tf._support.hardware import has_gpu
from udl_tf.inference.tiling import OUT_OF_MEMORY, Notes, out_of_memory

Report = Callable[[float], object]
"""Receives the share of the work that is done; an exception that it raises ends the request."""


def no_report(share: float) -> None:
    """Ignores the progress."""


class Request(NamedTuple):
    """Windows of one image, and their results to come; see SharedBatches.request."""

    windows: np.ndarray
    capacities: Sequence[float]
    most: int
    notes: Notes
    report: Report
    results: Future


class SharedBatches:
    """Computes windows that wait, in batches.

    Args:
        compute: (windows (n, h, w, c), capacities of the stages, notes, report) -> their results.

    Attributes:
        windows, batches: how many were computed so far.
    """

    def __init__(self, compute: Callable[[np.ndarray, Sequence[float], Notes, Report], np.ndarray]):
        self.windows = self.batches = 0
        self._compute = compute
        self._waiting: dict[tuple[int, ...], deque[Request]] = {}  # by shape of the windows
        self._lock = threading.Lock()

    def request(
        self,
        windows: np.ndarray,
        capacities: Sequence[float],
        most: int,
        notes: Notes,
        report: Report = no_report,
    ) -> Future:
        """Adds windows to their queue; returns the future of their results.

        Args:
            windows: float32 (n, h, w, c).
            capacities: of the stages; a batch uses the smallest of its requests.
            most: largest number of windows in a batch; a batch respects the smallest, too.
            notes: receives lines about how the windows were computed.
            report: called in the thread that computes.
        """
        request = Request(windows, capacities, most, notes, report, Future())
        with self._lock:
            self._waiting.setdefault(windows.shape[1:], deque()).append(request)
        device_threads().submit(self._compute_next)
        return request.results

    def _compute_next(self) -> None:
        """Computes the next batch; does nothing if earlier batches took all requests."""
        with self._lock:
            if not self._waiting:
                return
            shape = next(iter(self._waiting))
            queue = self._waiting.pop(shape)
            batch = [queue.popleft()]
            while queue and _fits(batch, queue[0]):
                batch.append(queue.popleft())
            if queue:  # behind the queues of other shapes
                self._waiting[shape] = queue
        self._compute_batch(batch)

    def _compute_batch(self, batch: Sequence[Request]) -> None:
        """Computes a batch; when memory runs out, in halves."""
        notes: Notes = {}
        capacities = np.min([request.capacities for request in batch], axis=0).tolist()
        try:
            windows = np.concatenate([request.windows for request in batch])
            results = self._compute(windows, capacities, notes, partial(_report, batch))
        except Exception as error:
            if out_of_memory(error) and len(batch) > 1:
                half = len(batch) // 2
                for part in (batch[:half], batch[half:]):
                    for request in part:
                        request.notes[OUT_OF_MEMORY] = None
                    self._compute_batch(part)
                return
            for request in _unfinished(batch):
                request.results.set_exception(error)
            return
        self.batches += 1
        self.windows += len(results)
        first = 0
        for request in batch:
            request.notes.update(notes)
            if not request.results.done():
                request.results.set_result(results[first : first + len(request.windows)])
            first += len(request.windows)


def _report(batch: Sequence[Request], share: float) -> None:
    """Reports progress to the requests of a batch; a request whose report raises ends with that.

    Raises:
        CancelledError: if all of them have ended.
    """
    for request in _unfinished(batch):
        try:
            request.report(share)
        except Exception as error:
            request.results.set_exception(error)
    if not _unfinished(batch):
        raise CancelledError


def _unfinished(batch: Sequence[Request]) -> list[Request]:
    return [request for request in batch if not request.results.done()]


def _fits(batch: Sequence[Request], request: Request) -> bool:
    """Returns whether a request can be added to a batch."""
    together = (*batch, request)
    return sum(len(r.windows) for r in together) <= min(r.most for r in together)


@cache
def device_threads() -> ThreadPoolExecutor:
    """Returns the threads that compute all batches of this process.

    A CPU computes one batch at a time, with all its cores. A GPU gets the next batch while the
    results of the previous one are copied to the host.
    """
    return ThreadPoolExecutor(2 if has_gpu() else 1, "udl_tf-device")
