"""Campaigns: attempts at mutated inputs in a child process, until their time is over."""

import itertools
import math
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from udl_tf.errors import UserError

SLICE = 200  # inputs per seed
LONGEST = 5  # seconds of computation per input
HANGS = 60  # seconds after which the child process is ended
GROWTH = 300  # MB by which the peak memory may exceed that of the seeds

Attempt = Callable[[Path, Any], object]
"""Tries an input, with a folder of its own; raises UserError if the input is refused."""


class Campaign:
    """Attempts at the mutated inputs of one target.

    They run in a child process, so that a crash is a finding like any other, whose input Hypothesis
    minimises and prints.

    Args:
        folder: for the files of attempts.
        seconds: duration.
        seed: of the first slice of inputs.
    """

    def __init__(self, folder: Path, seconds: float, seed: int):
        self._folder, self._seconds, self._seed = folder, seconds, seed
        self._child: ProcessPoolExecutor | None = None
        self.accepted = self.refused = 0

    def report(self) -> str:
        total = self.accepted + self.refused
        return f"{total} inputs, {self.accepted} accepted, {self.refused} refused with a UserError"

    def run(
        self, attempt: Attempt, seeds: list[Any], strategy: SearchStrategy, named: str | None = None
    ) -> None:
        """Attempts the seeds, which must be accepted, then inputs until the time is over.

        Args:
            attempt: a function of a module, or a partial of one.
            seeds: valid inputs.
            strategy: for mutated inputs.
            named: what every refusal names; None: the folder, in which the input is a file.
        """
        self._named = str(self._folder) if named is None else named
        try:
            for number, content in enumerate(seeds):
                refusal, base, _ = self._try(attempt, content)  # the first one imports and loads
                assert refusal is None, f"seed {number}: {refusal}"
            end = time.monotonic() + self._seconds

            def check(content: Any) -> None:
                nonlocal end
                if time.monotonic() > end:
                    return
                try:
                    _, peak, seconds = self._try(attempt, content)
                    assert seconds < LONGEST, f"{seconds:.1f} seconds"
                    assert peak < base + GROWTH, f"{peak - base:.0f} MB more memory than the seeds"
                except BaseException:
                    end = math.inf  # Hypothesis minimises the input
                    raise

            for slice_ in itertools.count(self._seed * 10**6):
                if time.monotonic() > end:
                    break
                hypothesis.seed(slice_)(_SETTINGS(given(strategy)(check)))()
        finally:
            self._end_child()

    def _try(self, attempt: Attempt, content: Any) -> tuple[str | None, float, float]:
        """Returns (message of the UserError or None, peak memory in MB, seconds)."""
        if self._child is None:
            self._child = ProcessPoolExecutor(1, get_context("spawn"))
        try:
            future = self._child.submit(_measured, attempt, self._folder, content)
            refusal, peak, seconds = future.result(HANGS)
        except (BrokenProcessPool, TimeoutError) as error:
            self._end_child()
            raise AssertionError(f"the process crashed or hangs: {error!r}") from None
        if refusal is None:
            self.accepted += 1
        else:
            self.refused += 1
            assert "\n" not in refusal, refusal
            assert self._named in refusal, refusal
        return refusal, peak, seconds

    def _end_child(self) -> None:
        if self._child is not None:
            for process in (self._child._processes or {}).values():
                process.kill()
            self._child.shutdown()
            self._child = None


_SETTINGS = settings(
    max_examples=SLICE,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def _measured(attempt: Attempt, folder: Path, content: Any) -> tuple[str | None, float, float]:
    """Returns what Campaign._try returns; runs in the child process."""
    begin, refusal = time.process_time(), None
    try:
        attempt(folder, content)
    except UserError as error:
        refusal = str(error)
    seconds = time.process_time() - begin
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return refusal, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024, seconds
