"""Timing in turns, so that whatever slows the machine for a while slows all contestants."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from udl_tf.errors import UserError

Contestants = Mapping[str, Callable[[], Callable[[], Any]]]
"""By name, what builds the function that is timed."""


def in_turns(contestants: Contestants, repeats: int) -> dict[str, list[float] | str]:
    """Times every contestant `repeats` times, in turns, after a first call that is not timed.

    Returns:
        By name the seconds of all repeats; the error instead for a contestant that could not be
        built, such as for want of a package.
    """
    ready: dict[str, Callable[[], Any]] = {}
    times: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for name, build in contestants.items():
        try:
            ready[name] = build()
        except UserError as error:
            failed[name] = str(error)
        else:
            ready[name]()
            times[name] = []
    for _ in range(repeats):
        for name, run in ready.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: failed.get(name) or times[name] for name in contestants}


def median_and_range(values: list[float], digits: int = 2) -> str:
    """Formats the median, with the smallest and largest value in brackets."""
    median, low, high = (
        f"{value:.{digits}f}" for value in (np.median(values), min(values), max(values))
    )
    return f"{median} ({low}–{high})"
