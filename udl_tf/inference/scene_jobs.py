"""Jobs over scenes: which files, where results go, and their execution one after another."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from udl_tf._support.progress import Progress, no_progress, part_of
from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.inference.inputs import find_inputs
from udl_tf.inference.job_runner import Outcome, Summary, settle
from udl_tf.inference.jobs import Job, Plan
from udl_tf.inference.passes import Wanted
from udl_tf.inference.scene_runner import SceneSummary, upscale_scene
from udl_tf.inference.targets import check_targets
from udl_tf.inference.upscaler import Upscaler
from udl_tf.scenes.image_scene import open_raster
from udl_tf.scenes.opening import scene_kind, scene_suffixes
from udl_tf.scenes.result_files import path_beside

SUFFIXES = tuple(dict.fromkeys((*READABLE, *scene_suffixes())))
"""Suffixes, in lower case, of all files that can be upscaled as scenes."""

_KEPT = (".png", ".tif", ".tiff")  # images whose results have the same format; of others it is PNG


@dataclass(frozen=True)
class SceneOptions:
    """What is computed of each scene.

    Attributes:
        theta: "beside" the result, in a file of the same format, as "bands" of it, or "none".
        self_ensemble, consistent, tile, value_range: as for Upscaler.upscale.
        memory_gb: as for upscale_scene.
        nodata: value of pixels without data; None: as each file declares.
        overwrite: as in udl_tf.inference.jobs.Options.
    """

    theta: str = "beside"
    self_ensemble: bool = False
    consistent: bool = False
    tile: int | None = None
    memory_gb: float | None = None
    value_range: tuple[float, float] | None = None
    nodata: float | None = None
    overwrite: bool | None = None

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that are written; flags are in any case."""
        return () if self.theta == "none" else ("theta",)


def is_scene_only(path: Path | str) -> bool:
    """Returns whether a name is that of a scene that is not an image, such as a.npy or a.zarr."""
    name = str(path).lower().rstrip("/\\")
    return name.endswith(scene_suffixes()) and not name.endswith(READABLE)


def holds_scenes(inputs: Sequence[Path | str]) -> bool:
    """Returns whether files that are only scenes are among the inputs or in their folders."""
    files = (file for path in inputs for file in (Path(path), *Path(path).rglob("*")))
    return any(map(is_scene_only, files))


def plan_scenes(inputs: Sequence[Path | str], output: Path, options: SceneOptions) -> Plan:
    """Plans the jobs for scenes and, recursively, for folders, whose structure is preserved.

    Args:
        inputs: scenes and images, and folders of them.
        output: folder for the results.
        options: of all jobs.

    Raises:
        UserError: as udl_tf.inference.jobs.plan_jobs.
    """
    found = find_inputs(inputs, output, SUFFIXES)
    jobs, owners = [], dict[Path, Path]()
    for source, place in found.files:
        job = _plan(source, output / place, options)
        for target in job.targets:
            if target.absolute() in (source.absolute() for source, _ in found.files):
                raise UserError(
                    f"{target}: the result would replace an input: choose another output folder",
                    argument="output",
                )
            if owners.setdefault(target, source) is not source:
                raise UserError(
                    f"{source} and {owners[target]} would both become {target}: upscale them"
                    " separately"
                )
        jobs.append(job)
    return Plan(tuple(jobs), found.skipped, ())


def _plan(source: Path, result: Path, options: SceneOptions) -> Job:
    """Returns the job of a file whose result, if its format is kept, is `result`."""
    is_image = scene_kind(source) is None
    if is_image and result.suffix.lower() not in _KEPT:
        result = result.with_suffix(".png")
    others = {"flags": path_beside(result, "flags")}
    if options.theta == "beside":
        theta = path_beside(result, "theta")
        others["theta"] = theta.with_suffix(".tiff") if is_image else theta
    return Job(source, result, others)


def run_scenes(
    model: Upscaler,
    jobs: Sequence[Job],
    options: SceneOptions,
    progress: Progress = no_progress,
) -> Summary:
    """Upscales scenes one after another; if one fails, the others are still upscaled.

    Args:
        model: upscales them.
        jobs: what plan_scenes returned.
        options: of all jobs.
        progress: receives the scenes that are done.

    Returns:
        Results, notes (among them the consistency of each channel) and failures.
    """
    summary, begin = Summary(), time.perf_counter()
    for index, job in enumerate(jobs):
        part = part_of(progress, index, 1, len(jobs))
        settle(job, partial(_run, model, job, options, part), summary, begin)
    return summary


def _run(model: Upscaler, job: Job, options: SceneOptions, progress: Progress) -> Outcome:
    """Upscales a scene."""
    replaces = check_targets(job, options.overwrite)
    theta = job.output if options.theta == "bands" else job.maps.get("theta")
    with open_raster(job.source, options.nodata) as scene:
        found = upscale_scene(
            model,
            scene,
            job.output,
            theta,
            Wanted(True, options.self_ensemble, options.consistent),
            options.memory_gb,
            options.tile,
            options.value_range,
            progress,
        )
        pixels = scene.planes * scene.height * scene.width * model.scale**2
    notes = [*found.notes, *_consistency_lines(found)]
    return Outcome(notes, pixels, replaces, time.perf_counter())


def _consistency_lines(found: SceneSummary) -> list[str]:
    """Returns a line per channel with data: how the degraded result differs from the scene."""
    return [
        f"channel {number}: the degraded result differs from the input by {row['mean']:+.3g} on"
        f" average, {row['rms']:.3g} RMS (correlation {row['correlation']:.6f})"
        for number, row in enumerate(found.consistency, 1)
        if not math.isnan(row["mean"])  # as it is without data
    ]
