"""Updates with and without `keep_freed_memory`, each in a process of its own."""

import resource
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.processes import results_of, start
from benchmarks.train import make_trainer, random_patches
from benchmarks.turns import median_and_range
from udl_tf._support.allocator import keep_freed_memory
from udl_tf._support.hardware import use_cores

_SCALE, _SIDE, _BATCH = 4, 32, 4
_WARM_UP = 2  # updates


def run_allocator(repeats: int, updates: int) -> list[dict[str, Any]]:
    """Times ESU and UDL updates of EDSR-S x4 (4 patches of 32 LR pixels, float32).

    Args:
        repeats: processes per row; rows take turns.
        updates: updates timed per process.

    Returns:
        A row per loss and setting, with a list of the processes' medians for each measure.
    """
    rows = [
        {"loss": loss, "kept": kept, "processes": []}
        for loss in ("esu", "udl")
        for kept in (False, True)
    ]
    for _ in range(repeats):
        for row in rows:
            process = start(time_updates, row["loss"], row["kept"], updates)
            row["processes"] += results_of([process])
    return rows


def time_updates(loss: str, kept: bool, updates: int) -> dict[str, float]:
    """Returns seconds, seconds of system time and page faults per update in this process."""
    if kept and not keep_freed_memory():
        raise RuntimeError("the allocator of this machine is not glibc's")
    use_cores()
    trainer = make_trainer(_SCALE, loss, "float32", {})
    batch = random_patches(_SCALE, _SIDE, _BATCH)
    data = iter(tf.data.Dataset.from_tensors(batch).repeat())
    trainer.make_train_function()
    times: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for index in range(_WARM_UP + updates):
        if index == _WARM_UP:
            before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        float(trainer.train_function(data)["loss"])
        times.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": float(np.median(times[_WARM_UP:])),
        "system": (after.ru_stime - before.ru_stime) / updates,
        "faults": (after.ru_minflt - before.ru_minflt) / updates,
        "peak_mb": after.ru_maxrss / 1024,
    }


def allocator_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["update", "freed memory", "s", "system, s", "page faults", "peak memory, MB"]]
    for row in rows:
        measures = {
            name: [process[name] for process in row["processes"]] for name in row["processes"][0]
        }
        cells.append(
            [
                row["loss"].upper(),
                "kept" if row["kept"] else "returned",
                median_and_range(measures["seconds"]),
                median_and_range(measures["system"]),
                f"{np.median(measures['faults']):,.0f}",
                f"{np.median(measures['peak_mb']):,.0f}",
            ]
        )
    return cells
