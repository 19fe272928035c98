"""Free memory of the machine and of the device that Keras computes on."""

from functools import cache

import psutil


def free_memory() -> int:
    """Returns the free memory of this machine, bytes."""
    return psutil.virtual_memory().available


def free_gpu_memory() -> int | None:
    """Returns the bytes that Keras may still allocate on its first GPU; None without a GPU.

    Memory that the backend has reserved, but does not use, counts as free.
    """
    import keras  # here, because plans of jobs need free_memory alone, and Keras takes seconds

    from udl_tf._support.hardware import has_gpu

    if not has_gpu():
        return None
    return _free_for_jax() if keras.backend.backend() == "jax" else _free_for_tensorflow()


def _free_for_jax() -> int:
    import jax

    stats = jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"]


def _free_for_tensorflow() -> int:
    import tensorflow as tf

    return _tensorflow_limit() - tf.config.experimental.get_memory_info("GPU:0")["current"]


@cache
def _tensorflow_limit() -> int:
    """Returns the bytes that TensorFlow may allocate on its first GPU."""
    from tensorflow.python.client import device_lib  # the only place that states them

    gpus = (d for d in device_lib.list_local_devices() if d.device_type == "GPU")
    return next(gpus).memory_limit
