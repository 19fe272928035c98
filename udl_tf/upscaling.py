"""Upscales many files: reads ahead, computes, writes behind; a bad file is a line, not an end."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import psutil
from PIL import Image, UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.image_io import image_size
from udl_tf.jobs import MAP_TITLES, Job, Options
from udl_tf.photo import Photo, read_photo, write_photo
from udl_tf.trust_map import write_map
from udl_tf.upscaled import Upscaled
from udl_tf.upscaler import Upscaler


@dataclass
class Summary:
    """What became of the jobs; `failed` and `notes` are lines that name their file."""

    done: int = 0
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixels: int = 0


def run_jobs(
    model: Upscaler,
    jobs: Sequence[Job],
    options: Options,
    progress: Callable[[Job, float], None] = lambda job, share: None,
) -> Summary:
    """Upscales pictures: while one is computed, the next is read and the one before written.

    Args:
        model: what makes the pictures.
        jobs: what plan_jobs returned.
        options: of all of them.
        progress: is told what share of a job was computed since the last time.
    """
    summary = Summary()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        behind: tuple[Job, Future] | None = None
        for job, reading in _read_ahead(reader, jobs, model.scale, options):
            made = None
            with _noting_failure(job, summary):
                photo = reading.result()
                if model.eight_bit and photo.pixels.dtype == np.uint16:
                    note = "16-bit pixels computed in 8 bits, which is all that this model knows"
                    photo = replace(photo, notes=(*photo.notes, note))
                made = make_picture(
                    model, photo, options, lambda share, job=job: progress(job, share)
                )
            _settle(behind, summary)
            behind = None
            if made is not None:
                behind = (job, writer.submit(write_job, job, photo, made))
        _settle(behind, summary)
    return summary


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], scale: int, options: Options
) -> Iterator[tuple[Job, Future]]:
    """Each job with its photo to come; the next one's is being read by then."""
    following = None
    for job, after in pairwise([*jobs, None]):
        assert job is not None
        current = following or pool.submit(read_job, job, scale, options)
        following = after and pool.submit(read_job, after, scale, options)
        yield job, current


@contextmanager
def _noting_failure(job: Job, summary: Summary) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        summary.failed.append(str(error))
    except Exception as error:  # whatever one file does, the others are still to be made
        summary.failed.append(f"{job.source}: {type(error).__name__}: {error}")


def _settle(behind: tuple[Job, Future] | None, summary: Summary) -> None:
    """Waits until the picture before is written."""
    if behind is None:
        return
    job, writing = behind
    with _noting_failure(job, summary):
        notes, pixels = writing.result()
        summary.notes += [f"{job.source}: {note}" for note in notes]
        summary.pixels += pixels
        summary.done += 1


def read_job(job: Job, scale: int, options: Options) -> Photo:
    """Reads a job's picture.

    Raises:
        UserError: if it cannot be read, or is too large to be upscaled here.
    """
    try:
        height, width = image_size(job.source)
    except UserError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return read_photo(job.source)  # which knows more kinds, or tells more
        raise
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise UserError(
            f"{job.source}: declares {width}x{height} pixels; a guard against decompression bombs"
            f" allows {limit / 1e6:.0f} megapixels: raise --max-megapixels if it is meant"
        )
    needed, free = needed_memory(height, width, scale, options), free_memory()
    if needed > free:
        raise UserError(
            f"{job.source}: {width}x{height} pixels; x{scale} needs {needed / 1e9:.0f} GB of memory"
            f" and {free / 1e9:.0f} GB are free: cut it into parts"
        )
    return read_photo(job.source)


def needed_memory(height: int, width: int, scale: int, options: Options) -> int:
    """Bytes of the result of a picture of this size, and of what is computed beside it."""
    # The picture with alpha, and beside it float32 maps of three channels.
    maps = (2 + len(options.maps)) if options.ensemble or options.self_ensemble else 1
    theta = options.theta or bool(options.maps)
    return height * width * scale**2 * (4 + (12 * maps if theta else 0))


def free_memory() -> int:
    """Bytes that this machine has left."""
    return psutil.virtual_memory().available


def make_picture(
    model: Upscaler,
    photo: Photo,
    options: Options,
    progress: Callable[[float], None] = lambda share: None,
) -> Upscaled:
    """The picture, and the maps that the options ask for, in the size that they ask for."""
    made = model.upscale(
        photo.pixels,
        uncertainty=options.theta or bool(options.maps),
        self_ensemble=options.self_ensemble or options.ensemble,
        tile=options.tile,
        memory_gb=options.memory_gb,
        progress=progress,
    )
    height, width = photo.pixels.shape[:2]
    if options.size is not None:
        size = options.size[1], options.size[0]
    elif options.outscale is not None:
        size = max(1, round(height * options.outscale)), max(1, round(width * options.outscale))
    else:
        return made
    return made.resized(size)


def write_job(job: Job, photo: Photo, made: Upscaled) -> tuple[list[str], int]:
    """Writes all files of a job; returns (notes, pixels of the result)."""
    notes = write_photo(job.output, replace(photo, pixels=made.image))
    for name, path in job.maps.items():
        write_map(path, getattr(made, name), MAP_TITLES[name])
    return [*photo.notes, *notes], made.image.shape[0] * made.image.shape[1]
