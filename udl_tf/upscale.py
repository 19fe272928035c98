"""Upscales images, and predicts theta, the scale of the error of each pixel (its uncertainty).

    udl-tf upscale photo.jpg

writes upscaled/photo.jpg, four times as wide and high, and a map of theta next to it. Folders are
searched recursively, and their structure is preserved. If a file fails, the others are still
upscaled; failed files are listed at the end, and the exit code is 1.
"""

import argparse
import sys
import time
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet
from udl_tf.commands.preset_choice import choose_presets
from udl_tf.commands.upscale_options import parse_options
from udl_tf.errors import UserError
from udl_tf.imaging.theta_map import MAP_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from udl_tf.inference import Options, SceneOptions, Upscaler
    from udl_tf.inference.file_jobs import FileOptions, Files
    from udl_tf.inference.job_runner import Summary
    from udl_tf.inference.jobs import Job, Plan

FLAGS = {"max_pixels": "--max-megapixels"}
_LONG = 10.0  # s; after longer runs, the faster option is named


def main(arguments: list[str] | None = None) -> None:
    options = parse_options(arguments, __doc__)
    output = Path(options.output)
    check_backend("tensorflow", "jax")
    if output.is_file():
        raise UserError(f"--output {output}: is a file; expected a folder")
    files = _find(options)
    plan = _early_plan(options, files)
    if plan is not None and options.skip_existing and not _without_existing(plan):
        _report_plan(plan)
        print(f"0 of {len(plan)} images upscaled, {len(plan)} already existed (skipped): {output}")
        if plan.skipped.failed:
            sys.exit(1)
        return
    groups = _groups(options, files, plan)
    models = {name: _load(options, name) for name in groups}
    first = next(iter(models.values()))
    if first.upscaler.measures or first.upscaler.channels != 3:
        files = files.as_scenes()
    chosen, plan = _plan(options, files, first.upscaler)
    _check_uncertainty(options, first, chosen.maps)
    output.mkdir(parents=True, exist_ok=True)
    left = _without_existing(plan) if options.skip_existing else plan
    start = time.monotonic()
    summary = _run_groups(options, groups, models, left, chosen)
    seconds = time.monotonic() - start
    _report_plan(plan)
    skipped = len(plan) - len(left) if options.skip_existing else None
    failed = len(summary.failed) + len(plan.skipped.failed)
    _report(summary, len(plan), skipped, failed, seconds, output)
    if chosen.maps == ("theta",) and options.uncertainty is None and seconds > _LONG:
        print("--uncertainty none is faster: it omits theta")
    if failed:
        sys.exit(1)


def _groups(
    options: argparse.Namespace, files: "Files", plan: "Plan | None"
) -> "Mapping[str, Container[Path]]":
    """Returns the files that each model upscales; prints which presets were chosen, and why."""
    if plan is None or options.model is not None:
        return {options.model: {file for file, _ in files.found.files}}
    jobs = _without_existing(plan) if options.skip_existing else plan
    images, scenes = (
        [job.source for job in jobs if job.is_scene == is_scene] for is_scene in (False, True)
    )
    groups, lines = choose_presets(images, scenes, options.outscale)
    print(*lines, sep="\n")
    return groups


class _Model(NamedTuple):
    """A loaded model, and the seconds that loading took."""

    name: str
    upscaler: "Upscaler"
    seconds: float


def _load(options: argparse.Namespace, name: str) -> _Model:
    start = time.monotonic()
    with quiet():
        from udl_tf._support.hardware import use_cores
        from udl_tf.saved.loading import load_upscaler

        use_cores()
        model = load_upscaler(name, options.precision)
    seconds = time.monotonic() - start
    if options.precision != "float32":
        from udl_tf.evaluation.precision import precision_note

        print(precision_note(name, model))
    return _Model(name, model, seconds)


def _run_groups(
    options: argparse.Namespace,
    groups: "Mapping[str, Container[Path]]",
    models: "Mapping[str, _Model]",
    jobs: "Sequence[Job] | Plan",
    chosen: "FileOptions",
) -> "Summary":
    """Upscales files, those of each model in turn."""
    from udl_tf.inference.job_runner import Summary

    summary = Summary()
    for name, own in groups.items():
        part = [job for job in jobs if job.source in own]
        summary.add(_run(models[name], part, options, chosen))
    return summary


def _run(
    model: _Model, jobs: "Sequence[Job]", options: argparse.Namespace, chosen: "FileOptions"
) -> "Summary":
    """Upscales files with one model; prints how they are resampled, and when the first was done."""
    from udl_tf.inference.file_jobs import run_files

    _report_resampling(options, model)
    unit, scale = ("files", 1.0) if any(job.is_scene for job in jobs) else ("megapixels", 1e-6)
    with command_line.progress_bar(unit, scale) as progress:
        summary = run_files(model.upscaler, jobs, chosen, progress)
    if summary.first is not None:
        first = f"first result {summary.first:.1f} s later (including compilation)"
        print(f"{model.name} loaded in {model.seconds:.1f} s; {first}")
    return summary


def _find(options: argparse.Namespace) -> "Files":
    """Finds the files; which of them are scenes holds for models of 8-bit RGB."""
    from udl_tf.inference.file_jobs import find_files

    files = find_files(options.input, Path(options.output))
    return files if options.nodata is None else files.as_scenes()


def _early_plan(options: argparse.Namespace, files: "Files") -> "Plan | None":
    """Plans the jobs before the model is loaded, which takes seconds; None: it decides."""
    if options.uncertainty == "bands" and options.model is not None:
        return None  # images have no bands, but the model may measure
    return _plan(options, files, None)[1]


def _plan(
    options: argparse.Namespace, files: "Files", model: "Upscaler | None"
) -> "tuple[FileOptions, Plan]":
    """Plans the jobs; without a model, for one with uncertainty."""
    from udl_tf.inference.file_jobs import FileOptions, plan_files

    has_uncertainty = model is None or model.has_uncertainty
    images, scenes = files.split()
    chosen = FileOptions(
        _image_options(options, has_uncertainty) if images else None,
        _scene_options(options, scenes[0][0], has_uncertainty) if scenes else None,
    )
    return chosen, plan_files(files, Path(options.output), chosen)


def _scene_options(
    options: argparse.Namespace, first: Path, has_uncertainty: bool
) -> "SceneOptions":
    """Returns the options of scenes, of which `first` is one.

    Raises:
        UserError: for options that only images have.
    """
    from udl_tf.inference import SceneOptions

    given = {"--outscale": options.outscale, "--size": options.size, "--ensemble": options.ensemble}
    given |= {"--format": options.format != "same"}
    given |= {f"--uncertainty {kind}": options.uncertainty == kind for kind in MAP_SUFFIXES}
    for option, value in given.items():
        if value:
            raise UserError(
                f"{option}: is for images, and {first} is a scene: omit the option, or upscale"
                " scenes separately"
            )
    default = "beside" if has_uncertainty else "none"
    return SceneOptions(
        theta=options.uncertainty or default, nodata=options.nodata, **_common(options)
    )


def _image_options(options: argparse.Namespace, has_uncertainty: bool) -> "Options":
    from udl_tf.inference import Options

    default = "png" if has_uncertainty or options.ensemble else "none"
    chosen = Options(
        format=options.format,
        outscale=options.outscale,
        size=options.size,
        uncertainty=options.uncertainty or default,
        ensemble=options.ensemble,
        background=options.background,
        theta_scale=options.theta_scale,
        map_style=options.map,
        **_common(options),
    )
    return command_line.with_max_pixels(chosen, options.max_megapixels)


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that images and scenes have in common."""
    return {
        "self_ensemble": options.self_ensemble,
        "consistent": options.consistent,
        "tile": options.tile,
        "memory_gb": options.memory,
        "value_range": options.value_range and tuple(options.value_range),
        "overwrite": options.overwrite,
    }


def _without_existing(plan: "Plan") -> "list[Job]":
    return [job for job in plan if not all(map(exists, job.targets))]  # False if a name is too long


def _check_uncertainty(options: argparse.Namespace, model: _Model, maps: "Sequence[str]") -> None:
    """Requires uncertainty for maps; prints if theta is not calibrated for these results."""
    if not maps:
        return
    if not model.upscaler.has_uncertainty:
        raise UserError(
            f"{model.name}: this model has no uncertainty: omit --uncertainty, or use a model"
            " that was trained with an 'esu' step and exported with its uncertainty"
        )
    calibration = model.upscaler.calibration
    if calibration is None:
        print("theta is as trained, not calibrated: run udl-tf calibrate on the model")
    elif calibration.consistent != options.consistent:
        fitted, wanted = "with", "add --consistent"
        if options.consistent:
            fitted, wanted = "without", "omit --consistent"
        print(
            f"theta is calibrated for results {fitted} --consistent: {wanted}, or run udl-tf"
            " calibrate"
        )


def _report_resampling(options: argparse.Namespace, model: _Model) -> None:
    """Prints a line if the results do not have the scale of the model."""
    scale = model.upscaler.scale
    if options.size is not None:
        size = "{}x{} pixels".format(*options.size)
    elif options.outscale not in (None, scale):
        size = f"x{options.outscale:g}"
    else:
        return
    print(f"{model.name} upscales x{scale}: its results are resampled to {size} (bicubic)")


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


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
