"""Upscaling of many files: reads ahead, writes behind, and continues after a file that fails."""

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

_COLOR = 3 * 1  # bytes per pixel of an 8-bit RGB image
_FLOAT = 3 * 4  # of a float32 map


@dataclass
class Summary:
    """Outcome of the jobs.

    Attributes:
        done: number of results.
        failed: one error per file that failed, which names the file.
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
        options: of all jobs.
        progress: receives the LR pixels that are done, those of failed files included.
    """
    summary = Summary()
    sizes = [_pixels(job, options) for job in jobs]
    total, before = sum(sizes), 0
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        behind: tuple[Job, Future] | None = None
        ahead = _read_ahead(reader, jobs, model.scale, options)
        for (job, reading), pixels in zip(ahead, sizes, strict=True):
            progress(before, total, job.source.name)  # the label, while the file is read
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
            progress(before, total, job.source.name)  # even if the file failed
        _settle(behind, summary)
    return summary


def _pixels(job: Job, options: Options) -> int:
    """Returns the LR pixels of a job; 0 if its header cannot be read."""
    try:
        height, width = image_size(job.source, options.max_pixels)
    except UserError:  # reported when the file is read
        return 0
    return height * width


def _in_known_depth(image: ImageFile, model: Upscaler) -> ImageFile:
    """Adds a note to 16-bit images of a model that computes in 8 bits."""
    if not (model.eight_bit and image.pixels.dtype == np.uint16):
        return image
    note = "16-bit pixels computed in 8 bits: this model supports no more"
    return replace(image, notes=(*image.notes, note))


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], scale: int, options: Options
) -> Iterator[tuple[Job, Future]]:
    """Yields each job with its image to come, while the next one is already being read."""
    following = None
    for job, after in pairwise([*jobs, None]):
        assert job is not None
        current = following or pool.submit(read_job, job, scale, options)
        following = after and pool.submit(read_job, after, scale, options)
        yield job, current


@contextmanager
def _noting_failure(job: Job, summary: Summary) -> Iterator[None]:
    """Adds an exception inside the block to the failures."""
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
            return read_image(job.source, options.max_pixels)  # which knows more formats
        raise
    needed, free = needed_memory(height, width, scale, options), free_memory()
    if needed > free:
        raise UserError(
            f"{job.source}: {width}x{height} pixels; the result needs {needed / 1e9:.1f} GB of"
            f" memory, {free / 1e9:.1f} GB are free: cut the image into parts"
        )
    return read_image(job.source, options.max_pixels)


def needed_memory(height: int, width: int, scale: int, options: Options) -> int:
    """Estimates the bytes that an 8-bit RGB image needs at the peak, without working memory.

    Args:
        height, width: of the input.
        scale: of the model.
        options: of the job.
    """
    pixels, results = height * width, height * width * scale**2
    maps = 2 if options.computes_theta else 1
    if options.averages:  # the means, one member's maps, and the squared deviations of sr
        kept, copies = (2 * maps + 1) * _FLOAT, 3
    else:
        kept, copies = _COLOR + maps * _FLOAT, 2
    # Copies of the LR image in float32: as it is, with its mirrored border, and turned.
    needed = pixels * (_COLOR + copies * _FLOAT) + results * kept
    return max(needed, _resizing_memory(height, width, scale, options))


def _resizing_memory(height: int, width: int, scale: int, options: Options) -> int:
    """Estimates the bytes for resizing the result to the size that the options ask for."""
    size = _result_size(height, width, options)
    if size is None:
        return 0
    maps = int(options.computes_theta) + int(options.averages)
    result = _COLOR + maps * _FLOAT
    copy = _FLOAT if maps else _COLOR  # of what is being resized
    return result * height * width * scale**2 + (result + copy) * size[0] * size[1]


def free_memory() -> int:
    """Returns the free memory of this machine, bytes."""
    return psutil.virtual_memory().available


def upscale_file(
    model: Upscaler,
    image: ImageFile,
    options: Options,
    progress: Progress = no_progress,
) -> Upscaled:
    """Upscales an image as the options ask; the result and its maps have the requested size."""
    result = model.upscale(
        image.pixels,
        uncertainty=options.computes_theta,
        self_ensemble=options.averages,
        tile=options.tile,
        memory_gb=options.memory_gb,
        progress=progress,
    )
    height, width = image.pixels.shape[:2]
    size = _result_size(height, width, options)
    return result if size is None else result.resized(size)


def _result_size(height: int, width: int, options: Options) -> tuple[int, int] | None:
    """Returns the (height, width) that the options ask for; None: as the model computes it."""
    if options.size is not None:
        return options.size[1], options.size[0]
    if options.outscale is not None:
        return max(1, round(height * options.outscale)), max(1, round(width * options.outscale))
    return None


def write_job(job: Job, image: ImageFile, result: Upscaled) -> tuple[list[str], int]:
    """Writes all files of a job.

    Returns:
        (notes on conversions, pixels of the result).
    """
    notes = write_image(job.output, replace(image, pixels=result.image))
    for name, path in job.maps.items():
        write_map(path, getattr(result, name), MAP_TITLES[name])
    return [*image.notes, *notes], result.image.shape[0] * result.image.shape[1]
