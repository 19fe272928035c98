"""Calibrates theta, and reports how reliable it is.

    udl-tf calibrate --model RUN [--data FOLDER...] [--test FOLDER...] [--degrade noise:5+jpeg:75]

Fits theta to the errors on the images in --data, which must not have been used in training, and
stores the calibration in the model, unless it has one that was fitted on more images. The report
assesses the calibration on --data and --test; without --data, the stored calibration on --test.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet
from udl_tf.errors import UserError
from udl_tf.hub import presets

if TYPE_CHECKING:
    from udl_tf.data.sources import Dataset
    from udl_tf.saved.bundle import Manifest
    from udl_tf.uncertainty import Calibration
    from udl_tf.uncertainty.fit import Sample


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    check_backend("tensorflow", "jax")
    with quiet():
        from udl_tf.data.pixels import Pixels
        from udl_tf.data.sources import degraded, folder_datasets
        from udl_tf.evaluation.theta_report import write_report
        from udl_tf.evaluation.theta_text import report_text
        from udl_tf.inference.keras_upscaler import KerasUpscaler
        from udl_tf.saved.bundle import chosen_degradations, read_manifest, read_networks
        from udl_tf.saved.loading import name_of
        from udl_tf.training.run_folder import is_running
        from udl_tf.uncertainty import risk_bound

        name, options.model = name_of(options.model), presets.find(options.model)
        manifest = read_manifest(options.model)
        model = KerasUpscaler(read_networks(options.model))
    if is_running(options.model) and (options.data or not options.output):
        raise UserError(
            f"{options.model}: is replaced and deleted by its run: calibrate a copy of this folder"
        )
    if not options.data and model.calibration is None:
        raise UserError(
            f"{options.model}: not calibrated yet: give --data, a folder of held-out images"
        )
    found = folder_datasets([*options.data, *options.test], model.scale, Pixels.seen_by(model))
    operations = chosen_degradations(options.degrade, options.model)
    sets = [degraded(dataset, operations) for dataset in found]
    held_out = sets[: len(options.data)]
    if options.data and model.calibration is not None and not options.overwrite:
        _check_earlier(options.model, model.calibration, held_out)
    if options.conformal:  # reject too few images early; duplicates are subtracted later
        risk_bound(sum(len(d.files) for d in held_out), *options.conformal)
    reach = _nodata_reach(model, held_out)
    samples = _measure(model, sets, options, reach)
    calibration, results = model.calibration, []
    if options.data:
        calibration, result = _fit(options, held_out, samples, reach)
        results.append(result)
    assert calibration is not None
    results += _assess(options, sets[len(held_out) :], samples[len(held_out) :], calibration)
    tested = "calibration_test_consistent" if options.consistent else "calibration_test"
    tested = command_line.degraded_name(tested, options.degrade)
    folder = "calibration" if options.data else tested
    output = Path(options.output or options.model / folder)
    write_report(output, results, calibration, name)
    if options.data:  # last: a report that fails leaves the model as it is
        _store(options.model, manifest, calibration)
    print(report_text(results, calibration, name))
    stored = f"; the calibration is stored in {options.model}" if options.data else ""
    print(f"report: {output}{stored}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_line.make_parser("udl-tf calibrate", __doc__)
    parser.add_argument("--model", required=True, help=command_line.RUN_HELP)
    parser.add_argument("--data", nargs="+", default=[], help="folders of held-out HR images")
    parser.add_argument(
        "--test", nargs="+", default=[], help="folders to assess the calibration on"
    )
    parser.add_argument(
        "--output",
        help="folder for the report (default: MODEL/calibration, or"
        " MODEL/calibration_test without --data; with --consistent and --degrade:"
        " calibration_test_consistent, calibration_test_OPERATIONS); required for presets, which"
        " are read-only",
    )
    parser.add_argument(
        "--method",
        default="auto",
        choices=["auto", "scale", "affine"],
        help="theta' = c theta, or exp(a + b ln theta); auto: the better of the two on held-out"
        " images",
    )
    parser.add_argument(
        "--conformal",
        metavar="ALPHA,DELTA",
        help="also find intervals that, with probability at least 1 - DELTA, miss at most a"
        " fraction ALPHA of the true values",
    )
    _add_measurement(parser)
    command_line.add_degrade(parser)
    options = parser.parse_args(arguments)
    options.conformal = _conformal(options.conformal)
    if not (options.data or options.test):
        raise UserError(
            "nothing to do: give --data, to fit theta on, or --test, to assess the calibration on"
        )
    if options.conformal and not options.data:
        raise UserError("--conformal fits intervals on --data: give --data too")
    if presets.contains(options.model) and (options.data or not options.output):
        raise UserError(
            f"{options.model}: presets are read-only: give --test and --output to assess the"
            f" preset, or calibrate a copy of {presets.find(options.model)}"
        )
    return options


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    """Adds the options on what is measured, and what is replaced."""
    parser.add_argument(
        "--no-baselines",
        action="store_true",
        help="omit the gradient and the self-ensemble's spread, which take most of the time",
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FOLDER",
        help="8-bit label images with the names of the HR images: report the coverage of each class"
        " of pixels too",
    )
    parser.add_argument(
        "--consistent",
        action="store_true",
        help="calibrate for results of upscale --consistent",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a calibration even if it was fitted on more images",
    )


def _conformal(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        alpha, delta = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--conformal {text}: expected ALPHA,DELTA such as 0.1,0.1") from None
    return alpha, delta


def _check_earlier(model: Path, earlier: "Calibration", held_out: "list[Dataset]") -> None:
    """Raises UserError if a calibration would be replaced by one that is fitted on fewer images."""
    count = sum(len(dataset.files) for dataset in held_out)
    if count < earlier.images:
        raise UserError(
            f"{model}: is calibrated on {earlier.data}; --data has {count} images: give at least"
            f" {earlier.images}, or allow the calibration to be replaced",
            argument="overwrite",
        )


def _nodata_reach(model: Any, held_out: "list[Dataset]") -> int | None:
    """Returns how far nodata reaches in held-out images; None if it is not measured."""
    from udl_tf.evaluation.theta_measure import nodata_reach

    sources = [source for dataset in held_out for source in dataset.sources]
    return nodata_reach(model, sources) if sources else None


def _measure(
    model: Any, sets: "list[Dataset]", options: argparse.Namespace, reach: int | None
) -> "list[list[Sample]]":
    """Returns the errors and uncertainties of the images of each set."""
    from udl_tf._support.progress import part_of
    from udl_tf.evaluation import measure

    counts = [len(dataset.sources) for dataset in sets]
    with command_line.progress_bar("images") as progress:
        return [
            measure(
                model,
                dataset.sources,
                not options.no_baselines,
                part_of(progress, sum(counts[:index]), counts[index], sum(counts)),
                options.classes,
                options.consistent,
                reach,
            )
            for index, dataset in enumerate(sets)
        ]


def _fit(
    options: argparse.Namespace,
    held_out: "list[Dataset]",
    samples: "list[list[Sample]]",
    reach: int | None,
) -> "tuple[Calibration, dict[str, Any]]":
    """Calibrates theta on the held-out images, and assesses the calibration on them."""
    from udl_tf.evaluation import assess
    from udl_tf.uncertainty.fit import calibrate

    fitted = [sample for part in samples[: len(held_out)] for sample in part]
    name = " + ".join(dataset.name for dataset in held_out)
    kind = _kind(held_out[0], options)
    text = f"{name} ({len(fitted)} images){kind}"
    calibration = calibrate(fitted, text, options.method, options.conformal).model_copy(
        update={"nodata_reach": reach, "consistent": options.consistent}
    )
    result = assess(name + kind, fitted, calibration, seen=True, pixels=held_out[0].pixels)
    return calibration, result


def _store(model: Path, manifest: "Manifest", calibration: "Calibration") -> None:
    """Stores a calibration in the model, unless its manifest is no longer the given one."""
    from udl_tf.saved.bundle import read_manifest, write_calibration

    if read_manifest(model) != manifest:
        raise UserError(f"{model}: has changed in the meantime: calibrate it again")
    write_calibration(model, calibration)


def _assess(
    options: argparse.Namespace,
    sets: "list[Dataset]",
    samples: "list[list[Sample]]",
    calibration: "Calibration",
) -> list[dict[str, Any]]:
    from udl_tf.evaluation import assess

    return [
        assess(
            dataset.name + _kind(dataset, options),
            part,
            calibration,
            seen=False,
            pixels=dataset.pixels,
        )
        for dataset, part in zip(sets, samples, strict=True)
    ]


def _kind(dataset: "Dataset", options: argparse.Namespace) -> str:
    """Returns what follows the name of a dataset: its degradations, and if results are changed."""
    degraded = f", degraded by {dataset.degrade}" if dataset.degrade else ""
    return degraded + (", consistent results" if options.consistent else "")


if __name__ == "__main__":
    command_line.run(main)
