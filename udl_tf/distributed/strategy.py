"""tf.distribute strategies: devices of one machine, or workers on several."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.distributed.cluster import Cluster, meet, read_cluster
from udl_tf.distributed.group import Group
from udl_tf.errors import Lost, UserError


def make_strategy(config: DistributionConfig) -> tf.distribute.Strategy | None:
    """Returns the tf.distribute strategy of a config; None for the only device of this machine.

    Devices such as "CPU:1" are created as logical devices, which TensorFlow permits only before it
    initialises its devices.

    Raises:
        UserError: for unknown devices.
        Lost: if other workers do not start in time.
    """
    if config.strategy == "multi_worker":
        if config.devices:
            raise UserError(
                f'distribution.devices {config.devices}: strategy "multi_worker" uses all GPUs of'
                " a machine: remove the devices, and hide GPUs with CUDA_VISIBLE_DEVICES"
            )
        cluster = read_cluster()
        if len(cluster.addresses) > 1:
            return _over_workers(cluster, config.wait_minutes)
    gpus = tf.config.list_physical_devices("GPU")
    devices = config.devices
    if config.strategy == "none" or not (config.strategy == "mirrored" or devices or len(gpus) > 1):
        return None
    cpus = [d for d in devices or [] if d.upper().startswith("CPU")]
    if len(cpus) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration() for _ in cpus]
            )
        except RuntimeError as error:
            raise UserError(f"distribution.devices {devices}: {error}") from error
    known = {d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()}
    missing = sorted(set(devices or []) - known)
    if missing or not (devices or gpus):
        raise UserError(
            f"distribution.devices: {', '.join(missing) or 'no GPU'} not found; this machine has"
            f" {', '.join(sorted(known))}"
        )
    return tf.distribute.MirroredStrategy(devices)


def _over_workers(cluster: Cluster, minutes: float) -> tf.distribute.Strategy:
    spec = tf.train.ClusterSpec({"worker": list(cluster.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    address = cluster.addresses[cluster.index]
    name = f"worker {cluster.index} of {len(cluster.addresses)}"
    print(f"{name} ({address}): waiting for the others", file=sys.stderr)
    meet(cluster, 60 * minutes)  # before TensorFlow, which would wait without a limit
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.UnknownError as error:  # from the server on this worker's port
        raise UserError(
            f"{name} cannot listen at {address} ({error.message}): choose another port, or stop the"
            " process that uses it, such as a worker of an earlier run"
        ) from error
    except tf.errors.OpError as error:
        raise Lost(
            f"{name}: lost the other workers ({error.message}): start all workers again"
        ) from error


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Returns the index of this process among the workers of a run; 0 for a single process."""
    resolver = strategy.cluster_resolver
    return (resolver and resolver.task_id) or 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the chief, worker 0, which writes the run folder."""
    return worker_index(strategy) == 0


def sum_over_workers(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Returns the sum of the workers' int64 arrays of the same shape; every worker must call it."""

    def own(context):
        # A worker has one value per device, of which only the first counts.
        first = context.replica_id_in_sync_group % len(strategy.extended.worker_devices) == 0
        return tf.constant(values if first else np.zeros_like(values))

    spread = strategy.experimental_distribute_values_from_function(own)
    return strategy.reduce("SUM", spread, axis=None).numpy()


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the mean of a replica's scalar over all replicas; outside of them, the scalar."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def share_batches(make: Callable[[range, int], tf.data.Dataset]) -> Any:
    """Returns batches for `fit`, of which each replica gets an equal share.

    A worker draws only the shares of its own replicas.

    Args:
        make: function (indices of the shares to draw, shares per batch) -> dataset.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make(range(1), 1)

    def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count
        return make(range(first, first + count), replicas)

    return strategy.distribute_datasets_from_function(own)


class StrategyGroup(Group):
    """A single process that trains on several devices.

    Args:
        strategy: strategy of tf.distribute.

    Attributes:
        strategy: the same.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def devices(self) -> str:
        devices = self.strategy.extended.worker_devices
        return " + ".join(device.rpartition("/device:")[2] for device in devices)

    def scope(self) -> AbstractContextManager[Any]:
        return self.strategy.scope()

    def share(self, batches: Callable[[range, int], Any]) -> Any:
        return share_batches(batches)
