"""Actors on a Ray cluster: opens Ray, divides its machines among actors, runs them on images."""

import logging
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayTaskError

from udl_tf.archive import manifest, settings
from udl_tf.archive.storage import Storage
from udl_tf.archive.worker import Work, Worker
from udl_tf.errors import UserError


@dataclass(frozen=True)
class Allotment:
    """Resources of the actors of a job.

    Attributes:
        actors: number of actors.
        cores: processors per actor.
        gpus: GPUs per actor; a fraction if actors share one.
    """

    actors: int
    cores: int
    gpus: float


@contextmanager
def open_ray(address: str | None = None) -> Iterator[None]:
    """Opens Ray for the block; if Ray is open already, it is used and stays open.

    Args:
        address: HOST:PORT of a Ray cluster's head, or "auto" on one of its machines; None: this
            machine alone.

    Raises:
        UserError: if there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    if address and "://" in address:
        raise UserError(
            f"address {address}: expected HOST:PORT of the cluster's head, or auto on one of its"
            " machines; from elsewhere, submit the command with ray job submit",
            argument="address",
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise UserError(f"Ray cannot be started on this machine ({error})") from error
        raise UserError(
            f"address {address}: no Ray cluster ({error}); if it requires a token, set"
            " RAY_AUTH_MODE=token",
            argument="address",
        ) from None
    signal.signal(signal.SIGTERM, handler)  # Ray's own exits without an exception
    try:
        yield
    finally:
        ray.shutdown()


def allot(actors: int | None) -> Allotment:
    """Allots to each actor the most processors that the machines of the cluster have for it.

    Args:
        actors: their number; None: one per GPU, or else one per machine.

    Raises:
        UserError: if the machines have no room for so many actors.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    all_gpus = sum(gpus for _, gpus in machines)
    actors = actors or all_gpus or sum(cpus > 0 for cpus, _ in machines)
    per_gpu = -(-actors // all_gpus) if all_gpus else 0  # actors that share a GPU, rounded up
    for cores in range(max(cpus for cpus, _ in machines), 0, -1):
        # An actor needs `cores` processors and, if there are GPUs, a place on one of them.
        room = sum(
            min(cpus // cores, per_gpu * gpus) if all_gpus else cpus // cores
            for cpus, gpus in machines
        )
        if room >= actors:
            return Allotment(actors, cores, 1 / per_gpu if all_gpus else 0.0)
    found = ", ".join(f"{cpus} processors and {gpus} GPUs" for cpus, gpus in machines)
    raise UserError(
        f"{actors} actors: no room for them on machines of {found}: use fewer", argument="actors"
    )


def upscale_blocks(work: Work, blocks: list[pa.Table], allotment: Allotment) -> Iterator[pa.Table]:
    """Yields the rows of the manifest for the images in `blocks`, as actors finish them.

    Raises:
        UserError: if an actor reports what stops the job.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    results = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(work, allotment.cores),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(allotment.actors, len(blocks))),
        num_cpus=allotment.cores,
        num_gpus=allotment.gpus or None,
    )
    try:
        tables: Any = results.iter_batches(batch_size=None, batch_format="pyarrow")
        for rows in tables:
            stops = rows.filter(rows["source"].is_null())
            if len(stops):
                raise UserError(stops["error"][0].as_py())
            yield rows
    except RayTaskError as error:
        raise error.cause from None


class _Actor:
    """A worker in a process of its own.

    It returns an error that stops the job as a row without a source: raised through Ray, the
    message would be buried in Ray's own.
    """

    def __init__(self, work: Work, cores: int):
        self._work, self._cores = work, cores
        self._worker: Worker | None = None

    def __call__(self, images: pa.Table) -> pa.Table:
        try:
            if self._worker is None:
                _check_shared(self._work)
                self._worker = Worker(self._work, self._cores)
            return self._worker(images)
        except (UserError, OSError, pa.ArrowException) as error:
            return pa.Table.from_pylist([{"error": str(error)}], manifest.SCHEMA)


def _check_shared(work: Work) -> None:
    """Raises UserError if the input or output on this machine is not the one of the job."""
    Storage(work.input).check()
    if Storage(work.output).read(settings.FILE) is None:
        raise UserError(
            f"{work.output} on {platform.node()} is another folder: choose one that all machines of"
            " the cluster share"
        )
