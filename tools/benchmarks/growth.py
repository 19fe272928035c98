"""Time and memory by size of an image, and by patches per update and replicas."""

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.processes import results_of, start
from benchmarks.trainers import Network, make_trainer, random_patches
from udl_tf._support.hardware import measure_rates
from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import make_strategy
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.loading import load_upscaler

_UPDATES = 9
_UNTIMED = 2  # updates, which trace graphs and plan memory

Row = dict[str, float]


def run_sizes(run: Path, megapixels: Sequence[float]) -> list[Row]:
    """Upscales images of several sizes, with theta, each in a process of its own.

    Args:
        run: run folder.
        megapixels: sizes of the results.

    Returns:
        Per size: "megapixels", "seconds", and memory "rest_mb" before and "peak_mb" during it.
    """
    scale = read_manifest(run).architecture.scale
    rows = []
    for size in megapixels:
        side = round((1e6 * size) ** 0.5 / scale)
        (row,) = results_of([start(upscale_image, str(run.resolve()), side)])
        rows.append({"megapixels": (side * scale) ** 2 / 1e6, **row})
    return rows


def sizes_table(rows: list[Row]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["result, Mpx", "s, with θ", "s per Mpx", "peak memory, MB", "before, MB"]]
    for row in rows:
        size, seconds = row["megapixels"], row["seconds"]
        cells.append([f"{size:.1f}", f"{seconds:.1f}", f"{seconds / size:.2f}", *_memory(row)])
    return cells


def run_batches(
    scale: int,
    side: int,
    batches: Sequence[int],
    replicas: Sequence[int],
    options: Network | None = None,
) -> list[Row]:
    """Times UDL updates of EDSR-S by replicas and batch size, each in a process of its own.

    Args:
        scale: HR size divided by LR size.
        side: of the LR patches, pixels.
        batches: patches per update, over all replicas; those that replicas cannot share equally
            are skipped.
        replicas: numbers of GPUs or, without a GPU, of logical CPUs.
        options: of the network; None: EDSR-S as released.

    Returns:
        Per combination: "replicas", "batch", "seconds" per update in the precision that `auto`
        picks, and memory "rest_mb" before and "peak_mb" during it.
    """
    policy = measure_rates().precision
    rows = []
    for count in replicas:
        for batch in batches:
            if batch % count == 0:
                call = start(time_updates, scale, side, policy, batch, count, options or {})
                rows.append({"replicas": count, "batch": batch, **results_of([call])[0]})
    return rows


def batches_table(rows: list[Row]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    header = ["replicas", "patches per update", "s per update", "patches/s"]
    cells = [[*header, "peak memory, MB", "before, MB"]]
    for row in rows:
        batch, seconds = row["batch"], row["seconds"]
        values = [f"{row['replicas']}", f"{batch}", f"{seconds:.2f}", f"{batch / seconds:.2f}"]
        cells.append([*values, *_memory(row)])
    return cells


def upscale_image(run: str, side: int) -> Row:
    """Times the upscaling of a random image of side x side LR pixels, with theta."""
    model = load_upscaler(run)
    lr = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    model.upscale(lr[:48, :48])
    rest = _megabytes("VmRSS")
    begin = time.perf_counter()
    model.upscale(lr)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "rest_mb": rest, "peak_mb": _megabytes("VmHWM")}


def time_updates(
    scale: int, side: int, policy: str, batch: int, replicas: int, options: Network
) -> Row:
    """Times UDL updates in this process; arguments as for run_batches."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = [f"{kind}:{number}" for number in range(replicas)]
    several = DistributionConfig(strategy="mirrored", devices=devices)
    strategy = make_strategy(several) if replicas > 1 else None
    with strategy.scope() if strategy else nullcontext():
        trainer = make_trainer(scale, "udl", policy, options, replicas=replicas)
    data = tf.data.Dataset.from_tensors(random_patches(scale, side, batch)).repeat()
    rest = _megabytes("VmRSS")
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda update, logs: times.append(time.perf_counter())
    )
    trainer.fit(data, steps_per_epoch=_UPDATES, verbose=0, callbacks=[clock])
    seconds = np.diff(times)[_UNTIMED - 1 :]  # whose first is the second update
    return {"seconds": float(np.median(seconds)), "rest_mb": rest, "peak_mb": _megabytes("VmHWM")}


def _megabytes(name: str) -> float:
    """Returns memory of this process on Linux: VmRSS is the memory now, VmHWM its peak so far."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return float(found[1]) / 1e3 if found else float("nan")


def memory_gb(name: str) -> float:
    """Returns memory of this process in GB, by the names of `_megabytes`, whose MB are 1024 kB."""
    return _megabytes(name) * 1.024e-3


def _memory(row: Row) -> list[str]:
    return [f"{row['peak_mb']:,.0f}", f"{row['rest_mb']:,.0f}"]
