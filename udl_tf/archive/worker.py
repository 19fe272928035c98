"""The worker of an archive job: upscales tables of images with a model that it keeps loaded."""

import hashlib
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

import pyarrow as pa
import tensorflow as tf

from udl_tf._support.device_memory import free_memory
from udl_tf._support.hardware import use_cores
from udl_tf.archive import manifest
from udl_tf.archive.journal import Journal
from udl_tf.archive.manifest import Row
from udl_tf.archive.storage import Storage
from udl_tf.errors import Unavailable, UserError
from udl_tf.imaging.opening import image_size
from udl_tf.inference.job_memory import needed_memory
from udl_tf.inference.job_runner import read_job, upscale_file, write_job
from udl_tf.inference.jobs import Job, Options, plan_job
from udl_tf.inference.targets import check_targets
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved.loading import load_upscaler

_BROKEN = 16  # a table of at least this many images, all with unexpected errors, stops the job
_DEADLY = "crashed the worker, probably out of memory"


@dataclass(frozen=True)
class Work:
    """Images, model and options of a job.

    Attributes:
        input: folder or URI of the images.
        output: folder or URI for the results.
        model: a preset or path, as for `udl_tf.load`.
        dtype: precision to compute in, "float32" or "bfloat16".
        options: what is computed for each image.
        threads: images at a time per actor.
    """

    input: str
    output: str
    model: str
    dtype: str = "float32"
    options: Options = field(default_factory=Options)
    threads: int = 8


class Worker:
    """Upscales tables of images with the columns source, source_bytes and source_modified.

    It writes the results, then their rows of the manifest, and returns the rows. An image that
    crashes the process, for example because it needs too much memory, is found by a journal, and
    becomes a row with an error.

    Args:
        work: images, model and options.
        cores: processors to compute with; None: all.
    """

    def __init__(self, work: Work, cores: int | None = None):
        use_cores(cores)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        self.work = work
        self.input, self.output = Storage(work.input), Storage(work.output)
        self.room = threading.Lock()

    @cached_property
    def model(self) -> Upscaler:
        """The model; loaded with the first table, whose journal records a crash in loading."""
        return load_upscaler(self.work.model, self.work.dtype)

    def __call__(self, images: pa.Table) -> pa.Table:
        """Upscales the images and returns their rows.

        Raises:
            OSError: if a result cannot be written.
            UserError: if the model cannot be loaded, or many images fail through no fault of their
                own.
        """
        entries = images.to_pylist()
        names = "\0".join(entry["source"] for entry in entries)
        key = hashlib.sha256(names.encode()).hexdigest()[:16]
        journal = Journal(self.output, f"{manifest.FOLDER}/trying-{key}.json")
        if journal.is_hopeless:
            journal.end()
            raise UserError(
                "actors crash before they upscale any image, probably because memory cannot hold so"
                " many models: use fewer actors"
            )
        turn = nullcontext() if self.model.thread_safe else threading.Lock()
        unexpected: list[Exception] = []
        upscale = partial(self._row, turn=turn, unexpected=unexpected)
        if journal.is_careful:
            rows = [upscale(entry) for entry in journal.survivors(entries)]
            rows += [_failed(entry, _DEADLY) for entry in journal.deadly(entries)]
        else:
            with ThreadPoolExecutor(self.work.threads) as pool:
                rows = list(pool.map(upscale, entries))
        if len(rows) == len(unexpected) >= _BROKEN:
            journal.end()
            raise UserError(
                f"{len(unexpected)} images in a row failed, but did not cause it"
                f" ({unexpected[0]!r}): the failures are not recorded; fix the cause and run the"
                " same job again to resume"
            )
        manifest.write_part(self.output, key, rows)
        journal.end()
        return pa.Table.from_pylist(rows, manifest.SCHEMA)

    def _row(self, entry: Row, turn: AbstractContextManager, unexpected: list[Exception]) -> Row:
        """Upscales an image, stores its result and returns its row of the manifest.

        Args:
            entry: name, size and time of the image.
            turn: held while the model computes.
            unexpected: collects errors that the image may not have caused.
        """
        name = PurePosixPath(entry["source"])
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            place = Path(name.name)
            source, output = Path(folder, "in", place), Path(folder, "out")
            job = plan_job(source, place, output, self.work.options, in_full=True)
            try:
                facts = self._upscale(entry["source"], job, turn)
            except UserError as error:
                if isinstance(error, Unavailable):
                    unexpected.append(error)
                hint = "" if error.argument is None else f" ({error.argument})"
                message = str(error).removeprefix(f"{source}: ").replace(f"{output}{os.sep}", "")
                return _failed(entry, message + hint)
            except Exception as error:  # whatever one image causes, the others are still upscaled
                unexpected.append(error)
                return _failed(entry, f"{type(error).__name__}: {error}")
            contents = [target.read_bytes() for target in job.targets]
        places = {target: str(name.with_name(target.name)) for target in job.targets}
        for place, content in zip(places.values(), contents, strict=True):
            self.output.write(place, content)  # an error here stops the job
        return {
            **entry,
            **facts,
            "output": places[job.output],
            "output_sha256": hashlib.sha256(contents[0]).hexdigest(),
            "uncertainty": places[job.maps["theta"]] if job.maps else None,
            "seconds": time.monotonic() - start,
            "finished": datetime.now(UTC),
            "error": None,
        }

    def _upscale(self, name: str, job: Job, turn: AbstractContextManager) -> Row:
        """Upscales an image in local files, and returns the part of its row that describes it."""
        check_targets(job, self.work.options.overwrite)  # their names may be too long
        content = self.input.read(name)
        if content is None:
            raise UserError("no longer exists, or its name is not UTF-8")
        job.source.parent.mkdir()
        job.source.write_bytes(content)
        with self._room_for(job):
            model, options = self.model, self.work.options
            image = read_job(job, model.scale, options, model.channels)
            with turn:
                result = upscale_file(model, image, options)
            notes, _ = write_job(job, image, result, options)
        return {
            "source_sha256": hashlib.sha256(content).hexdigest(),
            "height": result.image.shape[0],
            "width": result.image.shape[1],
            "mean_theta": None if result.theta is None else float(result.theta.mean()),
            "notes": "; ".join(notes) or None,
        }

    def _room_for(self, job: Job) -> AbstractContextManager:
        """Returns a lock for images so large that the threads together could fill the memory."""
        try:
            size = image_size(job.source, self.work.options.max_pixels)
        except UserError:  # read_job reports it
            return nullcontext()
        model = self.model
        needed = needed_memory(*size, model.scale, self.work.options, model.channels)
        return self.room if needed > free_memory() / self.work.threads else nullcontext()


def _failed(entry: Row, error: str) -> Row:
    return entry | {"finished": datetime.now(UTC), "error": error}
