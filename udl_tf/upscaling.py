"""Upscales many files: reads ahead, computes, writes behind; a bad file is a line, not an end."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, UnidentifiedImageError

from udl_tf.errors import UserError
from udl_tf.image_io import SUFFIXES, image_size
from udl_tf.photo import Photo, read_photo, write_photo
from udl_tf.trust_map import MAP_SUFFIXES, write_map
from udl_tf.upscaled import Upscaled
from udl_tf.upscaler import Upscaler

_INPUT_SUFFIXES = (*SUFFIXES, ".gif")
_TITLES = {
    "theta": "theta, Laplace scale of the error",
    "spread": "spread of the eight members",
    "total": "theta and spread together",
}


UNCERTAINTY_FORMATS = ("none", "npy", "tiff", "png")


@dataclass(frozen=True)
class Options:
    """What to make of each picture.

    Attributes:
        format: suffix of the outputs without dot, or "same" as the input.
        outscale: size of the result over the input's; None: the model's scale.
        size: (width, height) of the result; None: by outscale.
        uncertainty: "none", or the format of the maps: "npy", "tiff" or "png".
        self_ensemble: mean over the eight flips and rotations.
        ensemble: the same, with maps of theta, of the members' spread and of both together.
        tile, memory_gb: as for Upscaler.upscale.
    """

    format: str = "same"
    outscale: float | None = None
    size: tuple[int, int] | None = None
    uncertainty: str = "none"
    self_ensemble: bool = False
    ensemble: bool = False
    tile: int | None = None
    memory_gb: float | None = None

    def __post_init__(self):
        if self.uncertainty not in UNCERTAINTY_FORMATS:
            known = ", ".join(UNCERTAINTY_FORMATS)
            raise UserError(f"uncertainty {self.uncertainty!r}: expected one of {known}")

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that are written."""
        if self.uncertainty == "none":
            return ()
        return tuple(_TITLES) if self.ensemble else ("theta",)


@dataclass(frozen=True, eq=False)
class Job:
    """One picture: where it is, where the result goes, where each map goes."""

    source: Path
    output: Path
    maps: dict[str, Path]

    @property
    def targets(self) -> list[Path]:
        """Every file that the job writes."""
        return [self.output, *self.maps.values()]


@dataclass
class Summary:
    """What became of the jobs; `failed` and `notes` are lines that name their file."""

    done: int = 0
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pixels: int = 0


def plan_jobs(inputs: Sequence[Path | str], output: Path, options: Options) -> list[Job]:
    """The jobs for some files and, recursively, folders, whose structure is kept.

    Raises:
        UserError: if an input is missing, a folder holds no picture, or two results or an input
            and a result would have one name.
    """
    found: list[tuple[Path, Path]] = []  # file, its place below the output folder
    for path in map(Path, inputs):
        if path.is_dir():
            files = [(file, file.relative_to(path)) for file in _files_below(path, output)]
            if not files:
                suffixes = " ".join(_INPUT_SUFFIXES)
                raise UserError(f"{path}: holds no picture; expected files ending in {suffixes}")
            found += files
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise UserError(f"{path}: no such file or folder: check the path")
    found = list(dict.fromkeys(found))
    names = [_result_name(place, options.format) for _, place in found]
    # Maps are named by the stem alone.
    keys = [name.with_suffix("") if options.maps else name for name in names]
    counts = Counter(keys)
    jobs = []
    for (file, place), name, key in zip(found, names, keys, strict=True):
        if counts[key] > 1:  # a.png and a.jpg
            name = _result_name(place.with_name(f"{place.name}{place.suffix}"), options.format)
        result = output / name
        suffix = MAP_SUFFIXES.get(options.uncertainty, "")
        maps = {m: result.with_name(f"{result.stem}_{m}{suffix}") for m in options.maps}
        jobs.append(Job(file, result, maps))
    _check_targets(jobs)
    return jobs


def _files_below(folder: Path, output: Path) -> list[Path]:
    """Pictures by suffix; hidden ones and those of the output folder are left out."""
    output, files = output.resolve(), []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and (here / f).resolve() != output
        )
        files += [
            here / name
            for name in sorted(names)
            if Path(name).suffix.lower() in _INPUT_SUFFIXES and not name.startswith(".")
        ]
    return files


def _result_name(place: Path, kind: str) -> Path:
    suffix = place.suffix.lower() if kind == "same" else f".{kind}"
    return place.with_suffix(suffix if suffix in SUFFIXES else ".png")


def _check_targets(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    for job in jobs:
        for target in job.targets:
            path = target.resolve()
            if path in sources:
                raise UserError(
                    f"{target}: the result would replace an input: choose another --output"
                )
            if path in owners:
                raise UserError(
                    f"{job.source} and {owners[path]} would both become {target}: give the folder"
                    " that holds both, or upscale them apart"
                )
            owners[path] = job.source


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
                made = _make(model, photo, options, lambda share, job=job: progress(job, share))
            _settle(behind, summary)
            behind = None
            if made is not None:
                behind = (job, writer.submit(_write, job, photo, made))
        _settle(behind, summary)
    return summary


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], scale: int, options: Options
) -> Iterator[tuple[Job, Future]]:
    """Each job with its photo to come; the next one's is being read by then."""
    following = None
    for job, after in pairwise([*jobs, None]):
        assert job is not None
        current = following or pool.submit(_read, job, scale, options)
        following = after and pool.submit(_read, after, scale, options)
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


def _read(job: Job, scale: int, options: Options) -> Photo:
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
    # The picture with alpha, and beside it float32 maps of three channels.
    maps = (2 + len(options.maps)) if options.ensemble or options.self_ensemble else 1
    needed = height * width * scale**2 * (4 + (12 * maps if options.maps else 0))
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{job.source}: {width}x{height} pixels; x{scale} needs {needed / 1e9:.0f} GB of memory"
            f" and {free / 1e9:.0f} GB are free: cut it into parts"
        )
    return read_photo(job.source)


def _make(
    model: Upscaler, photo: Photo, options: Options, progress: Callable[[float], None]
) -> Upscaled:
    made = model.upscale(
        photo.pixels,
        uncertainty=bool(options.maps),
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


def _write(job: Job, photo: Photo, made: Upscaled) -> tuple[list[str], int]:
    """Writes all files of a job; returns (notes, pixels of the result)."""
    notes = write_photo(job.output, replace(photo, pixels=made.image))
    for name, path in job.maps.items():
        write_map(path, getattr(made, name), _TITLES[name])
    return [*photo.notes, *notes], made.image.shape[0] * made.image.shape[1]
