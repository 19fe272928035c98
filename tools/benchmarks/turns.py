"""Contestants in turn: so that what slows the machine for a while slows all of them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from udl_tf.errors import UserError


def in_turns(
    contestants: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int
) -> dict[str, list[float] | str]:
    """Seconds of each repeat of each contestant, the contestants in turn.

    Args:
        contestants: by name, what makes the function to be timed; it runs once before.
        repeats: of each.

    Returns:
        By name its seconds; or, of one that needs a package which is not here, the words for it.
    """
    ready: dict[str, Callable[[], Any]] = {}
    results: dict[str, list[float] | str] = {}
    for name, make in contestants.items():
        try:
            ready[name] = make()
        except UserError as error:
            results[name] = str(error)
        else:
            ready[name]()
            results[name] = []
    for _ in range(repeats):
        for name, run in ready.items():
            start = time.perf_counter()
            run()
            seconds = results[name]
            assert isinstance(seconds, list)
            seconds.append(time.perf_counter() - start)
    return results
