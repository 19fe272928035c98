"""Protocol by which long tasks report their progress."""

import threading
from typing import Protocol


class Progress(Protocol):
    """Called whenever another part of a task is done.

    Args:
        done: amount done so far, in a unit chosen by the task; never decreases.
        total: amount to do in all; None if unknown.
        label: current item, such as a file name.
    """

    def __call__(self, done: float, total: float | None, label: str = "") -> object: ...


def no_progress(done: float, total: float | None, label: str = "") -> None:
    """Reports nothing."""


class Counter:
    """Adds up the parts of a task, which several threads may do, and reports the sum.

    Args:
        progress: receives the reports.
        total: amount to do in all.
        done: amount done before.
    """

    def __init__(self, progress: Progress, total: float, done: float = 0.0):
        self.done = done
        self._progress = progress
        self._total = total
        self._lock = threading.Lock()

    def add(self, amount: float, label: str = "") -> None:
        """Adds `amount` and reports the sum."""
        with self._lock:
            self.done += amount
            self._progress(self.done, self._total, label)


def part_of(
    progress: Progress, before: float, amount: float, whole: float, name: str = ""
) -> Progress:
    """Returns the Progress of a part of a task, whose own unit may differ.

    Args:
        progress: of the whole task.
        before: amount done before the part.
        amount: amount that the part contributes.
        whole: amount to do in all.
        name: label of the part.
    """

    def report(done: float, total: float | None, label: str = "") -> None:
        progress(before + amount * done / (total or 1.0), whole, name or label)

    return report
