"""Time of an update by the number of workers, all on this machine, connected by its loopback."""

import socket
import time
from collections.abc import Sequence
from contextlib import nullcontext

import keras
import numpy as np
import psutil
import tensorflow as tf

from benchmarks.processes import results_of, start
from benchmarks.trainers import Network, make_trainer, random_patches
from udl_tf._support.hardware import measure_rates, use_cores
from udl_tf.config import DistributionConfig
from udl_tf.distributed.cluster import Cluster
from udl_tf.distributed.strategy import make_strategy, share_batches
from udl_tf.models import build_model

_UPDATES = 12
_UNTIMED = 4  # updates, which trace graphs and open connections

Row = dict[str, float]


def run_workers(
    scale: int, side: int, batch: int, counts: Sequence[int], options: Network | None = None
) -> list[Row]:
    """Times UDL updates of EDSR-S by the number of workers, with the same global batch.

    The workers share the cores of this machine.

    Args:
        scale: HR size divided by LR size.
        side: of the LR patches, pixels.
        batch: global batch size, patches per update.
        counts: numbers of workers.
        options: of the network; None: EDSR-S as released.

    Returns:
        Per number of workers: "workers", "seconds" per update in the precision that `auto` picks,
        "bytes" that each worker sent per update, and "ring_bytes", what each has to send to sum
        float32 gradients in a ring.
    """
    policy = measure_rates().precision
    options = options or {}
    student = build_model("edsr_s", scale, uncertainty=False, **options)
    gradient = 4 * sum(int(np.prod(variable.shape)) for variable in student.trainable_variables)
    rows = []
    for count in counts:
        addresses = tuple(f"localhost:{port}" for port in free_ports(count))
        cores = max(1, use_cores() // count)
        arguments = (scale, side, policy, batch, count, cores, options)
        workers = [
            start(time_updates, *arguments, TF_CONFIG=Cluster(addresses, index).tf_config())
            for index in range(count)
        ]
        row = results_of(workers)[0]
        row["bytes"] /= count  # the loopback counts what all workers send
        rows.append({"workers": count, **row, "ring_bytes": 2 * (count - 1) / count * gradient})
    return rows


def workers_table(rows: list[Row]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    cells = [["workers", "s per update", "MB sent by each", "in a ring"]]
    for row in rows:
        sizes = (f"{row[name] / 1e6:.2f}" for name in ("bytes", "ring_bytes"))
        cells.append([f"{row['workers']}", f"{row['seconds']:.3f}", *sizes])
    return cells


def time_updates(
    scale: int, side: int, policy: str, batch: int, workers: int, cores: int, options: Network
) -> Row:
    """Times UDL updates as one of several workers, and counts the bytes sent over the loopback."""
    use_cores(cores)
    several = DistributionConfig(strategy="multi_worker" if workers > 1 else "none")
    strategy = make_strategy(several)
    images = random_patches(scale, side, batch)

    def share(shares: range, of: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(tuple(x[: batch // of] for x in images)).repeat()

    with strategy.scope() if strategy else nullcontext():
        trainer = make_trainer(scale, "udl", policy, options, replicas=workers)
        data = share_batches(share)
    times: list[float] = []
    sent: list[int] = []

    def note(update, logs):
        times.append(time.perf_counter())
        sent.append(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)

    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=note)]
    trainer.fit(data, steps_per_epoch=_UPDATES, shuffle=False, verbose=0, callbacks=callbacks)
    seconds, size = (np.diff(values)[_UNTIMED - 1 :] for values in (times, sent))
    return {"seconds": float(np.median(seconds)), "bytes": float(np.mean(size))}


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that are not in use."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
