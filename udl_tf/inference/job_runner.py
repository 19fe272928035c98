"""Upscales many files: reads ahead, computes, writes behind; a bad file does not stop the others."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import psutil
from PIL import UnidentifiedImageError

from udl_tf._support.progress import Progress, no_progress, part_of
from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile, read_image, write_image
from udl_tf.imaging.rgb_files import image_size
from udl_tf.imaging.theta_map import write_map
from udl_tf.inference.jobs import MAP_TITLES, Job, Options
from udl_tf.inference.result import Upscaled
from udl_tf.inference.upscaler import Upscaler

_FLOAT = 4 * 3  # bytes per pixel of a float32 map


@dataclass
class Summary:
    """Outcome of the jobs.

    Attributes:
        done: number of results.
        failed: an error per file that failed, which names it.
        notes: lines about conversions, which name their file.
        pixels: of all results.
    """

    done: int = 0
    failed: list[UserError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixels: int = 0


def run_jobs(
    model: Upscaler,
    jobs: Sequence[Job],
    options: Options,
    progress: Progress = no_progress,
) -> Summary:
    """Upscales images: while one is computed, the next is read and the previous one written.

    Args:
        model: upscales the images.
        jobs: what plan_jobs returned.
        options: of all of them.
        progress: gets the LR pixels that are done.
    """
    summary = Summary()
    sizes = [_pixels(job, options) for job in jobs]
    total, before = sum(sizes), 0
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        behind: tuple[Job, Future] | None = None
        ahead = _read_ahead(reader, jobs, model.scale, options)
        for (job, reading), pixels in zip(ahead, sizes, strict=True):
            result = None
            with _noting_failure(job, summary):
                image = _in_known_depth(reading.result(), model)
                report = part_of(progress, before, pixels, total, job.source.name)
                result = upscale_file(model, image, options, report)
            _settle(behind, summary)
            behind = None
            if result is not None:
                behind = (job, writer.submit(write_job, job, image, result))
            before += pixels
        _settle(behind, summary)
    return summary


def _pixels(job: Job, options: Options) -> int:
    try:
        height, width = image_size(job.source, options.max_pixels)
    except UserError:  # reported when its turn comes
        return 0
    return height * width


def _in_known_depth(image: ImageFile, model: Upscaler) -> ImageFile:
    if not (model.eight_bit and image.pixels.dtype == np.uint16):
        return image
    note = "16-bit pixels computed in 8 bits: this model knows no more"
    return replace(image, notes=(*image.notes, note))


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], scale: int, options: Options
) -> Iterator[tuple[Job, Future]]:
    """Yields each job with its image to come; the next one is being read by then."""
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
        summary.failed.append(error)
    except Exception as error:  # whatever one file causes, the others are still upscaled
        summary.failed.append(UserError(f"{job.source}: {type(error).__name__}: {error}"))


def _settle(behind: tuple[Job, Future] | None, summary: Summary) -> None:
    """Waits until the previous result is written."""
    if behind is None:
        return
    job, writing = behind
    with _noting_failure(job, summary):
        notes, pixels = writing.result()
        summary.notes += [f"{job.source}: {note}" for note in notes]
        summary.pixels += pixels
        summary.done += 1


def read_job(job: Job, scale: int, options: Options) -> ImageFile:
    """Reads the image of a job.

    Raises:
        UserError: if it cannot be read, or is too large to be upscaled on this machine.
    """
    try:
        height, width = image_size(job.source, options.max_pixels)
    except UserError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return read_image(job.source, options.max_pixels)  # which knows more kinds
        raise
    needed, free = needed_memory(height, width, scale, options), free_memory()
    if needed > free:
        raise UserError(
            f"{job.source}: {width}x{height} pixels; x{scale} needs {needed / 1e9:.0f} GB of memory"
            f" and {free / 1e9:.0f} GB are free: cut it into parts"
        )
    return read_image(job.source, options.max_pixels)


def needed_memory(height: int, width: int, scale: int, options: Options) -> int:
    """Returns the bytes of a result, and of the float32 maps that exist at the same time."""
    maps = 2 if options.computes_theta else 1
    if options.averages:  # mean, squares and the member at hand
        maps *= 3
    return height * width * scale**2 * (4 + _FLOAT * maps)


def free_memory() -> int:
    """Returns the free memory of this machine, bytes."""
    return psutil.virtual_memory().available


def upscale_file(
    model: Upscaler,
    image: ImageFile,
    options: Options,
    progress: Progress = no_progress,
) -> Upscaled:
    """Upscales an image as the options ask: the result and its maps in the requested size."""
    result = model.upscale(
        image.pixels,
        uncertainty=options.computes_theta,
        self_ensemble=options.averages,
        tile=options.tile,
        memory_gb=options.memory_gb,
        progress=progress,
    )
    height, width = image.pixels.shape[:2]
    if options.size is not None:
        size = options.size[1], options.size[0]
    elif options.outscale is not None:
        size = max(1, round(height * options.outscale)), max(1, round(width * options.outscale))
    else:
        return result
    return result.resized(size)


def write_job(job: Job, image: ImageFile, result: Upscaled) -> tuple[list[str], int]:
    """Writes all files of a job; returns (notes, pixels of the result)."""
    notes = write_image(job.output, replace(image, pixels=result.image))
    for name, path in job.maps.items():
        write_map(path, getattr(result, name), MAP_TITLES[name])
    return [*image.notes, *notes], result.image.shape[0] * result.image.shape[1]
