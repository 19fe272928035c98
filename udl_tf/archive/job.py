"""A job over an archive: finds the images that have no result yet, and has them upscaled."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from udl_tf._support.progress import Progress, no_progress
from udl_tf.archive import manifest
from udl_tf.archive.actors import allot, upscale_blocks
from udl_tf.archive.settings import check_owner, settings_of, write_settings
from udl_tf.archive.storage import Entry, Storage
from udl_tf.archive.worker import Work
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.inference.inputs import Skipped, no_image

_BLOCK = 64  # images that an actor gets at a time, and that are repeated if it is killed
_BLOCKS_PER_ACTOR = 8  # at least, so that actors finish at about the same time
_WAVE = 500_000  # images that are listed at a time, to bound the memory


@dataclass
class Tally:
    """Progress of a job.

    Attributes:
        upscaled: number of images with a result.
        failed: number of images without a result.
        skipped: number of images whose result already existed.
        seconds: duration so far, including the start of the actors.
    """

    upscaled: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second, upscaled or failed."""
        return (self.upscaled + self.failed) / self.seconds if self.seconds else 0.0


class ArchiveJob:
    """Upscales the images of an archive that have no result yet.

        job = ArchiveJob(work)
        with open_ray():
            job.run()
        table = job.gather_manifest()

    A job that was stopped resumes when it is created and run again.

    Args:
        work: images, model and options.

    Attributes:
        tally: progress.
        skipped: what the input contains apart from images that are read; complete after `run`.

    Raises:
        UserError: if the input or output cannot be used, or the output belongs to another job.
    """

    def __init__(self, work: Work):
        source, self._output = Storage(work.input), Storage(work.output)
        if self._output.holds(source):
            raise UserError(
                f"{self._output.place}: holds the input, whose images the results could replace:"
                " choose another output"
            )
        # Absolute: actors on other machines have other working directories.
        model = str(Path(work.model).resolve()) if presets.is_path(work.model) else work.model
        self._work = replace(
            work,
            input=source.uri,
            output=self._output.uri,
            model=model,
        )
        self._settings = settings_of(self._work, source)
        check_owner(self._output, self._settings, work.options.overwrite)
        self.tally, self.skipped = Tally(), Skipped()
        self._waves = self._list_waves(source)
        self._first = next(self._waves, None)

    @property
    def is_finished(self) -> bool:
        """Whether no image is left to upscale, so that `run` needs no Ray."""
        return self._first is None

    def run(self, actors: int | None = None, progress: Progress = no_progress) -> None:
        """Upscales the images on actors of the Ray cluster that `open_ray` opened.

        Args:
            actors: processes with one model each; None: one per GPU, or else one per machine.
            progress: gets the number of images that are done, and how many failed as the label.

        Raises:
            UserError: if the cluster has no room for the actors, or a cause other than a single
                image stops the job.
        """
        if self._first is None:
            return
        write_settings(self._output, self._settings)
        allotment = allot(actors)
        tally, start = self.tally, time.monotonic()
        for wave in chain([self._first], self._waves):
            blocks = _blocks(wave, _BLOCKS_PER_ACTOR * allotment.actors)
            for rows in upscale_blocks(self._work, blocks, allotment):
                failed = len(rows) - rows["error"].null_count
                tally.failed += failed
                tally.upscaled += len(rows) - failed
                tally.seconds = time.monotonic() - start
                progress(tally.upscaled + tally.failed, None, f"{tally.failed} failed")
            manifest.gather(self._output)
        self._first = None

    def gather_manifest(self) -> pa.Table:
        """Writes manifest.parquet, one row per image of this and earlier runs, and returns it."""
        return manifest.gather(self._output)

    def _list_waves(self, source: Storage) -> Iterator[list[Entry]]:
        """Yields the images without a result, as many at a time as fit in memory.

        Finally drops the rows of failed images that no longer exist.
        """
        known = manifest.gather(self._output)
        done = manifest.Done(known)
        failed = set(known.filter(known["error"].is_valid())["source"].to_pylist())
        del known  # the rows of all images
        is_empty, waiting = True, []
        for entry in source.images(self._output, self.skipped):
            is_empty = False
            failed.discard(entry.name)
            if entry in done:
                self.tally.skipped += 1
                continue
            waiting.append(entry)
            if len(waiting) == _WAVE:
                yield waiting
                waiting = []
        if waiting:
            yield waiting
        if is_empty:
            raise no_image(source.place, self.skipped)
        if failed and not self.skipped.failed:  # every folder could be listed
            manifest.gather(self._output, without=sorted(failed))


def _blocks(entries: list[Entry], least: int) -> list[pa.Table]:
    """Divides images into the tables that actors get; at least `least`, if there are as many."""
    size = min(_BLOCK, max(1, len(entries) // least))
    schema = pa.schema([manifest.SCHEMA.field(name) for name in manifest.IDENTITY])
    rows = [
        dict(zip(manifest.IDENTITY, (entry.name, entry.size, entry.modified), strict=True))
        for entry in entries
    ]
    groups = (rows[i : i + size] for i in range(0, len(rows), size))
    return [pa.Table.from_pylist(group, schema) for group in groups]
