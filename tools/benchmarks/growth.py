"""How time and memory grow: with the size of a picture, with patches an update and replicas.

Each measurement runs in a process of its own, so that its peak memory is its own.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.train import make_trainer, random_patches
from udl_tf._support.hardware import measure_rates
from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import make_strategy
from udl_tf.saved import bundle
from udl_tf.saved.loading import load

Rows = list[dict[str, float]]

_UPDATES = 9  # timed by their median, but for the first two


def run_sizes(run: Path, megapixels: Sequence[float]) -> Rows:
    """Upscaling with theta, by size of the output.

    Returns:
        By size: "megapixels", "seconds", "rest_mb" before and "peak_mb" during it.
    """
    scale = bundle.read_manifest(run).architecture.scale
    sides = [round((1e6 * size) ** 0.5 / scale) for size in megapixels]
    return [
        {"megapixels": (side * scale) ** 2 / 1e6, **_alone("picture", str(run), side)}
        for side in sides
    ]


def sizes_table(rows: Rows) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    cells = [["output, Mpx", "s, with θ", "s a Mpx", "peak memory, MB", "of it before, MB"]]
    for row in rows:
        size, seconds = row["megapixels"], row["seconds"]
        cells.append([f"{size:.1f}", f"{seconds:.1f}", f"{seconds / size:.2f}", *_memory(row)])
    return cells


def run_batches(scale: int, side: int, batches: Sequence[int], replicas: Sequence[int]) -> Rows:
    """UDL updates of EDSR-S in the precision that `auto` picks, by replicas and patches an update.

    Returns:
        By both: "replicas", "batch", "seconds" of an update, "rest_mb" before, "peak_mb" during it.
    """
    policy = measure_rates().precision
    return [
        {"replicas": count, "batch": batch, **_alone("updates", scale, side, policy, batch, count)}
        for count in replicas
        for batch in batches
        if batch % count == 0
    ]


def batches_table(rows: Rows) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    heads = ["replicas", "patches an update", "s an update", "patches/s"]
    cells = [[*heads, "peak memory, MB", "of it before, MB"]]
    for row in rows:
        batch, seconds = row["batch"], row["seconds"]
        figures = [f"{row['replicas']}", f"{batch}", f"{seconds:.2f}", f"{batch / seconds:.2f}"]
        cells.append([*figures, *_memory(row)])
    return cells


def picture(run: str, side: int) -> dict[str, float]:
    """Upscales a random picture of side x side LR pixels, with theta."""
    model = load(run)
    lr = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    model.upscale(lr[:48, :48])
    rest = _megabytes("VmRSS")
    start = time.perf_counter()
    model.upscale(lr)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rest_mb": rest, "peak_mb": _megabytes("VmHWM")}


def updates(scale: int, side: int, policy: str, batch: int, replicas: int) -> dict[str, float]:
    """Makes UDL updates on so many GPUs, or, where there is none, logical CPUs."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = [f"{kind}:{number}" for number in range(replicas)]
    several = DistributionConfig(strategy="mirrored", devices=devices)
    strategy = make_strategy(several) if replicas > 1 else None
    with strategy.scope() if strategy else nullcontext():
        trainer = make_trainer(scale, "udl", policy, replicas=replicas)
    data = tf.data.Dataset.from_tensors(random_patches(scale, side, batch)).repeat()
    rest = _megabytes("VmRSS")
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda update, logs: times.append(time.perf_counter())
    )
    trainer.fit(data, steps_per_epoch=_UPDATES, verbose=0, callbacks=[clock])
    seconds = np.diff(times)[1:]  # the first ones trace, and plan memory
    return {"seconds": float(np.median(seconds)), "rest_mb": rest, "peak_mb": _megabytes("VmHWM")}


def _alone(function: str, *arguments: Any) -> dict[str, float]:
    """What a function of this module returns in a process of its own."""
    code = f"import json; from {__name__} import *; print(json.dumps({function}{arguments!r}))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(made.stderr)
    return json.loads(made.stdout.splitlines()[-1])


def _megabytes(name: str) -> float:
    """A line of what Linux tells of this process: VmRSS is its memory now, VmHWM at most."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return float(found[1]) / 1e3 if found else float("nan")


def _memory(row: dict[str, float]) -> list[str]:
    return [f"{row['peak_mb']:,.0f}", f"{row['rest_mb']:,.0f}"]
