"""The processes that train one run, seen from inside one of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import (
    device_names,
    make_strategy,
    several_workers,
    share_batches,
)

T = TypeVar("T")


class Group:
    """The processes that train one run together. This class is for one process alone.

    Args:
        strategy: of tf.distribute; None for one device.

    Attributes:
        strategy: the same.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None):
        self.strategy = strategy

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder, validates and logs to the console."""
        return True

    @property
    def replicas(self) -> int:
        """Number of devices that share a batch."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def devices(self) -> str:
        """The devices that train, for a log line."""
        return device_names(self.strategy)

    def scope(self) -> AbstractContextManager[Any]:
        """Variables created inside belong to all devices."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def share(self, batches: Callable[[range, int], tf.data.Dataset]) -> Any:
        """Returns batches for `fit` of which each device gets an equal share.

        Args:
            batches: (wanted shares in order, number of shares of a batch) -> a dataset.
        """
        return share_batches(batches)

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is true in any process."""
        return flag

    def everywhere(self, make: Callable[[], T]) -> T:
        """Returns what `make` returns in this process.

        Raises:
            UserError: in every process, if `make` raises it in any.
        """
        return make()

    def require_same(self, what: str, content: str) -> None:
        """Compares something that all processes must share.

        Raises:
            UserError: in every process, if it differs in any.
        """

    @contextmanager
    def run_folder(self, folder: Path, begin: Callable[[Path], T]) -> Iterator[T]:
        """Yields what `begin` returns for this process's run folder.

        Raises:
            UserError: in every process, if `begin` raises it where the run folder is.
        """
        yield begin(folder)

    def own_folder(self, folder: Path) -> Path:
        """Returns a folder for this process, where several processes may share `folder`."""
        return folder

    def guard(self) -> AbstractContextManager[None]:
        """Turns the loss of another process inside the block into one line.

        Raises:
            Lost: instead of TensorFlow's error.
        """
        return nullcontext()

    def finish(self) -> None:
        """Waits until all processes have come here."""


def join_group(config: DistributionConfig) -> Group:
    """Returns the group of a config, in which this process takes its place.

    Raises:
        UserError: for devices that do not exist, or a strategy that the Keras backend lacks.
        Lost: if other machines do not come in time.
    """
    strategy = make_strategy(config)
    if several_workers(strategy):
        from udl_tf.distributed.workers import WorkerGroup

        return WorkerGroup(strategy)
    return Group(strategy)
