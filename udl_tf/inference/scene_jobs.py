"""Jobs of scenes: which files are scenes, where the result goes, and its execution."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from udl_tf._support.progress import Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.inference.job_runner import Outcome
from udl_tf.inference.jobs import Job
from udl_tf.inference.passes import Wanted
from udl_tf.inference.scene_runner import SceneSummary, upscale_scene
from udl_tf.inference.targets import check_targets
from udl_tf.inference.upscaler import Upscaler
from udl_tf.scenes.image_scene import open_raster
from udl_tf.scenes.opening import Kind, is_georeferenced, scene_kind
from udl_tf.scenes.result_files import path_beside

_TIFF = (".tif", ".tiff")
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


def is_scene(path: Path) -> bool:
    """Returns whether an RGB model upscales a file as a scene.

    Those are files that are no images, such as a.npy and a.zarr, and TIFF files with georeference.
    Images other than TIFF are recognised by their names; only the other files are opened.
    """
    name = path.name.lower()
    if name.endswith(READABLE):
        return name.endswith(_TIFF) and is_georeferenced(path)
    kind = _kind(path)
    return kind is not None and (_TIFF[0] not in kind.suffixes or is_georeferenced(path))


def _kind(path: Path) -> Kind | None:
    """Returns the kind of a scene; None: not a scene, or it cannot be opened."""
    try:
        return scene_kind(path)
    except UserError:  # reported when the file is read
        return None


def plan_scene(source: Path, result: Path, options: SceneOptions) -> Job:
    """Plans the job for one scene, or for an image that is upscaled as one.

    Args:
        source: the file.
        result: file of the result, if it keeps the format of the source.
        options: of the job.
    """
    is_image = _kind(source) is None
    if is_image and result.suffix.lower() not in _KEPT:
        result = result.with_suffix(".png")
    others = {"flags": path_beside(result, "flags")}
    if options.theta == "beside":
        theta = path_beside(result, "theta")
        others["theta"] = theta.with_suffix(".tiff") if is_image else theta
    return Job(source, result, others, is_scene=True)


def run_scene(
    model: Upscaler, job: Job, options: SceneOptions, progress: Progress = no_progress
) -> Outcome:
    """Upscales a scene.

    Args:
        model: upscales it.
        job: what plan_scene returned.
        options: of the job.
        progress: as for upscale_scene.

    Returns:
        The outcome, whose notes contain the consistency of each channel.

    Raises:
        UserError: as upscale_scene, or if a target may not be replaced.
    """
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
    """Returns a line per channel with data: how the reduced result differs from the scene."""
    return [
        f"channel {number}: the reduced result differs from the input by {row['mean']:+.3g} on"
        f" average, {row['rms']:.3g} RMS (correlation {row['correlation']:.6f})"
        for number, row in enumerate(found.consistency, 1)
        if not math.isnan(row["mean"])  # as it is without data
    ]
