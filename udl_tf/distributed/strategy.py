"""Which devices train, in which precision."""

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.distributed.cluster import Cluster, meet, read_cluster
from udl_tf.errors import Lost, UserError


def make_strategy(config: DistributionConfig) -> tf.distribute.Strategy | None:
    """The tf.distribute strategy of a config; None trains on one device without one.

    Devices such as "CPU:1" are made as logical devices, which TensorFlow allows only before it
    touches its devices.

    Raises:
        UserError: for devices that are not there, or a strategy under another backend.
    """
    if keras.backend.backend() != "tensorflow":
        # TensorFlow only reads the data then, and must not take the GPU's memory for it.
        tf.config.set_visible_devices([], "GPU")
        if config.strategy in ("mirrored", "multi_worker"):
            raise UserError(
                f'distribution.strategy "{config.strategy}" needs the TensorFlow backend, and'
                f' KERAS_BACKEND is {keras.backend.backend()!r}: set distribution.strategy="none"'
            )
        return None
    if config.strategy == "multi_worker":
        if config.devices:
            raise UserError(
                f'distribution.devices {config.devices} with strategy "multi_worker", which uses'
                " every GPU of a machine: set null, and CUDA_VISIBLE_DEVICES to hide some"
            )
        cluster = read_cluster()
        if len(cluster.addresses) > 1:
            return _over_workers(cluster, config.wait_minutes)
    gpus = tf.config.list_physical_devices("GPU")
    if config.strategy == "none" or (config.strategy != "mirrored" and len(gpus) < 2):
        return None
    devices = config.devices
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
    place = f"worker {cluster.index} of {len(cluster.addresses)}"
    print(f"{place} ({cluster.addresses[cluster.index]}): waiting for the others", file=sys.stderr)
    meet(cluster, 60 * minutes)  # because TensorFlow's own waiting can't be ended
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.UnknownError as error:  # of its server, on this worker's own port
        raise UserError(
            f"{place} cannot listen at {cluster.addresses[cluster.index]} ({error.message}): is"
            " the port taken, by a worker of an earlier run perhaps?"
        ) from error
    except tf.errors.OpError as error:
        raise Lost(f"{place}: lost the others ({error.message}): start them all again") from error


def several_workers(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether a run has workers on several machines, or may have."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def worker_index(strategy: tf.distribute.Strategy | None) -> int:
    """The place of this process among the workers of a run; 0 if there are no others."""
    resolver = strategy and strategy.cluster_resolver
    return (resolver and resolver.task_id) or 0


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process writes the run folder: of several workers, the first alone does."""
    return worker_index(strategy) == 0


def sum_over_workers(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """The sum of the workers' int64 arrays, which have one shape; each worker gets it."""

    def own(context):
        first = context.replica_id_in_sync_group % len(strategy.extended.worker_devices) == 0
        return tf.constant(values if first else np.zeros_like(values))

    spread = strategy.experimental_distribute_values_from_function(own)
    return strategy.reduce("SUM", spread, axis=None).numpy()


def share_batches(make: Callable[[range, int], tf.data.Dataset]) -> Any:
    """Batches for `fit` of which each replica gets an equal share, and a worker draws no other.

    Args:
        make: (the shares that are wanted, one after another; how many a batch has) -> a dataset.
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


class WorkersModel(keras.Model):
    """A model that Keras 3.15 can `fit` over several workers, if it is built before.

    There `fit` fails in two places, which this mends: it takes the mean over workers of a batch, to
    build the model with, and of the logs along axis 0, which scalars have not. Tests tell when this
    is no longer needed.
    """

    def _maybe_symbolic_build(self, *args, **kwargs):
        if not several_workers(self.distribute_strategy):
            super()._maybe_symbolic_build(*args, **kwargs)
        elif not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def train_step(self, *args):
        logs = super().train_step(*args)
        if several_workers(tf.distribute.get_strategy()):
            return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}
        return logs


def device_names(strategy: tf.distribute.Strategy | None) -> str:
    """The devices that will train, for a log line."""
    if strategy is not None:
        return " + ".join(d.rpartition("/device:")[2] for d in strategy.extended.worker_devices)
    return f"{keras.distribution.list_devices()[0].upper()} ({keras.backend.backend()})"
