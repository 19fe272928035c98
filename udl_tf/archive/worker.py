"""An actor of an archive's job: upscales some pictures at a time with a model that it keeps."""

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import tensorflow as tf

from udl_tf._support.hardware import use_cores
from udl_tf._support.json_files import parse_json
from udl_tf.archive import manifest
from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import SUFFIXES, image_size
from udl_tf.imaging.theta_map import MAP_SUFFIXES
from udl_tf.inference.batched import BatchedUpscaler
from udl_tf.inference.job_runner import (
    free_memory,
    needed_memory,
    read_job,
    upscale_file,
    write_job,
)
from udl_tf.inference.jobs import INPUT_SUFFIXES, Job, Options, result_name
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved.loading import load

Entry = dict[str, Any]  # a row of what is to be made
Row = dict[str, Any]  # of the manifest

_CAREFUL = 2  # times that some pictures may end their process before they are made one by one
_IN_VAIN = 3  # times that it may then end before it begins one
_BROKEN = 16  # pictures that fail together by what is not in them: it ends the job
_DEADLY = "ended the process that made it: perhaps it needs more memory than there is"


@dataclass(frozen=True)
class Work:
    """What a job does with each picture.

    Attributes:
        input, output: URIs.
        model: a preset or path, as for `udl_tf.load`.
        dtype: precision to compute in, "float32" or "bfloat16".
        options: of each picture.
        threads: pictures at a time in one actor.
        cores: processors of an actor.
    """

    input: str
    output: str
    model: str
    dtype: str
    options: Options
    threads: int
    cores: int


class Worker:
    """Upscales tables of pictures (source, source_bytes, source_modified).

    It writes the pictures' results, then their rows of the manifest, and returns these. What ends
    its process, such as a picture that needs more memory than there is, is found by a journal, and
    becomes a row too. The model is loaded for the first table.
    """

    def __init__(self, work: Work):
        use_cores(work.cores)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        self.work = work
        self.input, self.output = Storage(work.input), Storage(work.output)
        self.room = threading.Lock()

    @cached_property
    def model(self) -> Upscaler:
        """Which makes the pictures."""
        model = load(self.work.model, self.work.dtype)
        return BatchedUpscaler(model) if isinstance(model, KerasUpscaler) else model

    def __call__(self, pictures: pa.Table) -> pa.Table:
        """The pictures' rows.

        Raises:
            OSError: if a result cannot be written.
            UserError: if the model cannot be loaded, or all of many pictures fail by something
                that is not in them.
        """
        entries = pictures.to_pylist()
        names = "\0".join(entry["source"] for entry in entries)
        key = hashlib.sha256(names.encode()).hexdigest()[:16]
        journal = _Journal(self.output, f"{manifest.FOLDER}/trying-{key}.json")
        if journal.in_vain >= _IN_VAIN:
            journal.end()
            raise UserError(
                "actors end before they make a picture, perhaps because there is no memory for so"
                " many models: use fewer actors"
            )
        # Others than the batched know no threads.
        turn = nullcontext() if isinstance(self.model, BatchedUpscaler) else threading.Lock()
        faults: list[Exception] = []
        make = partial(self._row, turn=turn, faults=faults)
        if journal.attempts < _CAREFUL:
            with ThreadPoolExecutor(self.work.threads) as pool:
                rows = list(pool.map(make, entries))
        else:
            rows = [make(entry) for entry in journal.survivors(entries)]
            rows += [_failed(entry, _DEADLY) for entry in journal.deadly(entries)]
        if len(rows) == len(faults) >= _BROKEN:
            journal.end()
            raise UserError(
                f"{len(faults)} pictures in turn failed by what is not in them ({faults[0]!r}):"
                " nothing of them is recorded, and the same command goes on"
            )
        manifest.write_part(self.output, key, rows)
        journal.end()
        return pa.Table.from_pylist(rows, manifest.SCHEMA)

    def _row(self, entry: Entry, turn: AbstractContextManager, faults: list[Exception]) -> Row:
        """Makes a picture, in `turn`, and its row of the manifest.

        What fails by something else than the picture is added to `faults`.
        """
        name, options = PurePosixPath(entry["source"]), self.work.options
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "in", name.name)
            output = Path(folder, "out", _output_name(name, options.format).name)
            maps = {
                m: output.with_name(f"{output.name}_{m}{MAP_SUFFIXES[options.uncertainty]}")
                for m in options.maps
            }
            job = Job(source, output, maps)
            try:
                content = self.input.read(entry["source"])
                if content is None:
                    raise UserError("is gone, or its name is no UTF-8")
                source.parent.mkdir()
                source.write_bytes(content)
                with self._room_for(job):
                    photo = read_job(job, self.model.scale, options)
                    with turn:
                        made = upscale_file(self.model, photo, options)
                    notes, _ = write_job(job, photo, made)
            except UserError as error:
                return _failed(entry, str(error).removeprefix(f"{source}: "))
            except Exception as error:  # whatever one picture does, the others are still to be made
                faults.append(error)
                return _failed(entry, f"{type(error).__name__}: {error}")
            written = {target: target.read_bytes() for target in job.targets}
        for target, data in written.items():  # an error here ends the job
            self.output.write(str(name.with_name(target.name)), data)
        return entry | {
            "source_sha256": hashlib.sha256(content).hexdigest(),
            "output": str(name.with_name(output.name)),
            "output_sha256": hashlib.sha256(written[output]).hexdigest(),
            "uncertainty": str(name.with_name(maps["theta"].name)) if "theta" in maps else None,
            "height": made.image.shape[0],
            "width": made.image.shape[1],
            "mean_theta": None if made.theta is None else float(made.theta.mean()),
            "seconds": time.monotonic() - began,
            "finished": datetime.now(UTC),
            "notes": "; ".join(notes) or None,
            "error": None,
        }

    def _room_for(self, job: Job) -> AbstractContextManager:
        """What one of several pictures, of which each might fill the memory, waits in."""
        try:
            size = image_size(job.source, self.work.options.max_pixels)
        except UserError:  # reading it tells more
            return nullcontext()
        needed = needed_memory(*size, self.model.scale, self.work.options)
        return self.room if needed > free_memory() / self.work.threads else nullcontext()


def _output_name(source: PurePosixPath, kind: str) -> PurePosixPath:
    """A name that no other picture's result or map has.

    It is the source's, with the suffix added if that changes, or if the source's name is like those
    that this makes: a.gif.png or a.png_theta.png.
    """
    suffix = source.suffix
    if kind != "same" or suffix.lower() not in SUFFIXES:
        suffix = result_name(Path(source), kind).suffix
    inner = (part.partition("_")[0].lower() for part in PurePosixPath(source.stem).suffixes)
    like_ours = any(part in INPUT_SUFFIXES for part in inner)
    if suffix == source.suffix and not like_ours:
        return source
    return source.with_name(source.name + suffix)


def _failed(entry: Entry, error: str) -> Row:
    return entry | {"finished": datetime.now(UTC), "error": error}


class _Journal:
    """What was tried with some pictures, kept so that it outlives the process.

    Attributes:
        attempts: processes before this one that did not end.
        in_vain: how many of them ended without a picture at hand, when each is noted.
    """

    def __init__(self, storage: Storage, name: str):
        self._storage, self._name = storage, name
        content = storage.read(name)
        state = parse_json(content, name) if content else {"attempts": -1, "at": None, "deadly": []}
        self._deadly = state["deadly"] + ([state["at"]] if state["at"] else [])
        self.attempts = state["attempts"] + 1
        self.in_vain = self.attempts - _CAREFUL - len(self._deadly)
        self._save(None)

    def survivors(self, entries: list[Entry]) -> Iterator[Entry]:
        """The pictures that have not ended a process, each noted before it is made."""
        for entry in entries:
            if entry["source"] not in self._deadly:
                self._save(entry["source"])
                yield entry

    def deadly(self, entries: list[Entry]) -> list[Entry]:
        """The others."""
        return [entry for entry in entries if entry["source"] in self._deadly]

    def end(self) -> None:
        """All of them have their rows."""
        self._storage.delete(self._name)

    def _save(self, at: str | None) -> None:
        state = {"attempts": self.attempts, "at": at, "deadly": self._deadly}
        self._storage.write(self._name, json.dumps(state).encode())
