"""Hardware of this machine: throughput per precision, usable cores."""

import math
import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import keras
import numpy as np

from udl_tf.errors import UserError

_FASTER = 1.2  # times; a smaller gain does not justify the lower precision
_SLOWER = 1.5  # times; a smaller loss may be due to other programs
_SIDE, _FILTERS, _LAYERS = 48, 64, 4
_most_cores = sys.maxsize  # set by use_cores


@dataclass(frozen=True)
class Rates:
    """Throughput of training 3x3 convolutions with 64 channels, in FLOP per second.

    Attributes:
        float32: throughput in float32.
        bfloat16: throughput in mixed_bfloat16; 0 if convolutions fail in it.
    """

    float32: float
    bfloat16: float

    @property
    def precision(self) -> str:
        """Keras dtype policy to train in: mixed_bfloat16 if it is clearly faster, else float32."""
        return "mixed_bfloat16" if self.bfloat16 > _FASTER * self.float32 else "float32"

    def __str__(self) -> str:
        rates = {"bfloat16": self.bfloat16, "float32": self.float32}
        return ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in rates.items())


def measure_rates() -> Rates:
    """Measures both precisions by training a small network, once per process."""
    return Rates(train_rate("float32"), train_rate("mixed_bfloat16"))


def slow_precision(policy: str) -> str | None:
    """Describes how much slower a Keras dtype policy is than float32; None if less than 1.5 times.

    Only a policy other than float32 is measured.

    Raises:
        UserError: if convolutions fail in the policy.
    """
    if policy == "float32":
        return None
    name = policy.removeprefix("mixed_")
    float32, rate = train_rate("float32"), train_rate(policy)
    if rate == 0:
        raise UserError(
            f"precision {name}: convolutions fail in it on this machine: use float32, or auto for"
            " the fastest that works; a run keeps its precision, so start a new one"
        )
    if float32 <= _SLOWER * rate:
        return None
    return (
        f"{name} is {float32 / rate:.1f} times slower than float32 on this"
        f" machine ({rate / 1e9:,.1f} and {float32 / 1e9:,.1f} GFLOP/s)"
    )


@cache
def train_rate(policy: str) -> float:
    """Measures the throughput of training a small network in a Keras dtype policy, in FLOP/s.

    0 if it fails in a policy other than float32: frameworks offer precisions that the device's
    kernels refuse.
    """
    # Few images for few cores, where a slow precision takes seconds per call.
    batch = 256 if has_gpu() else min(8, usable_cores())
    image = keras.Input((_SIDE, _SIDE, _FILTERS))
    x = image
    for _ in range(_LAYERS):
        x = keras.layers.Conv2D(_FILTERS, 3, padding="same", activation="relu", dtype=policy)(x)
    model = keras.Model(image, x)
    model.compile("sgd", "mse")
    images = keras.ops.zeros((batch, _SIDE, _SIDE, _FILTERS)) + 0.5
    try:
        model.train_on_batch(images, images)  # traces and compiles
    except Exception:  # its type depends on the backend
        if policy == "float32":
            raise
        return 0.0
    seconds: list[float] = []
    while sum(seconds) < 0.3 or (len(seconds) < 3 and sum(seconds) < 1.0):
        start = time.perf_counter()
        model.train_on_batch(images, images)
        seconds.append(time.perf_counter() - start)
    multiplications = batch * _SIDE**2 * _LAYERS * 9 * _FILTERS**2
    return 3 * 2 * multiplications / float(np.median(seconds))


def has_gpu() -> bool:
    """Returns whether Keras computes on a GPU."""
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def usable_cores() -> int:
    """Returns the number of cores within this process's affinity and its container's quota.

    Limited by an earlier `use_cores(most)`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores or 1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup, or no quota ("max")
        pass
    return max(1, min(cores or 1, _most_cores))


def use_cores(most: int | None = None) -> int:
    """Sets the threads of an operation to the usable cores, and returns their number.

    TensorFlow and XLA ignore a container's quota; threads beyond it only wait for each other. Call
    this before the first operation: later calls have no effect.

    Args:
        most: upper limit, which holds for `usable_cores` from now on; None: all usable cores.
    """
    global _most_cores
    _most_cores = most or sys.maxsize
    cores = usable_cores()
    if keras.backend.backend() != "tensorflow":
        return int(os.environ.setdefault("NPROC", str(cores)))  # read by XLA
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores)
    except RuntimeError:  # TensorFlow has started its threads
        cores = tf.config.threading.get_intra_op_parallelism_threads() or cores
    return cores


def gpu_names() -> list[str]:
    """Returns the names of the GPUs that the Keras backend can use, such as "NVIDIA H100"."""
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    import tensorflow as tf

    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def updates_per_call(wanted: int | None, *intervals: int) -> int:
    """Returns how many updates the device computes per call from Python.

    Args:
        wanted: upper limit; None: 1 on CPUs, and 25 on GPUs, where the time of a call matters.
        intervals: numbers of updates that the result must divide, because callbacks act then.
    """
    most = wanted or (25 if has_gpu() else 1)
    common = math.gcd(*intervals)
    return max(n for n in range(1, most + 1) if common % n == 0)


def processor() -> str:
    """Returns the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
