"""Jobs over files: which images to upscale, and where the results go."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from udl_tf.errors import UserError
from udl_tf.imaging.formats import WRITABLE
from udl_tf.imaging.theta_map import MAP_STYLES, MAP_TOP
from udl_tf.imaging.transparency import parse_color
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.inputs import Skipped, find_inputs
from udl_tf.inference.names import MAP_TITLES, result_names

MAX_PIXELS = 89_478_485
"""Default limit of input pixels; above it, Pillow warns of decompression bombs."""

UNCERTAINTY_FORMATS = ("none", "npy", "tiff", "png")


@dataclass(frozen=True)
class Options:
    """What is computed for each image, and how it is written.

    Attributes:
        format: suffix of the results without dot, or "same" as the input.
        outscale: size of the result divided by the input's; None: the model's scale.
        size: (width, height) of the result; None: by outscale.
        uncertainty: "none", or the format of the maps: "npy", "tiff" or "png".
        self_ensemble: whether to average the eight flips and rotations.
        ensemble: the same, with maps of theta, of the members' spread and of both together.
        consistent: as for Upscaler.upscale.
        tile, memory_gb: as for Upscaler.upscale.
        theta: whether to compute theta even if no map is written.
        max_pixels: limit of input pixels (protection against decompression bombs).
        value_range: black and white of files of floats; None: 0 and 255, with a note if the image
            is nearly black.
        overwrite: whether files that exist are replaced; None: only earlier results of this
            package, which carry a mark.
        background: colour behind transparent pixels in formats without alpha, a name or #rrggbb.
        theta_scale: grey levels of the brightest colour of png maps.
        map_style: "captioned" or "plain" png maps, as for write_map.
    """

    format: str = "same"
    outscale: float | None = None
    size: tuple[int, int] | None = None
    uncertainty: str = "none"
    self_ensemble: bool = False
    ensemble: bool = False
    consistent: bool = False
    tile: int | None = None
    memory_gb: float | None = None
    theta: bool = False
    max_pixels: int = MAX_PIXELS
    value_range: tuple[float, float] | None = None
    overwrite: bool | None = None
    background: str = "white"
    theta_scale: float = MAP_TOP
    map_style: str = "captioned"

    def __post_init__(self):
        if self.uncertainty not in UNCERTAINTY_FORMATS:
            known = ", ".join(UNCERTAINTY_FORMATS)
            raise UserError(f"uncertainty {self.uncertainty!r}: of images, expected one of {known}")
        if self.value_range is not None:
            ValueRange.of(self.value_range)  # raises if it is not one
        if self.map_style not in MAP_STYLES:
            known = " or ".join(MAP_STYLES)
            raise UserError(f"map style {self.map_style!r}: expected {known}", argument="map")
        if not 0 < self.theta_scale < math.inf:
            raise UserError(
                f"a scale of {self.theta_scale:g} grey levels: expected a positive number, such as"
                f" {MAP_TOP:g}",
                argument="theta_scale",
            )
        parse_color(self.background)

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that are written."""
        if self.uncertainty == "none":
            return ()
        return tuple(MAP_TITLES) if self.ensemble else ("theta",)

    @property
    def computes_theta(self) -> bool:
        """Whether theta is computed, for a map or for itself."""
        return self.theta or bool(self.maps)

    @property
    def averages(self) -> bool:
        """Whether the eight flips and rotations are averaged."""
        return self.self_ensemble or self.ensemble

    def result_size(self, height: int, width: int) -> tuple[int, int] | None:
        """Returns the (height, width) of the result of an image; None: as the model computes it."""
        if self.size is not None:
            return self.size[1], self.size[0]
        if self.outscale is not None:
            return max(1, round(height * self.outscale)), max(1, round(width * self.outscale))
        return None


@dataclass(frozen=True, eq=False)
class Job:
    """One image or scene.

    Attributes:
        source: its file.
        output: file of the result.
        maps: file of each map.
        is_scene: whether it is upscaled window by window, as a scene.
    """

    source: Path
    output: Path
    maps: dict[str, Path]
    is_scene: bool = False

    @property
    def targets(self) -> list[Path]:
        """Every file that the job writes."""
        return [self.output, *self.maps.values()]


@dataclass(frozen=True, eq=False)
class Plan(Sequence[Job]):
    """Sequence of jobs, with notes and what was skipped.

    Attributes:
        jobs: one per file.
        skipped: what the inputs contain apart from images to upscale.
        notes: lines on the names of the results.
    """

    jobs: tuple[Job, ...]
    skipped: Skipped
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: Any) -> Any:
        return self.jobs[index]


def plan_jobs(inputs: Sequence[Path | str], output: Path, options: Options) -> Plan:
    """Plans the jobs for files and, recursively, for folders, whose structure is preserved.

    A result has the name of its image. Where images would share a result or map, the names contain
    the suffix: of a.png and a.gif, the results are a.png and a.gif.png.

    Args:
        inputs: image files, and folders of them.
        output: folder for the results.
        options: of all jobs.

    Raises:
        UserError: if an input is missing or not a file, a folder holds no image, or two results, or
            an input and a result, would have the same name.
    """
    found = find_inputs(inputs, output)
    jobs, notes = plan_images(found.files, output, options)
    check_distinct(jobs)
    return Plan(tuple(jobs), found.skipped, notes)


def plan_images(
    files: Sequence[tuple[Path, Path]], output: Path, options: Options
) -> tuple[list[Job], tuple[str, ...]]:
    """Returns the jobs for (image, its path below the output folder), and lines on their names."""
    plain = [plan_job(file, place, output, options) for file, place in files]
    counts = Counter(target for job in plain for target in job.targets)
    # What follows the first dot does not matter: a.gif.png could be the result of a.gif in full.
    groups = [(place.parent, place.name.partition(".")[0]) for _, place in files]
    crowded = {
        group
        for group, job in zip(groups, plain, strict=True)
        if any(counts[target] > 1 for target in job.targets)
    }
    jobs = [
        plan_job(*pair, output, options, in_full=True) if group in crowded else job
        for group, job, pair in zip(groups, plain, files, strict=True)
    ]
    return jobs, tuple(_notes(plain, jobs, options))


def plan_job(file: Path, place: Path, output: Path, options: Options, in_full: bool = False) -> Job:
    """Plans the job for one file.

    Args:
        file: the image.
        place: its path below the output folder.
        output: folder for the results.
        options: of the job.
        in_full: as for result_names.
    """
    result, maps = result_names(place, options, in_full)
    return Job(file, output / result, {name: output / path for name, path in maps.items()})


def _notes(plain: Sequence[Job], jobs: Sequence[Job], options: Options) -> Iterator[str]:
    """Yields lines on results whose names or formats differ from the images'."""
    if options.format == "same":
        read_only = Counter(job.source.suffix.lower() for job in jobs)
        for suffix in sorted(read_only.keys() - set(WRITABLE)):
            kind = f"{suffix} images" if suffix else "images without a suffix"
            yield f"results of {kind} are .png ({read_only[suffix]} of {len(jobs)} images)"
    moved = [job for job, old in zip(jobs, plain, strict=True) if job.targets != old.targets]
    if moved:
        share = f"{len(moved)} of {len(jobs)} images"
        yield (
            "names of results contain the image's suffix where images would share a result or map,"
            f" such as {moved[0].targets[-1]} ({share})"
        )


def check_distinct(jobs: Sequence[Job]) -> None:
    """Raises UserError if a job would replace an input, or the result of another job."""
    real_folder = cache(os.path.realpath)

    def real(path: Path) -> str:
        return os.path.join(real_folder(path.parent), path.name)

    sources = {
        os.path.realpath(job.source) if job.source.is_symlink() else real(job.source)
        for job in jobs
    }
    owners: dict[str, Path] = {}
    for job in jobs:
        for target in job.targets:
            # A target that is a link is replaced itself, not the file that it links to.
            path = real(target)
            if path in sources:
                raise UserError(
                    f"{target}: the result would replace an input: choose another output folder",
                    argument="output",
                )
            if path in owners:
                raise UserError(
                    f"{job.source} and {owners[path]} would both become {target}: give the folder"
                    " that holds both, or upscale them separately"
                )
            owners[path] = job.source
