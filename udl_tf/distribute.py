"""Which devices train, in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.errors import UserError


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
        if config.strategy == "mirrored":
            raise UserError(
                'distribution.strategy "mirrored" needs the TensorFlow backend, and KERAS_BACKEND'
                f' is {keras.backend.backend()!r}: set distribution.strategy="none"'
            )
        return None
    gpus = tf.config.list_physical_devices("GPU")
    if config.strategy == "none" or (config.strategy == "auto" and len(gpus) < 2):
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


def device_names(strategy: tf.distribute.Strategy | None) -> str:
    """The devices that will train, for a log line."""
    if strategy is not None:
        return " + ".join(d.rpartition("/device:")[2] for d in strategy.extended.worker_devices)
    return f"{keras.distribution.list_devices()[0].upper()} ({keras.backend.backend()})"


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers built inside compute under this Keras policy, such as "mixed_bfloat16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
