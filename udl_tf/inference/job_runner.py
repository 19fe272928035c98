"""Upscaling of many files: several at a time, in bounded memory; some may fail."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from udl_tf._support.device_memory import free_memory
from udl_tf._support.progress import Counter, Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import FULL_RANGE
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import check_format, write_image
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.theta_map import write_map
from udl_tf.inference.job_memory import needed_memory
from udl_tf.inference.jobs import Job, Options
from udl_tf.inference.legend import legend
from udl_tf.inference.names import MAP_TITLES
from udl_tf.inference.result import Upscaled
from udl_tf.inference.targets import check_targets
from udl_tf.inference.upscaler import Upscaler, check_takes_images, upscaler_of

# Images in progress: enough to fill a batch while others are read and written. Models that compute
# one image at a time: one that is read, one that is computed and one that is written.
_SHARING, _BY_TURNS = 16, 3


@dataclass
class Summary:
    """Outcome of the jobs.

    Attributes:
        done: number of results.
        replaced: number of them that replaced a file.
        failed: one error per job that failed, which names its input or one of its targets.
        notes: lines about conversions and lack of memory, which name their file.
        pixels: of all results.
        first: seconds until the first successful job, in order, was written, including compilation;
            None: no result.
    """

    done: int = 0
    replaced: int = 0
    failed: list[UserError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixels: int = 0
    first: float | None = None

    def add(self, other: "Summary") -> None:
        """Adds the outcome of further jobs."""
        self.done += other.done
        self.replaced += other.replaced
        self.failed += other.failed
        self.notes += other.notes
        self.pixels += other.pixels
        self.first = self.first if self.first is not None else other.first


@dataclass(frozen=True)
class Outcome:
    """Outcome of a job: notes, pixels of the result, time.perf_counter() at the end."""

    notes: list[str]
    pixels: int
    replaced: bool
    end: float


def run_jobs(
    model: Upscaler,
    jobs: Sequence[Job],
    options: Options,
    progress: Progress = no_progress,
) -> Summary:
    """Upscales images, several at a time: while some are computed, others are read and written.

    Small images share batches if the model supports it. Images that together
    need more than half of the free memory are not upscaled at the same time.

    Args:
        model: upscales the images; an Upscaler or an SRModel, not one of measurements.
        jobs: what plan_jobs returned.
        options: of all jobs.
        progress: receives the LR pixels that are done, those of failed files included.

    Returns:
        Results, notes and failures in the order of the jobs.

    Raises:
        UserError: if the model has a value range of its own: see `run_scenes`.
    """
    model, summary, begin = upscaler_of(model), Summary(), time.perf_counter()
    check_takes_images(model, repr(model))
    sizes = [_size(job, options) for job in jobs]
    counter = Counter(progress, sum(height * width for height, width in sizes))
    most, turn = (_SHARING, nullcontext()) if model.thread_safe else (_BY_TURNS, threading.Lock())
    room, stop = free_memory() / 2, threading.Event()
    running: deque[tuple[Job, Callable[[], Outcome], int]] = deque()
    with ThreadPoolExecutor(most) as pool:
        try:
            for job, (height, width) in zip(jobs, sizes, strict=True):
                needed = needed_memory(height, width, model.scale, options, model.channels)
                while running and (
                    len(running) == most or needed + sum(n for _, _, n in running) > room
                ):
                    settle(*running.popleft()[:2], summary, begin)
                report = _JobProgress(counter, height * width, job.source.name, stop)
                done = pool.submit(_run, model, job, options, turn, report)
                running.append((job, done.result, needed))
            while running:
                settle(*running.popleft()[:2], summary, begin)
        finally:
            stop.set()  # after an interruption, the images in progress end with their next tile
    return summary


def _size(job: Job, options: Options) -> tuple[int, int]:
    """Returns height and width of a job's image; zeros if its header cannot be read."""
    try:
        return image_size(job.source, options.max_pixels)
    except UserError:  # reported when the file is read
        return 0, 0


class _JobProgress:
    """Adds the progress of one image to that of all.

    Args:
        counter: of all images, in LR pixels.
        pixels: of the image.
        name: label of the image.
        stop: once it is set, the next report raises CancelledError.
    """

    def __init__(self, counter: Counter, pixels: int, name: str, stop: threading.Event):
        self._counter, self._pixels, self._name, self._stop = counter, pixels, name, stop
        self._reported = 0

    def __call__(self, done: float, total: float | None, label: str = "") -> None:
        if self._stop.is_set():
            raise CancelledError
        pixels = int(self._pixels * done / (total or 1))
        self._counter.add(pixels - self._reported, self._name)
        self._reported = pixels


def _run(
    model: Upscaler,
    job: Job,
    options: Options,
    turn: AbstractContextManager,
    report: _JobProgress,
) -> Outcome:
    """Reads, upscales and writes an image; `turn` is held while the model computes."""
    try:
        report(0, 1)  # the label, while the file is read
        replaces = check_targets(job, options.overwrite)
        image = read_job(job, model.scale, options, model.channels)
        image = _in_known_depth(image, model)
        with turn:
            result = upscale_file(model, image, options, report)
        notes, pixels = write_job(job, image, result, options)
    finally:
        report(1, 1)  # even if the file failed
    return Outcome(notes, pixels, replaces, time.perf_counter())


def settle(job: Job, finish: Callable[[], Outcome], summary: Summary, begin: float) -> None:
    """Adds the outcome of a job to the summary, or its failure.

    Args:
        job: the job.
        finish: does the job, or waits for it.
        summary: of all jobs so far.
        begin: time.perf_counter() at the start of all jobs.
    """
    try:
        found = finish()
    except UserError as error:
        # Errors of reading and writing name their file, those of the model do not.
        if not any(str(path) in str(error) for path in (job.source, *job.targets)):
            error = UserError(f"{job.source}: {error}", error.argument)
        summary.failed.append(error)
    except Exception as error:  # whatever one file causes, the others are still upscaled
        summary.failed.append(UserError(f"{job.source}: {type(error).__name__}: {error}"))
    else:
        summary.notes += [f"{job.source}: {note}" for note in found.notes]
        summary.pixels += found.pixels
        summary.done += 1
        summary.replaced += found.replaced
        summary.first = summary.first or found.end - begin


def _in_known_depth(image: ImageFile, model: Upscaler) -> ImageFile:
    """Adds a note to 16-bit images of a model that computes in 8 bits."""
    if not (model.eight_bit and image.pixels.dtype == np.uint16):
        return image
    note = "16-bit pixels computed in 8 bits: this model supports no more"
    return replace(image, notes=(*image.notes, note))


def read_job(
    job: Job, scale: int, options: Options, channels: int = 3, shown: int = 0
) -> ImageFile:
    """Reads the image of a job.

    Args:
        job: the job.
        scale, channels: of the model.
        options: of the job.
        shown: bytes per pixel of the result that showing it needs.

    Raises:
        UserError: if it cannot be read, or its result is too large for this machine or the format.
    """
    height, width = image_size(job.source, options.max_pixels)
    size = options.result_size(height, width) or (scale * height, scale * width)
    check_format(job.output.suffix, size[1], size[0], job.source)
    needed, free = needed_memory(height, width, scale, options, channels), free_memory()
    needed = max(needed, shown * size[0] * size[1])
    if needed > free:
        resized = options.result_size(height, width) is not None
        fix = "choose a smaller result" if resized else "cut the image into parts"
        raise UserError(
            f"{job.source}: {width}x{height} pixels; the result needs {needed / 1e9:.1f} GB of"
            f" memory, {free / 1e9:.1f} GB are free: {fix}"
        )
    return read_image(job.source, options.max_pixels, options.value_range)


def upscale_file(
    model: Upscaler,
    image: ImageFile,
    options: Options,
    progress: Progress = no_progress,
) -> Upscaled:
    """Upscales an image as the options ask; the result and its maps have the requested size."""
    is_float = image.pixels.dtype == np.float32
    result = model.upscale(
        image.pixels,
        value_range=FULL_RANGE if is_float else None,  # grey levels, as read
        uncertainty=options.computes_theta,
        self_ensemble=options.averages,
        consistent=options.consistent,
        tile=options.tile,
        memory_gb=options.memory_gb,
        progress=progress,
    )
    height, width = image.pixels.shape[:2]
    size = options.result_size(height, width)
    return result if size is None else result.resized(size)


def write_job(
    job: Job, image: ImageFile, result: Upscaled, options: Options
) -> tuple[list[str], int]:
    """Writes all files of a job.

    Returns:
        (notes on conversions and on the computation, pixels of the result).
    """
    notes = write_image(job.output, replace(image, pixels=result.image), options.background)
    for name, path in job.maps.items():
        values, title = getattr(result, name), MAP_TITLES[name]
        has_legend = name == "theta" and path.suffix == ".png" and options.map_style == "captioned"
        lines = legend(result, options.theta_scale / 2) if has_legend else ()
        write_map(path, values, title, lines, options.theta_scale, options.map_style)
    return [*image.notes, *result.notes, *notes], result.image.shape[0] * result.image.shape[1]
