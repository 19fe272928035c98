"""A job over an archive: Ray hands pictures to actors, each with a model of its own."""

import json
import logging
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from udl_tf._support.json_files import parse_json
from udl_tf._support.progress import Progress, no_progress
from udl_tf.archive import manifest
from udl_tf.archive.storage import Entry, Storage
from udl_tf.archive.worker import Work, Worker
from udl_tf.errors import UserError
from udl_tf.inference.jobs import INPUT_SUFFIXES
from udl_tf.saved.loading import fingerprint

_BLOCK = 64  # pictures that an actor gets at a time, and that are made again if it is killed
_WAVE = 500_000  # pictures listed, and parts of the manifest put together, at a time
_FILE = "job.json"


@dataclass
class Tally:
    """What a job has done so far.

    Attributes:
        made, failed, skipped: pictures with a result, without, and done by an earlier run.
        seconds: of these, with the start of the actors.
    """

    made: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return (self.made + self.failed) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Resources:
    """What Ray gives to a job.

    Attributes:
        address: of a Ray cluster; None: this machine alone.
        actors: processes with a model each; None: one a GPU, or else one a machine.
    """

    address: str | None = None
    actors: int | None = None


def run_archive(
    work: Work, resources: Resources, progress: Progress = no_progress
) -> tuple[Tally, pa.Table]:
    """Upscales every picture that has no result yet.

    Args:
        work: what is made of which pictures; `cores` is set by the resources.
        resources: what makes it.
        progress: gets the images that are done, with those that failed as the label.

    Returns:
        (what was done, the manifest).

    Raises:
        UserError: for an input or output that cannot be, or an output of another job.
    """
    source, output = Storage(work.input), Storage(work.output)
    if output.holds(source):
        raise UserError(
            f"{output.place}: holds the input, whose pictures the results could replace: choose"
            " another output"
        )
    model = Path(work.model)
    work = replace(
        work,
        input=source.uri,
        output=output.uri,
        model=str(model.resolve()) if model.exists() else work.model,
    )
    settings = _settings(work, source)
    _check_owner(output, settings)
    tally = Tally()
    waves = _waves(source, output, tally)
    first = next(waves, None)
    if first is not None:
        output.write(_FILE, json.dumps(settings, indent=1).encode())
        with _ray(resources.address):
            actors, cores, gpus = _share(resources.actors)
            work = replace(work, cores=cores)
            for wave in chain([first], waves):
                began = time.monotonic() - tally.seconds
                blocks = _blocks(wave, 8 * actors)
                for rows in _run(work, blocks, min(actors, len(blocks)), gpus):
                    failed = len(rows) - rows["error"].null_count
                    tally.failed += failed
                    tally.made += len(rows) - failed
                    tally.seconds = time.monotonic() - began
                    done = tally.made + tally.failed
                    progress(done, None, f"{tally.failed} failed")
                manifest.gather(output)
    return tally, manifest.gather(output)


def _settings(work: Work, source: Storage) -> dict[str, Any]:
    """What all results of an output have in common."""
    common = {key: asdict(work)[key] for key in ("model", "dtype", "options")}
    own = {"input": source.place, "fingerprint of the model": fingerprint(work.model)}
    return json.loads(json.dumps(own | common))


def _check_owner(output: Storage, mine: dict[str, Any]) -> None:
    """Raises UserError if the output holds the results of other settings."""
    content = output.read(_FILE)
    theirs = mine if content is None else parse_json(content, f"{output.place}/{_FILE}")
    for key in mine:
        if theirs.get(key) != mine[key]:
            raise UserError(
                f"{output.place}: holds the results of another job ({key} is {theirs.get(key)}"
                f" there and {mine[key]} now): choose another output"
            )


def _waves(source: Storage, output: Storage, tally: Tally) -> Iterator[list[Entry]]:
    """What is still to be made, so much at a time that it fits in memory."""
    done = manifest.Done(manifest.gather(output, errors=False))
    found, left = False, []
    for entry in source.pictures(output):
        found = True
        if entry in done:
            tally.skipped += 1
            continue
        left.append(entry)
        if len(left) == _WAVE:
            yield left
            left = []
    if left:
        yield left
    if not found:
        suffixes = " ".join(INPUT_SUFFIXES)
        raise UserError(f"{source.place}: holds no picture; expected files ending in {suffixes}")


def _blocks(entries: list[Entry], least: int) -> list[pa.Table]:
    """What actors get at a time; at least so many, where pictures are few."""
    size = min(_BLOCK, max(1, len(entries) // least))
    schema = pa.schema([manifest.SCHEMA.field(name) for name in manifest.IDENTITY])
    rows = [
        dict(zip(manifest.IDENTITY, (entry.name, entry.size, entry.modified), strict=True))
        for entry in entries
    ]
    groups = (rows[i : i + size] for i in range(0, len(rows), size))
    return [pa.Table.from_pylist(group, schema) for group in groups]


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    if address and "://" in address:
        raise UserError(
            f"address {address}: expected HOST:PORT of the cluster's head, or auto, on one of its"
            " machines; from elsewhere send the command with ray job submit",
            argument="address",
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"address {address}: no Ray cluster ({error}); if it asks for a token, set"
            " RAY_AUTH_MODE=token",
            argument="address",
        ) from None
    signal.signal(signal.SIGTERM, handler)  # Ray's own ends without a word
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _share(actors: int | None) -> tuple[int, int, float]:
    """(actors, processors of each, GPUs of each): the most that the nodes of Ray have room for.

    Raises:
        UserError: if they have no room for so many actors.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    rooms = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    gpus = sum(gpu for _, gpu in rooms)
    actors = actors or gpus or sum(cpu > 0 for cpu, _ in rooms)
    each = -(-actors // gpus) if gpus else 0  # actors on a GPU
    for cores in range(max(cpu for cpu, _ in rooms), 0, -1):
        if sum(min(cpu // cores, each * gpu if gpus else cpu) for cpu, gpu in rooms) >= actors:
            return actors, cores, 1 / each if gpus else 0.0
    has = ", ".join(f"{cpu} processors and {gpu} GPUs" for cpu, gpu in rooms)
    raise UserError(
        f"{actors} actors: no room for them on machines of {has}: use fewer", argument="actors"
    )


def _run(work: Work, blocks: list[pa.Table], actors: int, gpus: float) -> Iterator[pa.Table]:
    """Rows of the manifest, as the actors return them."""
    made = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(work,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=work.cores,
        num_gpus=gpus or None,
    )
    try:
        tables: Any = made.iter_batches(batch_size=None, batch_format="pyarrow")
        for rows in tables:
            ended = rows.filter(rows["source"].is_null())
            if len(ended):
                raise UserError(ended["error"][0].as_py())
            yield rows
    except RayTaskError as error:
        raise error.cause from None


def _check_shared(work: Work) -> None:
    """Raises UserError if the input or output here is not the one of the machine with the job."""
    Storage(work.input).check()
    if Storage(work.output).read(_FILE) is None:
        raise UserError(
            f"{work.output} on {platform.node()} is another folder: take one that all machines of"
            " the cluster share"
        )


class _Actor:
    """A worker, of which what ends the job comes back as a row without a source.

    Raised through Ray it would come in Ray's words.
    """

    def __init__(self, work: Work):
        self._work = work
        self._worker: Worker | None = None

    def __call__(self, pictures: pa.Table) -> pa.Table:
        try:
            if self._worker is None:
                _check_shared(self._work)
                self._worker = Worker(self._work)
            return self._worker(pictures)
        except (UserError, OSError, pa.ArrowException) as error:
            return pa.Table.from_pylist([{"error": str(error)}], manifest.SCHEMA)
