"""A run of several workers: its chief alone has the run folder, and the others a copy for a while.

So no disk needs to be shared. What a worker writes by itself goes into its copy and ends with it.
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

from udl_tf.distribute import is_chief, several_workers, sum_over_workers
from udl_tf.errors import Lost, UserError

Strategy = tf.distribute.Strategy | None
T = TypeVar("T")

_COPIED = ("*.json", "*.npz", "weights/*")  # what a run needs to go on
_UNREACHABLE = tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError
_FAREWELL = 3.0  # s in which the others can still be told who is gone; busy ones are not
_CHUNK = 2**23  # int64 values sent at a time


def any_worker(strategy: Strategy, flag: bool) -> bool:
    """Whether the flag is true on any worker."""
    if several_workers(strategy):
        return bool(sum_over_workers(strategy, np.array([flag], int))[0])
    return flag


def together(strategy: Strategy, make: Callable[[], T]) -> T:
    """What `make` returns on each worker.

    Raises:
        UserError: on every worker, if `make` raises it on any.
    """
    try:
        made = make()
    except UserError:
        any_worker(strategy, True)
        raise
    if any_worker(strategy, False):
        raise UserError("another worker cannot begin: its own last line tells why")
    return made


@contextmanager
def chief_first(strategy: Strategy, folder: Path, begin: Callable[[Path], T]) -> Iterator[T]:
    """Begins a run on the chief, in its folder, and then on the other workers, in copies of it.

    Raises:
        UserError: on every worker, if `begin` raises it on the chief.
    """
    if not several_workers(strategy):
        yield begin(folder)
    elif is_chief(strategy):
        begun = []

        def content() -> bytes:
            begun.append(begin(folder))
            return _packed(folder)

        from_chief(strategy, content)
        yield begun[0]
    else:
        with tempfile.TemporaryDirectory() as copy:
            with zipfile.ZipFile(io.BytesIO(from_chief(strategy, bytes))) as file:
                file.extractall(copy)
            yield begin(Path(copy))


def from_chief(strategy: Strategy, make: Callable[[], bytes]) -> bytes:
    """What `make` returns on the chief; the others do not call it.

    Raises:
        UserError: on every worker, if `make` raises it.
    """
    content, error = b"", None
    if is_chief(strategy):
        try:
            content = make()
        except UserError as raised:
            content, error = str(raised).encode(), raised
    if several_workers(strategy):
        header = np.array([len(content), error is not None])
        length, failed = sum_over_workers(strategy, header)
        # The others add zeros; as whole numbers, because a sum of floats may change their bits.
        padded = np.zeros(-(-length // 8), np.int64)
        padded.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        pieces = [padded[i : i + _CHUNK] for i in range(0, len(padded), _CHUNK)]
        received = [sum_over_workers(strategy, piece).tobytes() for piece in pieces]
        content = b"".join(received)[:length]
        if failed and error is None:
            error = UserError(f"on the chief: {content.decode()}")
    if error is not None:
        raise error
    return content


def check_alike(strategy: Strategy, what: str, content: str) -> None:
    """Compares what every worker must have with what the chief has.

    Raises:
        UserError: on every worker, if it differs on any.
    """
    own = content.encode()
    differs = own != from_chief(strategy, lambda: own)
    if any_worker(strategy, differs):
        place = "here" if differs else "on another worker"
        raise UserError(f"the {what} {place} differs from the chief's: give all workers the same")


@contextmanager
def one_run(strategy: Strategy) -> Iterator[None]:
    """Inside, what TensorFlow reports when another worker is gone becomes one line.

    Raises:
        Lost: instead.
    """
    try:
        yield
    except tf.errors.OpError as error:
        aborted = "Collective ops is aborted" in error.message
        if not (several_workers(strategy) and (aborted or isinstance(error, _UNREACHABLE))):
            raise
        time.sleep(_FAREWELL)
        raise Lost(
            f"{_gone(strategy, error.message)} is gone or cannot be reached (if its last line names"
            " another, that one was first). The chief's run folder has the last checkpoint: start"
            " every worker again, and the run goes on from there"
        ) from error


def _gone(strategy: tf.distribute.Strategy, message: str) -> str:
    """The worker that an error of TensorFlow's names: passed on, it names the first one last."""
    numbers = re.findall(r"(?:remote target|reported from) \S*/task:(\d+)", message)
    if not numbers and "CoordinationService" in message:
        numbers = ["0"]  # which the chief runs
    if not numbers:
        return "another worker"
    address = strategy.cluster_resolver.cluster_spec().task_address("worker", int(numbers[-1]))
    return f"worker {numbers[-1]} ({address})"


def _packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in (path for pattern in _COPIED for path in sorted(folder.glob(pattern))):
            file.write(path, path.relative_to(folder))
    return buffer.getvalue()
