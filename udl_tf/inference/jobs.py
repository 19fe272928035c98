"""Jobs over files: which images to upscale, and where the results go."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import SUFFIXES
from udl_tf.imaging.theta_map import MAP_SUFFIXES
from udl_tf.imaging.transparency import parse_color

INPUT_SUFFIXES = (*SUFFIXES, ".gif")
MAP_TITLES = {
    "theta": "theta, Laplace scale of the error",
    "spread": "spread of the eight members",
    "total": "theta and spread together",
}
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
        tile, memory_gb: as for Upscaler.upscale.
        theta: whether to compute theta even if no map is written.
        max_pixels: limit of input pixels (protection against decompression bombs).
        background: colour behind transparent pixels in formats without alpha, a name or #rrggbb.
    """

    format: str = "same"
    outscale: float | None = None
    size: tuple[int, int] | None = None
    uncertainty: str = "none"
    self_ensemble: bool = False
    ensemble: bool = False
    tile: int | None = None
    memory_gb: float | None = None
    theta: bool = False
    max_pixels: int = MAX_PIXELS
    background: str = "white"

    def __post_init__(self):
        if self.uncertainty not in UNCERTAINTY_FORMATS:
            known = ", ".join(UNCERTAINTY_FORMATS)
            raise UserError(f"uncertainty {self.uncertainty!r}: expected one of {known}")
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


@dataclass(frozen=True, eq=False)
class Job:
    """One image: its file, the file of the result, and the file of each map."""

    source: Path
    output: Path
    maps: dict[str, Path]

    @property
    def targets(self) -> list[Path]:
        """Every file that the job writes."""
        return [self.output, *self.maps.values()]


def plan_jobs(inputs: Sequence[Path | str], output: Path, options: Options) -> list[Job]:
    """Plans the jobs for files and, recursively, for folders, whose structure is preserved.

    Args:
        inputs: image files, and folders of them.
        output: folder for the results.
        options: of all jobs.

    Raises:
        UserError: if an input is missing, a folder holds no image, or two results, or an input and
            a result, would have the same name.
    """
    found = _find(inputs, output)
    names = [result_name(place, options.format) for _, place in found]
    # Maps are named by the stem: files that differ in their suffix alone would share their maps.
    keys = [name.with_suffix("") if options.maps else name for name in names]
    counts = Counter(keys)
    jobs = []
    for (file, place), name, key in zip(found, names, keys, strict=True):
        if counts[key] > 1:  # a.png and a.jpg become a.png.png and a.jpg.png
            name = result_name(place.with_name(f"{place.name}{place.suffix}"), options.format)
        result = output / name
        suffix = MAP_SUFFIXES.get(options.uncertainty, "")
        maps = {m: result.with_name(f"{result.stem}_{m}{suffix}") for m in options.maps}
        jobs.append(Job(file, result, maps))
    _check_targets(jobs)
    return jobs


def _find(inputs: Sequence[Path | str], output: Path) -> list[tuple[Path, Path]]:
    """Returns (file, its path below the output folder) of each image, once."""
    found: list[tuple[Path, Path]] = []
    for path in map(Path, inputs):
        if path.is_dir():
            files = [(file, file.relative_to(path)) for file in _files_below(path, output)]
            if not files:
                suffixes = " ".join(INPUT_SUFFIXES)
                raise UserError(f"{path}: holds no image; expected files ending in {suffixes}")
            found += files
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise UserError(f"{path}: no such file or folder: check the path")
    return list(dict.fromkeys(found))


def _files_below(folder: Path, output: Path) -> list[Path]:
    """Finds images by suffix, except hidden files and those of the output folder."""
    output, files = output.resolve(), []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and (here / f).resolve() != output
        )
        files += [
            here / name
            for name in sorted(names)
            if Path(name).suffix.lower() in INPUT_SUFFIXES and not name.startswith(".")
        ]
    return files


def result_name(place: Path, kind: str) -> Path:
    """Returns the name of a result.

    Args:
        place: path of the input, relative to its folder.
        kind: suffix without dot, or "same" as the input; PNG for formats that are read only.
    """
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
                    f"{target}: the result would replace an input: choose another output folder",
                    argument="output",
                )
            if path in owners:
                raise UserError(
                    f"{job.source} and {owners[path]} would both become {target}: give the folder"
                    " that holds both, or upscale them separately"
                )
            owners[path] = job.source
