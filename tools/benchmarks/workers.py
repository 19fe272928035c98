"""How the time of an update grows with the workers of a run, here on one machine's loopback."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress

import keras
import numpy as np
import psutil
import tensorflow as tf

from benchmarks.train import make_trainer, random_patches
from udl_tf._support.hardware import measure_rates, use_cores
from udl_tf.config import DistributionConfig
from udl_tf.distributed.cluster import Cluster
from udl_tf.distributed.strategy import make_strategy, share_batches
from udl_tf.models import build_model

_UPDATES = 12  # timed by their median, but for the first three
_UNTIMED = 3

Row = dict[str, float]


def run_workers(
    scale: int, side: int, batch: int, counts: Sequence[int], mbit: Sequence[float] = ()
) -> list[Row]:
    """UDL updates of EDSR-S with one global batch, in the precision that `auto` picks.

    All workers share this machine's processors, and its loopback is their network.

    Args:
        scale, side, batch: HR over LR size, LR patch size, patches of all workers together.
        counts: of workers.
        mbit: rates of each worker's link to try too, megabits a second.

    Returns:
        By rate and number of workers: "workers", "mbit" (0: loopback's own), "seconds" of an
        update, "bytes" that each sent meanwhile, "ring_bytes" that summing gradients of float32 in
        a ring takes.
    """
    policy = measure_rates().precision
    variables = build_model("edsr_s", scale, uncertainty=False).trainable_variables
    gradient = 4 * sum(int(np.prod(variable.shape)) for variable in variables)
    rows = []
    for rate in (0, *mbit):
        for count in counts if not rate else (count for count in counts if count > 1):
            cores = max(1, use_cores() // count)
            call = f"updates({scale}, {side}, {policy!r}, {batch}, {count}, {cores})"
            made = _at_once(count, 1e6 * rate / 8 or None, call)
            made["bytes"] /= count * (2 if rate else 1)  # through a link they pass twice
            ring = 2 * (count - 1) / count * gradient
            rows.append({"workers": count, "mbit": rate, **made, "ring_bytes": ring})
    return rows


def workers_table(rows: list[Row]) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    cells = [["workers", "link, Mbit/s", "s an update", "MB sent by each", "in a ring"]]
    for row in rows:
        sizes = (f"{row[name] / 1e6:.2f}" for name in ("bytes", "ring_bytes"))
        link = f"{row['mbit']:g}" if row["mbit"] else "loopback"
        cells.append([f"{row['workers']:g}", link, f"{row['seconds']:.3f}", *sizes])
    return cells


def updates(scale: int, side: int, policy: str, batch: int, workers: int, cores: int) -> Row:
    """Makes UDL updates as one of so many workers."""
    use_cores(cores)
    several = DistributionConfig(strategy="multi_worker" if workers > 1 else "none")
    strategy = make_strategy(several)
    images = random_patches(scale, side, batch)

    def share(shares: range, of: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(tuple(x[: batch // of] for x in images)).repeat()

    with strategy.scope() if strategy else nullcontext():
        trainer = make_trainer(scale, "udl", policy, replicas=workers)
        data = share_batches(share)
    times: list[float] = []
    sent: list[int] = []

    def look(update, logs):
        times.append(time.perf_counter())
        sent.append(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    trainer.fit(data, steps_per_epoch=_UPDATES, shuffle=False, verbose=0, callbacks=[watch])
    seconds, size = np.diff(times)[_UNTIMED:], np.diff(sent)[_UNTIMED:]
    return {"seconds": float(np.median(seconds)), "bytes": float(np.mean(size))}


def _at_once(count: int, rate: float | None, call: str) -> Row:
    """What a function of this module returns on the first of so many workers.

    Args:
        count: of workers.
        rate: of each one's link in each direction, bytes a second; None: loopback's own.
        call: the function's.
    """
    ports = free_ports(2 * count)
    own = [f"localhost:{port}" for port in ports[:count]]
    seen = [f"localhost:{port}" for port in ports[count:]] if rate else own
    code = f"import json; from {__name__} import *; print(json.dumps({call}))"
    with _links(dict(zip(ports[count:], ports[:count], strict=True)), rate):
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ
                | {"TF_CONFIG": Cluster((*seen[:i], own[i], *seen[i + 1 :]), i).tf_config()},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(count)
        ]
        results = [(*worker.communicate(), worker.returncode) for worker in workers]
    for _, error, code in results:
        if code:
            raise RuntimeError(error)
    return json.loads(results[0][0].splitlines()[-1])


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at now."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def _links(targets: dict[int, int], rate: float | None) -> Iterator[None]:
    """Inside, ports lead to others of this machine through links that are not faster than `rate`.

    A link has one rate for all its connections in each direction, as a network card has.
    """
    if rate is None:
        yield
        return
    ready, done = threading.Event(), asyncio.Event()

    async def relay() -> None:
        servers = [
            await asyncio.start_server(_link(target, rate), "localhost", port)
            for port, target in targets.items()
        ]
        ready.set()
        await done.wait()
        for server in servers:
            server.close()

    loop = asyncio.new_event_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner, ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run, relay())
        ready.wait()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(done.set)
            running.result()


def _link(target: int, rate: float):
    """What joins the connections to a server with those to a port of this machine."""
    there, back = _Bucket(rate), _Bucket(rate)

    async def join(reader, writer):
        with suppress(OSError):
            to, out = await asyncio.open_connection("localhost", target)
            await asyncio.gather(_pump(reader, out, there), _pump(to, writer, back))
        writer.close()

    return join


class _Bucket:
    def __init__(self, rate: float):
        self._rate, self._free = rate, 0.0

    async def pass_on(self, size: int) -> None:
        """Returns when so many bytes have gone through."""
        self._free = max(self._free, time.monotonic()) + size / self._rate
        await asyncio.sleep(self._free - time.monotonic())


async def _pump(reader, writer, bucket: _Bucket) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            await bucket.pass_on(len(data))
            writer.write(data)
            await writer.drain()
    writer.close()
