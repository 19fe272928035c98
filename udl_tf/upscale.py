"""Upscales images, and predicts theta, the scale of the error of each pixel (its uncertainty).

    udl-tf upscale photo.jpg

writes upscaled/photo.jpg, four times as wide and high, and a map of theta next to it. Folders are
searched recursively, and their structure is preserved. If a file fails, the others are still
upscaled; failed files are listed at the end, and the exit code is 1.
"""

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.imaging.formats import WRITABLE
from udl_tf.imaging.theta_map import MAP_STYLES, MAP_TOP

if TYPE_CHECKING:
    from udl_tf.inference import Options, Upscaler
    from udl_tf.inference.job_runner import Summary
    from udl_tf.inference.jobs import Job, Plan

FLAGS = {"max_pixels": "--max-megapixels"}
_LONG = 10.0  # s; after longer runs, the faster option is named


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    output = Path(options.output)
    check_backend("tensorflow", "jax")
    if output.is_file():
        raise UserError(f"--output {output}: is a file; expected a folder")
    # Before the model is loaded, which takes seconds; assumes that it has uncertainty.
    chosen, plan = _plan(options, has_uncertainty=True)
    if options.skip_existing and not _without_existing(plan):
        _report_plan(plan)
        print(f"0 of {len(plan)} images upscaled, {len(plan)} already existed (skipped): {output}")
        if plan.skipped.failed:
            sys.exit(1)
        return
    model, loading = _load(options)
    if not model.has_uncertainty:
        chosen, plan = _plan(options, has_uncertainty=False)
    _check_uncertainty(options.model, model, chosen)
    _report_resampling(options, model.scale)
    output.mkdir(parents=True, exist_ok=True)
    left = _without_existing(plan) if options.skip_existing else plan
    from udl_tf.inference import run_jobs

    start = time.monotonic()
    with command_line.progress_bar("megapixels", 1e-6) as progress:
        summary = run_jobs(model, left, chosen, progress)
    seconds = time.monotonic() - start
    if summary.first is not None:
        first = f"first result {summary.first:.1f} s later (including compilation)"
        print(f"model loaded in {loading:.1f} s; {first}")
    _report_plan(plan)
    skipped = len(plan) - len(left) if options.skip_existing else None
    failed = len(summary.failed) + len(plan.skipped.failed)
    _report(summary, len(plan), skipped, failed, seconds, output)
    if chosen.maps == ("theta",) and options.uncertainty is None and seconds > _LONG:
        print("--uncertainty none is faster: it omits theta")
    if failed:
        sys.exit(1)


def _load(options: argparse.Namespace) -> "tuple[Upscaler, float]":
    """Returns the model and the seconds that loading took."""
    start = time.monotonic()
    with quiet():
        from udl_tf._support.hardware import use_cores
        from udl_tf.saved.loading import load_upscaler

        use_cores()
        model = load_upscaler(options.model, options.precision)
    loading = time.monotonic() - start
    if options.precision != "float32":
        from udl_tf.evaluation.precision import precision_note

        print(precision_note(options.model, model))
    return model, loading


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line.make_parser("udl-tf upscale", __doc__)
    parser.add_argument("input", nargs="+", help="image files, and folders of them")
    parser.add_argument(
        "--model",
        help=f"{command_line.MODEL_HELP} (default: the edsr_s preset with the smallest"
        " scale that is at least --outscale)",
    )
    _add_result(parser)
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average the results of the eight flips and rotations: slightly better, eight times"
        " slower",
    )
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="like --self-ensemble, and also write two maps: the spread of the eight results,"
        " and theta and spread combined",
    )
    _add_limits(parser)
    command_line.add_precision(parser)
    _add_existing(parser)
    options = parser.parse_args(arguments)
    if options.ensemble and options.uncertainty == "none":
        raise UserError("--ensemble splits the uncertainty: use --uncertainty npy, tiff or png")
    command_line.check_positive(options, "tile", "memory", "max_megapixels", "theta_scale")
    options.outscale, options.size = _outscale(options.outscale), _size(options.size)
    options.model = options.model or presets.default_preset(options.outscale)
    return options


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options of tiles, memory and what is accepted as input."""
    parser.add_argument(
        "--tile",
        type=int,
        help="side of the tiles in input pixels (default: auto); small tiles are slower",
    )
    parser.add_argument("--memory", type=float, metavar="GB", help="working memory (default: auto)")
    parser.add_argument(
        "--max-megapixels", type=float, metavar="MP", help=command_line.MAX_MEGAPIXELS_HELP
    )


def _add_existing(parser: argparse.ArgumentParser) -> None:
    """Adds the options on results that already exist."""
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="skip images whose result and maps already exist",
    )
    parser.add_argument(
        "--overwrite",
        action=argparse.BooleanOptionalAction,
        help="replace any file, or no file (default: replace earlier results of udl_tf)",
    )


def _add_result(parser: argparse.ArgumentParser) -> None:
    """Adds the options of place, format and size of the results."""
    parser.add_argument(
        "--output", default="upscaled", help="folder for the results (default: upscaled)"
    )
    formats = ["same", *(suffix.removeprefix(".") for suffix in WRITABLE)]
    parser.add_argument("--format", default="same", choices=formats, help="default: the input's")
    command_line.add_pixels(parser)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--outscale",
        help="width of the result divided by the input's (default: the model's scale); the model's"
        " result is resampled if this differs from the model's scale",
    )
    sizes.add_argument(
        "--size", metavar="WxH", help="size of the result in pixels; may change the aspect ratio"
    )
    parser.add_argument(
        "--uncertainty",
        choices=["none", "npy", "tiff", "png"],
        help="write theta as float32 grey levels (npy, tiff) or as a colour image (png); 'none'"
        " saves 8 to 26 %% of the run time (default: png if the model has uncertainty, else none)",
    )
    command_line.add_maps(parser, MAP_STYLES, MAP_TOP)


def _plan(options: argparse.Namespace, has_uncertainty: bool) -> "tuple[Options, Plan]":
    from udl_tf.inference import plan_jobs

    chosen = _job_options(options, has_uncertainty)
    return chosen, plan_jobs(options.input, Path(options.output), chosen)


def _job_options(options: argparse.Namespace, has_uncertainty: bool) -> "Options":
    from udl_tf.inference import Options

    default = "png" if has_uncertainty or options.ensemble else "none"
    chosen = Options(
        format=options.format,
        outscale=options.outscale,
        size=options.size,
        uncertainty=options.uncertainty or default,
        self_ensemble=options.self_ensemble,
        ensemble=options.ensemble,
        tile=options.tile,
        memory_gb=options.memory,
        value_range=options.value_range and tuple(options.value_range),
        overwrite=options.overwrite,
        background=options.background,
        theta_scale=options.theta_scale,
        map_style=options.map,
    )
    return command_line.with_max_pixels(chosen, options.max_megapixels)


def _without_existing(plan: "Plan") -> "list[Job]":
    return [job for job in plan if not all(target.exists() for target in job.targets)]


def _check_uncertainty(name: str, model: "Upscaler", chosen: "Options") -> None:
    if chosen.maps and not model.has_uncertainty:
        raise UserError(
            f"{name}: this model has no uncertainty: omit --uncertainty, or use a model that was"
            " trained with an 'esu' step and exported with its uncertainty"
        )
    if chosen.maps and model.calibration is None:
        print("theta is as trained, not calibrated: run udl-tf calibrate on the model")


def _report_resampling(options: argparse.Namespace, scale: int) -> None:
    """Prints a line if the results do not have the scale of the model."""
    if options.size is not None:
        size = "{}x{} pixels".format(*options.size)
    elif options.outscale not in (None, scale):
        size = f"x{options.outscale:g}"
    else:
        return
    print(f"{options.model} upscales x{scale}: its results are resampled to {size} (bicubic)")


def _report_plan(plan: "Plan") -> None:
    for note in plan.notes:
        print(note)
    if plan.skipped.counts:
        print(f"skipped: {plan.skipped}")
    for error in plan.skipped.failed:
        print(f"failed: {error}", file=sys.stderr)


def _report(
    summary: "Summary",
    jobs: int,
    skipped: int | None,
    failed: int,
    seconds: float,
    output: Path,
) -> None:
    for line in summary.notes:
        print(line)
    for error in summary.failed:
        print(f"failed: {command_line.with_option(error, FLAGS)}", file=sys.stderr)
    existing = "" if skipped is None else f", {skipped} already existed (skipped)"
    if summary.replaced:
        existing += f", {summary.replaced} replaced"
    print(
        f"{summary.done} of {jobs} images upscaled in {seconds:.1f} s"
        f" ({summary.pixels / 1e6 / seconds:.2g} megapixels/s){existing},"
        f" {failed} failed: {output}"
    )


def _outscale(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        scale = float(text)
    except ValueError:
        scale = -1.0
    if not 0 < scale <= 100:
        raise UserError(
            f"--outscale {text}: expected a number above 0 and at most 100, such as 2.5"
        )
    return scale


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--size {text}: expected WIDTHxHEIGHT in pixels, such as 1920x1080")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
