"""Measures throughput per precision; counts usable cores."""

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

_FASTER = 1.2  # times: what is gained by less is not worth the lost digits
_SIDE, _FILTERS, _LAYERS = 48, 64, 4


@dataclass(frozen=True)
class Rates:
    """How fast a train step of 3x3 convolutions with 64 channels runs, FLOP a second.

    Attributes:
        float32, bfloat16: in each precision.
    """

    float32: float
    bfloat16: float

    @property
    def precision(self) -> str:
        """The Keras policy to train in: bfloat16 where it is clearly faster."""
        return "mixed_bfloat16" if self.bfloat16 > _FASTER * self.float32 else "float32"

    def __str__(self) -> str:
        rates = {"bfloat16": self.bfloat16, "float32": self.float32}
        return ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in rates.items())


def measure_rates() -> Rates:
    """Trains a small network for a moment in each precision."""
    return Rates(_train_rate("float32"), _train_rate("mixed_bfloat16"))


def has_gpu() -> bool:
    """Whether Keras computes on a GPU."""
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores or 1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such group, or "max"
        pass
    return max(1, cores or 1)


def use_cores(most: int | None = None) -> int:
    """Gives TensorFlow as many threads as there are usable processors, and returns their number.

    TensorFlow knows nothing of a container's quota: threads beyond it only wait for one another.

    Args:
        most: how many processors at most; None: all.
    """
    cores = min(usable_cores(), most or sys.maxsize)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores)
    except RuntimeError:  # it runs already
        cores = tf.config.threading.get_intra_op_parallelism_threads() or cores
    return cores


def updates_per_call(wanted: int | None, *intervals: int) -> int:
    """Updates that the device does without asking Python in between.

    Args:
        wanted: at most so many; None: 10 on GPUs, whose updates are so short that Python counts.
        intervals: numbers of updates after which Python must be asked.
    """
    most = wanted or (10 if has_gpu() else 1)
    common = math.gcd(*intervals)
    return max(n for n in range(1, most + 1) if common % n == 0)


def _train_rate(policy: str) -> float:
    batch = 256 if has_gpu() else 8
    image = keras.Input((_SIDE, _SIDE, _FILTERS))
    x = image
    for _ in range(_LAYERS):
        x = keras.layers.Conv2D(_FILTERS, 3, padding="same", activation="relu", dtype=policy)(x)
    model = keras.Model(image, x)
    model.compile("sgd", "mse")
    images = keras.ops.zeros((batch, _SIDE, _SIDE, _FILTERS)) + 0.5
    model.train_on_batch(images, images)  # makes the graph
    seconds, began = [], time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - began < 0.3:
        start = time.perf_counter()
        model.train_on_batch(images, images)
        seconds.append(time.perf_counter() - start)
    multiplications = batch * _SIDE**2 * _LAYERS * 9 * _FILTERS**2
    return 3 * 2 * multiplications / float(np.median(seconds))


def processor() -> str:
    """Returns the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
