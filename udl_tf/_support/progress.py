"""The one protocol by which long tasks report their progress."""

from typing import Protocol


class Progress(Protocol):
    """Called whenever more of a task is done.

    Args:
        done: how much is done, in a unit of the task's choice; never decreases.
        total: how much there is to do; None where that is unknown.
        label: what is being worked on, such as a file name.
    """

    def __call__(self, done: float, total: float | None, label: str = "") -> object: ...


def no_progress(done: float, total: float | None, label: str = "") -> None:
    """Reports nothing."""


class Counter:
    """Adds up the parts of a task and reports the sum.

    Args:
        progress: where to report.
        total: how much there is to do.
        done: how much was done before.
    """

    def __init__(self, progress: Progress, total: float, done: float = 0.0):
        self.done = done
        self._progress = progress
        self._total = total

    def add(self, amount: float, label: str = "") -> None:
        """Reports that `amount` more is done."""
        self.done += amount
        self._progress(self.done, self._total, label)


def part_of(
    progress: Progress, before: float, amount: float, whole: float, name: str = ""
) -> Progress:
    """Returns the Progress of a part of a task, whose own unit may differ.

    Args:
        progress: of the whole task.
        before: how much was done before the part.
        amount: what the part contributes.
        whole: how much there is to do in all.
        name: of the part, used as the label.
    """

    def report(done: float, total: float | None, label: str = "") -> None:
        progress(before + amount * done / (total or 1.0), whole, name or label)

    return report
