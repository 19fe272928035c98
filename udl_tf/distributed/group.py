"""The group of processes that train one run, as one of them sees it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import keras

from udl_tf.config import DistributionConfig
from udl_tf.errors import UserError

T = TypeVar("T")


class Group:
    """The group of processes that train one run; this class is a single process on one device."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder, validates, and logs to the console."""
        return True

    @property
    def replicas(self) -> int:
        """Number of copies of the network whose gradients are summed."""
        return 1

    @property
    def device_count(self) -> int:
        """Number of devices that share a batch."""
        return self.replicas

    @property
    def devices(self) -> str:
        """Names of the devices that train, for a log line."""
        return f"{keras.distribution.list_devices()[0].upper()} ({keras.backend.backend()})"

    @property
    def may_hold_data(self) -> bool:
        """Whether the devices may hold the training images (`data.resident`)."""
        return True

    def scope(self) -> AbstractContextManager[Any]:
        """Returns a context in which variables are created on all devices."""
        return nullcontext()

    def share(self, batches: Callable[[range, int], Any]) -> Any:
        """Returns batches for `fit`, of which each device gets an equal share.

        Args:
            batches: function (indices of the shares to draw, shares per batch) -> batches, such as
                `data.pipeline.Delivery.batches`.
        """
        return batches(range(1), 1)

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is true in any process."""
        return flag

    def everywhere(self, make: Callable[[], T]) -> T:
        """Calls `make` in every process and returns its result in this one.

        Raises:
            UserError: in every process, if `make` raises it in any.
        """
        return make()

    def shared(self, make: Callable[[], str]) -> str:
        """Calls `make` in the process that writes, and returns its result in every process.

        Raises:
            UserError: in every process, if `make` raises it.
        """
        return make()

    def require_same(self, what: str, content: str) -> None:
        """Checks that `content` is the same in all processes; `what` names it in the error.

        Raises:
            UserError: in every process, if it differs in any.
        """

    @contextmanager
    def run_folder(self, folder: Path, begin: Callable[[Path], T]) -> Iterator[T]:
        """Calls `begin` with the run folder of this process and yields its result.

        Raises:
            UserError: in every process, if `begin` raises it in the process that writes.
        """
        yield begin(folder)

    def own_folder(self, folder: Path) -> Path:
        """Returns `folder`, or a folder below it if several processes may share `folder`."""
        return folder

    def guard(self) -> AbstractContextManager[None]:
        """Returns a context that reports the loss of another process as one line.

        Raises:
            Lost: instead of TensorFlow's error.
        """
        return nullcontext()

    def finish(self) -> None:
        """Waits until all processes have finished."""


def join_group(config: DistributionConfig) -> Group:
    """Joins this process to the group that a config describes.

    Raises:
        UserError: for unknown devices, devices of a strategy that takes none, or a strategy that
            the Keras backend does not support.
        Lost: if other machines do not start in time.
    """
    if config.strategy == "none" and config.devices:
        raise UserError(
            f'distribution.devices {config.devices}: strategy "none" does not accept devices:'
            ' remove them, or set distribution.strategy="auto"'
        )
    backend = keras.backend.backend()
    if backend == "tensorflow":
        if config.strategy == "data_parallel":
            raise UserError(
                'distribution.strategy "data_parallel" needs the JAX backend: set'
                ' KERAS_BACKEND=jax, or distribution.strategy="mirrored"'
            )
        from udl_tf.distributed.workers import strategy_group

        return strategy_group(config) or Group()
    if config.strategy in ("mirrored", "multi_worker"):
        raise UserError(
            f'distribution.strategy "{config.strategy}" needs the TensorFlow backend, but the'
            f' Keras backend is {backend!r}: set distribution.strategy="data_parallel" or "none"'
        )
    from udl_tf.distributed.data_parallel import data_parallel_group

    return data_parallel_group(config) or Group()
