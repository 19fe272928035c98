"""One image at a time: tasks that wait for their turn, report their progress and can be stopped."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from udl_tf._support.progress import Progress
from udl_tf.errors import UserError

MOST_TASKS = 20

Outcome = TypeVar("Outcome")


class Task(Generic[Outcome]):
    """A task that waits, runs or has ended.

    Attributes:
        future: of its outcome.
        done: share that is done, 0..1.
        label: what is being done.
    """

    def __init__(self):
        self.future: Future[Outcome] = Future()
        self.done, self.label = 0.0, ""
        self._stop = threading.Event()
        self._first: tuple[float, float] | None = None  # time and share of the first progress

    def report(self, done: float, total: float | None, label: str = "") -> None:
        """Notes the progress, and ends the task here if it was stopped; a Progress."""
        if self._stop.is_set():
            raise CancelledError
        self.done, self.label = done / (total or 1.0), label
        if self.done and self._first is None:
            self._first = time.monotonic(), self.done

    def stop(self) -> None:
        """Stops the task: at once while it waits, otherwise with its next progress."""
        self._stop.set()
        self.future.cancel()

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time left; None: unknown.

        Measured from the first progress on: what precedes it, such as compilation, happens once.
        """
        if self._first is None or self.done <= self._first[1]:
            return None
        start, share = self._first
        return (time.monotonic() - start) * (1 - self.done) / (self.done - share)

    def run(self, work: Callable[[Progress], Outcome]) -> None:
        """Runs `work` unless the task was stopped; its result or exception goes to the future."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(work(self.report))
        except BaseException as error:
            self.future.set_exception(error)


class Desk:
    """Runs tasks one at a time, in the order of their arrival."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, "udl_tf-web")
        self._tasks: list[Task] = []  # that wait or run, in order
        self._lock = threading.Lock()

    def add(self, work: Callable[[Progress], Outcome]) -> Task[Outcome]:
        """Adds a task to the queue.

        Args:
            work: the task; receives the Progress to which it reports.

        Raises:
            UserError: if MOST_TASKS are waiting.
        """
        task = Task[Outcome]()
        with self._lock:
            if len(self._tasks) >= MOST_TASKS:
                raise UserError(f"{MOST_TASKS} images are waiting already: try again later")
            self._tasks.append(task)
        task.future.add_done_callback(lambda _: self._remove(task))
        self._pool.submit(task.run, work)
        return task

    def before(self, task: Task) -> int:
        """Returns the number of tasks that must end before this one runs."""
        with self._lock:
            return self._tasks.index(task) if task in self._tasks else 0

    def close(self) -> None:
        """Stops all tasks and waits for the one that runs."""
        with self._lock:
            tasks = list(self._tasks)
        for task in tasks:
            task.stop()
        self._pool.shutdown()

    def _remove(self, task: Task) -> None:
        with self._lock:
            self._tasks.remove(task)
