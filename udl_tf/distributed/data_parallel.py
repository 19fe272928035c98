"""Several JAX devices of one machine: keras.distribution.DataParallel."""

from contextlib import AbstractContextManager
from typing import Any

import keras

from udl_tf.config import DistributionConfig
from udl_tf.distributed.group import Group
from udl_tf.errors import UserError


class DataParallelGroup(Group):
    """A single process whose batches are divided among several devices.

    Losses and gradients are those of the whole batch, so that there is one replica.

    Args:
        devices: names of the devices, such as "gpu:0".
    """

    def __init__(self, devices: list[str]):
        self._names = devices
        self._distribution = keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )

    @property
    def device_count(self) -> int:
        return len(self._names)

    @property
    def devices(self) -> str:
        return " + ".join(name.upper() for name in self._names)

    def scope(self) -> AbstractContextManager[Any]:
        return self._distribution.scope()


def data_parallel_group(config: DistributionConfig) -> DataParallelGroup | None:
    """Returns the group of the JAX devices of a config; None if it trains on one device.

    Raises:
        UserError: for unknown devices.
    """
    known = keras.distribution.list_devices()
    wanted = [name.lower() for name in config.devices or known]
    if missing := sorted(set(wanted) - set(known)):
        raise UserError(
            f"distribution.devices: {', '.join(missing)} not found; this machine has"
            f" {', '.join(known)}"
        )
    several_gpus = known[0].startswith("gpu") and len(known) > 1
    is_wanted = config.strategy == "data_parallel" or config.devices or several_gpus
    if config.strategy == "none" or not is_wanted:
        return None
    return DataParallelGroup(wanted)
