"""Protocol by which long tasks report their progress."""

import threading
from typing import Protocol

_FIRST, _LATER = 10.0, 60.0  # s until the first report of a long task, and between later ones


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
        self.done = self._reported = done
        self._progress = progress
        self._total = total
        self._lock = threading.Lock()

    def add(self, amount: float, label: str = "") -> None:
        """Adds `amount` and reports the sum."""
        with self._lock:
            self.done += amount
            self._report(self.done, label)

    def show(self, ahead: float) -> None:
        """Reports the progress within unfinished parts; the sum does not change."""
        with self._lock:
            self._report(min(self.done + ahead, self._total), "")

    def _report(self, done: float, label: str) -> None:
        self._reported = max(self._reported, done)  # parts overlap: progress must not fall
        self._progress(self._reported, self._total, label)


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


class Pace:
    """Schedules the log lines of a long task of many parts without a terminal.

    The first line is due within 10 s of the first part, later ones at most 60 s apart: after a part
    if the next one, taking as long, would end too late.

    Args:
        start: time at which the task starts, s.
    """

    def __init__(self, start: float):
        self._part = start  # time at which the current part started
        self._deadline: float | None = None

    def due(self, now: float) -> bool:
        """Returns whether a report is due after the part that has just ended."""
        seconds, self._part = now - self._part, now
        if self._deadline is None:
            self._deadline = now + _FIRST
        if now + seconds <= self._deadline:
            return False
        self.reported(now)
        return True

    def reported(self, now: float) -> None:
        """Notes a report: the next one is due 60 s later."""
        self._deadline = now + _LATER
