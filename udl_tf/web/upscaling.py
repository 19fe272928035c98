"""Upscaling of an uploaded image: the files of `udl-tf upscale`, and the data of the page."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from udl_tf._support.progress import Progress, part_of
from udl_tf.errors import UserError
from udl_tf.imaging.theta_map import write_map
from udl_tf.inference.job_runner import read_job, upscale_file, write_job
from udl_tf.inference.jobs import Options, plan_job
from udl_tf.inference.names import MAP_TITLES
from udl_tf.inference.upscaler import Upscaler
from udl_tf.uncertainty.laplace import expected_psnr
from udl_tf.web.uploads import MOST_PIXELS, Upload, without_folder
from udl_tf.web.views import LEVEL, Comparison, View, compare, shares_wider

_COMPUTING = 0.9  # share of the progress; the rest is writing

# Bytes per pixel of a result in memory, at the peak: the image and bicubic interpolation; theta and
# the width of the intervals; what compares and reduces them, Pillow's copies included.
_IMAGES, _MAPS, _SHOWING = 6, 16, 16
_STORED = 40  # bytes per pixel on disk, at most: the same arrays, theta as TIFF, two images


@dataclass(frozen=True)
class Theta:
    """Theta of a result, in summary.

    Attributes:
        map: file of theta in colour.
        values: TIFF file of the numbers.
        mean: grey levels.
        psnr: predicted, dB.
        shares: see views.shares_wider; None without calibration.
        factor: half width of the intervals that contain nine of ten values, in theta; likewise.
    """

    map: Path
    values: Path
    mean: float
    psnr: float
    shares: np.ndarray | None
    factor: float | None


@dataclass(frozen=True)
class Outcome:
    """A result with the data that the page shows.

    Attributes:
        comparison: the result beside bicubic interpolation, mapped from files.
        whole: its view of the whole image.
        image: file of the result, equal to that of `udl-tf upscale`.
        theta: of the result; None without uncertainty.
        notes: what was converted or could not be stored.
    """

    comparison: Comparison
    whole: View
    image: Path
    theta: Theta | None
    notes: tuple[str, ...]


def upscale_upload(
    model: Upscaler, upload: Upload, outscale: float, folder: Path, progress: Progress
) -> Outcome:
    """Upscales an uploaded image; writes the files to download and those to show.

    Args:
        model: the trained model.
        upload: the image.
        outscale: size of the result divided by that of the upload.
        folder: for all files; empty.
        progress: receives the share that is done.

    Raises:
        UserError: if the image cannot be upscaled; names the upload without its folder.
    """
    options = Options(
        outscale=None if outscale == model.scale else outscale,
        uncertainty="png" if model.has_uncertainty else "none",
        max_pixels=MOST_PIXELS,
    )
    job = plan_job(upload.path, Path(upload.path.name), folder, options)
    shown = _IMAGES + _SHOWING + (_MAPS if model.has_uncertainty else 0)
    computing = part_of(progress, 0.0, _COMPUTING, 1.0, "Upscaling")
    try:
        image = read_job(job, model.scale, options, shown=shown)
        result = upscale_file(model, image, options, computing)
        progress(_COMPUTING, 1.0, "Writing the files")
        notes, _ = write_job(job, image, result, options)
    except UserError as error:
        raise without_folder(error, upload.path) from error
    comparison = compare(image.pixels, result)
    theta = None if result.theta is None else _write_theta(comparison, job.maps["theta"])
    progress(1.0, 1.0, "Writing the files")
    return Outcome(
        comparison.stored(folder),
        comparison.whole(),
        job.output,
        theta,
        tuple(dict.fromkeys(notes)),
    )


def stored_size(upload: Upload, outscale: float) -> int:
    """Returns the bytes that the files of a result need at most."""
    return int(_STORED * upload.height * upload.width * outscale**2)


def _write_theta(comparison: Comparison, colored: Path) -> Theta:
    """Writes theta as numbers, beside the map in colour, and returns its summary."""
    result, width = comparison.upscaled, comparison.width
    assert result.theta is not None
    values = colored.with_suffix(".tiff")
    write_map(values, result.theta, MAP_TITLES["theta"])
    calibration = result.calibration
    return Theta(
        colored,
        values,
        mean=float(result.theta.mean()),
        psnr=expected_psnr(result.theta),
        shares=None if width is None else shares_wider(width),
        factor=None if calibration is None else float(calibration.quantile(LEVEL).mean()),
    )
