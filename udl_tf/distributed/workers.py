"""Workers on several machines: the chief has the run folder, the others have temporary copies.

The machines need no common disk: the chief sends its run folder to the others through TensorFlow.
"""

import io
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import (
    StrategyGroup,
    is_chief,
    make_strategy,
    sum_over_workers,
    worker_index,
)
from udl_tf.errors import Lost, UserError

T = TypeVar("T")

_COPIED = ("*.json", "*.npz", "weights/*")  # what is needed to resume a run
_UNREACHABLE = tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError
_GRACE = (
    3.0  # s to wait before exiting when a worker is lost, so that all learn which was lost first
)
_CHUNK = 2**23  # int64 values per message


class WorkerGroup(StrategyGroup):
    """The workers of a run under MultiWorkerMirroredStrategy."""

    strategy: tf.distribute.MultiWorkerMirroredStrategy

    @property
    def writes(self) -> bool:
        return is_chief(self.strategy)

    @property
    def may_hold_data(self) -> bool:
        return False  # TensorFlow sends variables to all workers, but not those of uint8

    def any(self, flag: bool) -> bool:
        return bool(sum_over_workers(self.strategy, np.array([flag], int))[0])

    def everywhere(self, make: Callable[[], T]) -> T:
        try:
            result = make()
        except UserError:
            self.any(True)
            raise
        if self.any(False):
            raise UserError("another worker failed to start: see the last line of its log")
        return result

    def shared(self, make: Callable[[], str]) -> str:
        return self._from_chief(lambda: make().encode()).decode()

    @contextmanager
    def run_folder(self, folder: Path, begin: Callable[[Path], T]) -> Iterator[T]:
        if self.writes:
            results = []

            def content() -> bytes:
                results.append(begin(folder))
                return _zipped(folder)

            self._from_chief(content)
            yield results[0]
        else:
            with tempfile.TemporaryDirectory() as copy:
                with zipfile.ZipFile(io.BytesIO(self._from_chief(bytes))) as file:
                    file.extractall(copy)
                yield begin(Path(copy))

    def require_same(self, what: str, content: str) -> None:
        own = content.encode()
        differs = own != self._from_chief(lambda: own)
        if self.any(differs):
            place = "here" if differs else "on another worker"
            raise UserError(
                f"the {what} {place} differs from that of the chief: give all workers the same"
                f" {what}"
            )

    def own_folder(self, folder: Path) -> Path:
        return folder / f"worker{worker_index(self.strategy)}"

    @contextmanager
    def guard(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            aborted = "Collective ops is aborted" in error.message
            if not (aborted or isinstance(error, _UNREACHABLE)):
                raise
            time.sleep(_GRACE)
            raise Lost(
                f"{self._lost(error.message)} has stopped or is unreachable (if the last line of"
                " its log names another worker, that one was lost first); the chief has the last"
                " checkpoint: start all workers again to resume"
            ) from error

    def finish(self) -> None:
        self.any(False)  # if a worker fails before this barrier, all fail and can be restarted

    def _from_chief(self, make: Callable[[], bytes]) -> bytes:
        """Calls `make` on the chief and returns its result on every worker.

        Raises:
            UserError: on every worker, if `make` raises it.
        """
        content, error = b"", None
        if self.writes:
            try:
                content = make()
            except UserError as raised:
                content, error = str(raised).encode(), raised
        header = np.array([len(content), error is not None])
        length, failed = sum_over_workers(self.strategy, header)
        # The other workers add zeros. Integers, because a sum of floats may change their bits.
        padded = np.zeros(-(-length // 8), np.int64)
        padded.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        pieces = [padded[i : i + _CHUNK] for i in range(0, len(padded), _CHUNK)]
        received = [sum_over_workers(self.strategy, piece).tobytes() for piece in pieces]
        content = b"".join(received)[:length]
        if failed and error is None:
            error = UserError(f"on the chief: {content.decode()}")
        if error is not None:
            raise error
        return content

    def _lost(self, message: str) -> str:
        """Returns the name of the lost worker; the last one in a chain of errors was lost first."""
        numbers = re.findall(r"(?:remote target|reported from) \S*/task:(\d+)", message)
        if not numbers and "CoordinationService" in message:
            numbers = ["0"]  # the service runs on the chief
        if not numbers:
            return "another worker"
        cluster = self.strategy.cluster_resolver.cluster_spec()
        return f"worker {numbers[-1]} ({cluster.task_address('worker', int(numbers[-1]))})"


def strategy_group(config: DistributionConfig) -> StrategyGroup | None:
    """Joins the group of a config's strategy; None for one device.

    Raises:
        UserError: for unknown devices.
        Lost: if other machines do not start in time.
    """
    strategy = make_strategy(config)
    if strategy is None:
        return None
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return WorkerGroup(strategy) if several else StrategyGroup(strategy)


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in (path for pattern in _COPIED for path in sorted(folder.glob(pattern))):
            file.write(path, path.relative_to(folder))
    return buffer.getvalue()
